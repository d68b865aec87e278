"""SE blocks that hardly react to the image, folded into the weights beside them.

``fold`` chooses the blocks, ``absorb`` finds the weights that can take their gates, ``removal``
takes blocks out and puts them back, ``trial`` runs the network with and without them, and
``report`` shows what was found.
"""
