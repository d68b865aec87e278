"""The real timm and torchvision, to compare with in tests and benchmarks, never in the library.

With a CPU build of torch, torchvision lacks its compiled operators, and importing it fails on the
schemas of two of them; with the schemas declared, everything in plain PyTorch works. With a CUDA
build they load, and must not be declared a second time. ``make`` keeps both libraries out of the
environment itself: other libraries that find torchvision there would import it, and break.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import torch

PLACE = Path(__file__).parent.parent / ".venv" / "world"


@functools.cache
def load() -> SimpleNamespace:
    """Import ``timm`` and ``torchvision``, or raise an ImportError if they are not installed."""
    if PLACE.is_dir() and str(PLACE) not in sys.path:
        sys.path.append(str(PLACE))
    library = None
    if not _has_operators():
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm
    import torchvision

    # The schemas live as long as the library that declared them.
    return SimpleNamespace(timm=timm, torchvision=torchvision, schemas=library)


def _has_operators() -> bool:
    """Load torchvision's compiled operators if possible, and return whether they are there."""
    found = importlib.util.find_spec("torchvision")
    places = found.submodule_search_locations if found else None
    for place in places or ():
        for file in Path(place).glob("_C*.so"):
            try:
                torch.ops.load_library(file)
            except OSError:
                continue
    try:
        torch.ops.torchvision.nms  # noqa: B018
    except (AttributeError, RuntimeError):
        return False
    return True
