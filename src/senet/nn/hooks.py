"""Whether somebody watches a module: then it must run as itself, not inside a fused pass."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as _registry

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooked(module: nn.Module) -> bool:
    """Whether ``module`` or a module inside it has a forward or backward hook, or all have one.

    Example:
        >>> layer = nn.BatchNorm2d(3)
        >>> hooked(layer)
        False
        >>> handle = layer.register_forward_hook(lambda module, inputs, output: None)
        >>> hooked(layer)
        True
    """
    return any(hooked_itself(m) for m in module.modules())


def hooked_itself(module: nn.Module) -> bool:
    """Whether ``module`` has a forward or backward hook, or all modules have one."""
    return bool(_registry._has_any_global_hook()) or any(getattr(module, h) for h in _HOOKS)
