"""The choice of a device by its name."""

from __future__ import annotations

import torch


def find_device(name: str | torch.device) -> torch.device:
    """Return the device that ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"`` means on this machine.

    ``"auto"`` is a GPU where there is one; a ``torch.device`` is returned as it is.

    Raises:
        ValueError: if this machine has no such device.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((gpu for gpu, found in here.items() if found), "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # PyTorch asserts that it was built with CUDA
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(name)!r} is not available here ({reason}): use 'cpu', or 'auto' for "
            "whatever there is"
        ) from error
