"""What SE does in a network: its gates by class, block by block, and for one image.

    from senet import explain

    found = explain.network(model, batches, classes=("cat", "dog"))
    found               # in a notebook it shows itself
    found.save("out")   # a page that opens offline, its figures as SVG, its numbers as CSV

Every question is a function that takes recorded gates (:func:`senet.gates.record`) and returns
plain arrays: ``by_class``, ``blocks``, ``ablation``, ``likeness``, ``image`` (with ``grad_cam`` and
``road``), ``beside`` and ``gains``. ``figures`` draws them, ``tables`` lists them, ``sections`` and
``page`` put them together, and all words of the page, in every language, are in ``messages.toml``.
"""

from senet.explain.ablation import Ablation, Worth, ablate, worth
from senet.explain.answers import Answers, Gain, gains
from senet.explain.beside import Beside, beside
from senet.explain.blocks import BlockFacts, block_facts, shuffled_shares
from senet.explain.by_class import paper_blocks
from senet.explain.explanation import EXAMPLES, Explanation, network, of_record
from senet.explain.grad_cam import grad_cam
from senet.explain.image import Changed, one_image
from senet.explain.likeness import Likeness, Specific, extremes, likeness, specific
from senet.explain.picture import Picture, picture
from senet.explain.road import Road, road

__all__ = [
    "EXAMPLES",
    "Ablation",
    "Answers",
    "Beside",
    "BlockFacts",
    "Changed",
    "Explanation",
    "Gain",
    "Likeness",
    "Picture",
    "Road",
    "Specific",
    "Worth",
    "ablate",
    "beside",
    "block_facts",
    "extremes",
    "gains",
    "grad_cam",
    "likeness",
    "network",
    "of_record",
    "one_image",
    "paper_blocks",
    "picture",
    "road",
    "shuffled_shares",
    "specific",
    "worth",
]
