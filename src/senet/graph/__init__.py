"""What a network does: captured by TorchDynamo as a graph of functions, and read here.

``capture`` calls TorchDynamo, ``match`` finds tails in a graph, ``effects`` says what may move past
what, ``where`` goes from a node back to the module that it came from.
"""
