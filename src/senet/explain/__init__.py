"""What SE does in a network: its gates by class, block by block, and for one image.

    from senet import explain

    found = explain.network(model, batches, classes=("cat", "dog"))
    found               # in a notebook it shows itself
    found.save("out")   # a page that opens offline, its figures as SVG, its numbers as CSV

Every question is a function that takes recorded gates (:func:`senet.gates.record`) and returns
plain arrays: ``by_class``, ``blocks`` and ``image``. ``figures`` draws them, ``page`` puts them
together, and all words of the page, in every language, are in ``messages.toml``.
"""

from senet.explain.blocks import BlockFacts, block_facts, shuffled_shares
from senet.explain.by_class import paper_blocks
from senet.explain.explanation import Explanation, network
from senet.explain.image import Changed, one_image

__all__ = [
    "BlockFacts",
    "Changed",
    "Explanation",
    "block_facts",
    "network",
    "one_image",
    "paper_blocks",
    "shuffled_shares",
]
