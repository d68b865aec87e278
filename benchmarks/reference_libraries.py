"""Real timm and torchvision, to compare with in tests and benchmarks, never in the library.

torchvision's compiled operators are missing beside a CPU build of torch, and importing it then
fails on the schemas of two of them; with the schemas declared, all of it that is plain PyTorch
works. Beside a CUDA build they load, and must not be declared a second time. ``make`` keeps both
out of the environment itself: other libraries that find a torchvision there would import it, and
break.
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
    """``timm`` and ``torchvision``, imported. Raises ImportError where they are not installed."""
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
    """Whether torchvision's compiled operators are there, after loading them if they can be."""
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
