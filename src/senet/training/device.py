"""From the name of a device to the device."""

from __future__ import annotations

import torch


def find_device(name: str | torch.device) -> torch.device:
    """The device that ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"`` means here.

    ``"auto"`` takes a GPU where there is one; a device stays what it is.

    Raises:
        ValueError: if this machine has no such device.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        return torch.device(next((gpu for gpu, found in here.items() if found), "cpu"))
    if not here.get(name, True):
        raise ValueError(
            f"device={name!r} is not available here (PyTorch {torch.__version__} finds none): take "
            "'cpu', or 'auto' for whatever there is"
        )
    return torch.device(name)
