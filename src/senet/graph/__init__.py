"""What a network does, read in three ways; nothing here changes a network.

Each way sees what the others cannot:

capture   TorchDynamo's graph of functions, with guards, while the network runs (``capture``). It is
          exact for what is to be computed in another way, and modules are gone from it: their calls
          are functions. ``match`` finds tails in it, ``effects`` says what may move past what,
          ``where`` goes from a node back to its module. ``fuse`` stands on it.
trace     one module's forward as a graph of calls of modules (``trace``), made without running the
          network: it needs no input, and it says which module's output is rescaled, which is what
          insertion asks. Control flow has no such graph, and is read around.
flow      the calls of one forward pass on images, watched as they happen (``flow``): any control
          flow, with the parameters themselves, in place or not. Folding asks it whose weights made
          a map, and whether anybody else took it.

``words`` knows what products, norms, activations and layers look like in all of them; ``report``
says what an operation found and did.
"""
