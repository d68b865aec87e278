"""The passes on a GPU, in Triton.

Importing this package raises ImportError, with the remedy, where the kernels cannot run.
"""

import os

import torch

try:
    import triton as _triton  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"Triton cannot be imported ({error}): pip install 'senet[triton]'"
    ) from error

if os.environ.get("TRITON_INTERPRET") != "1":
    if not torch.cuda.is_available():
        raise ImportError(
            "PyTorch sees no GPU: install a PyTorch built for yours, or set TRITON_INTERPRET=1 "
            "before Python starts to check the kernels, slowly, on the CPU"
        )
    if torch.version.hip is None and torch.cuda.get_device_capability() < (7, 0):
        raise ImportError(
            "Triton needs a GPU of compute capability 7.0 (Volta) or newer, and "
            f"{torch.cuda.get_device_name()} has {torch.cuda.get_device_capability()}"
        )

from senet.ops.triton.passes import (
    activate,
    affine,
    grad_activate,
    grad_affine,
    grad_pooled,
    grad_scale,
    moments,
    pooled,
    takes,
)

__all__ = [
    "activate",
    "affine",
    "grad_activate",
    "grad_affine",
    "grad_pooled",
    "grad_scale",
    "moments",
    "pooled",
    "takes",
]
