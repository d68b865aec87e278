"""Three representations of what a network does; nothing here changes a network.

Each shows what the others cannot:

capture   TorchDynamo's graph of functions, with guards, while the network runs (``capture``). It is
          exact enough to rewrite, and has no modules: their calls are functions. ``match`` finds
          tails in it, ``effects`` determines what may move past what, ``where`` maps a node to
          its module. ``fuse`` is built on it.
trace     one module's forward as a graph of module calls (``trace``), without running the network:
          it needs no input and shows which module's output is rescaled, which insertion needs. A
          module with control flow has no such graph and is a single node.
flow      the calls of one forward pass on images, recorded as they happen (``flow``): any control
          flow, with the actual parameters, in place or not. Folding uses it to find the weights
          that made a map and all readers of the map.

``words`` recognises products, norms, activations and layers in all of them; ``report`` states what
an operation found and did.
"""
