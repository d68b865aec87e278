"""The real timm and torchvision, to compare with in tests and benchmarks, never in the library.

``make`` keeps both libraries out of the environment itself: with a CPU build of torch, other
libraries that find torchvision there would import it, and break
(:func:`senet.foreign.declare_operators`).
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from types import SimpleNamespace

from senet.foreign import declare_operators

PLACE = Path(__file__).parent.parent / ".venv" / "world"


@functools.cache
def load() -> SimpleNamespace:
    """Import ``timm`` and ``torchvision``, or raise an ImportError if they are not installed."""
    if PLACE.is_dir() and str(PLACE) not in sys.path:
        sys.path.append(str(PLACE))
    declare_operators()
    import timm
    import torchvision

    return SimpleNamespace(timm=timm, torchvision=torchvision)
