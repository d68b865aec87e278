"""Real timm and torchvision, to compare with; of the tests and benchmarks, never of the library.

torchvision's compiled operators are missing beside a CPU build of torch, and importing it then
fails on the schemas of two of them; with the schemas declared, all of it that is plain PyTorch
works. ``make`` keeps both out of the environment itself: other libraries that find a torchvision
there would import it, and break.
"""

from __future__ import annotations

import functools
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
    try:
        torch.ops.torchvision.nms  # noqa: B018
    except (AttributeError, RuntimeError):
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import timm
    import torchvision

    # The schemas live as long as the library that declared them.
    return SimpleNamespace(timm=timm, torchvision=torchvision, schemas=library)
