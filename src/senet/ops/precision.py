"""The types of the small algebra between the passes, which are those of the sums over maps."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which maps of ``dtype`` are summed: float32, or float64 for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def wide(v: Any, x: Tensor) -> Any:
    """Return ``v`` in the type in which maps like ``x`` are summed; ``None`` stays ``None``."""
    type_ = accumulator(x.dtype)
    return v if v is None or v.dtype == type_ else v.to(type_)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Disable autocast for the small algebra, which keeps a half-precision network exact."""
    device = x.device.type
    on = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()
