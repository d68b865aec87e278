"""Convolutions for inference, with weights packed once and the addition and activation inside.

oneDNN, which runs PyTorch's convolutions on the CPU, reorders the weights at every call; here that
is done once. It also adds a shortcut and applies an activation while the result is still in
registers. The operators are those that inductor calls and are private to PyTorch: where they are
missing, PyTorch's public convolution runs instead. Convolutions of single positions run in our own
C, which has room for SE: in float32 all of them, since it takes less time than oneDNN, in bfloat16
those with a gate (``python -m benchmarks.ops.pointwise``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet.ops import activation as activations
from senet.ops import backend

if TYPE_CHECKING:
    from senet.ops.gate import Gate
    from senet.ops.native.pointwise import Pointwise

# The names of activations in oneDNN, and their bounds.
_AFTERWARDS: dict[str | None, tuple[str, list[float | None]]] = {
    None: ("none", [None]),
    "relu": ("relu", [None]),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "silu": ("swish", [None]),
    "hardswish": ("hardswish", [None]),
}
# Those of them that it can apply after a shortcut.
_AFTER_SHORTCUT = None, "relu"


class Convolution(nn.Module):
    """The convolution y = f(W ∗ x + b + shortcut) of two-dimensional maps.

    Args:
        weight: W, ``[C, C'/groups, kH, kW]``.
        bias: b, ``[C]``, or ``None``.
        stride: like padding, dilation and groups, as in :class:`torch.nn.Conv2d`.
        activation: f, a name of :data:`~senet.ops.activation.ACTIVATIONS`, or ``None``.

    Attributes:
        ours: the types in which our own C runs convolutions of single positions.
        overwrites: whether y may overwrite the shortcut.
    """

    ours: tuple[torch.dtype, ...] = (torch.float32,)

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        *,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", weight.detach().to(memory_format=torch.channels_last))
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.options = pair(stride), pair(padding), pair(dilation), groups
        self.activation = activation
        self.overwrites = False
        self._forget()

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if (pointwise := self.pointwise(x, shortcut)) is not None:
            return pointwise(x, shortcut, self.overwrites)
        return self._by_steps(x, shortcut)

    def _by_steps(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        """Return y where there is no such call."""
        return self.convolve(x, shortcut, self.activation)

    def convolve(self, x: Tensor, shortcut: Tensor | None, activation: str | None) -> Tensor:
        """Return f(W ∗ x + b + shortcut) with another f, by oneDNN if it can."""
        if not (x.is_cpu and x.dtype == self.weight.dtype and can_convolve(x.dtype)):
            return self._plain(x, shortcut, activation)
        if shortcut is not None and activation not in _AFTER_SHORTCUT:
            return activations.ACTIVATIONS[str(activation)].function(
                self.convolve(x, shortcut, None)
            )
        layer = self._order(x), self.bias, self.options, activation
        return _convolve(x, *layer, shortcut, self.overwrites)

    def pointwise(self, x: Tensor, shortcut: Tensor | None) -> Pointwise | None:
        """Return what computes the map in one call of ours, if it can and is faster."""
        single = self.weight.shape[2:] == (1, 1) and self.options == _SINGLE
        if not single or x.dtype != self.weight.dtype or x.dtype not in self.ours:
            return None
        if backend.halves(x, self.weight, shortcut) is None:
            return None
        return self._packed("pointwise", self._pack_pointwise)

    def _pack_pointwise(self) -> Pointwise | None:
        from senet.ops.native.pointwise import Pointwise, takes  # there is one where this is called

        if not takes(self.weight):
            return None
        return Pointwise(self.weight, self.bias, self.activation, *self._gates())

    def _gates(self) -> tuple[Gate | None, bool]:
        """Return the gates that the call computes too, and whether they are those of its input."""
        return None, False

    def _order(self, x: Tensor) -> Tensor:
        """Return the weights reordered for inputs like ``x``: for one image, or for several."""
        stride, padding, dilation, groups = self.options
        order = _operators._reorder_convolution_weight
        options = padding, stride, dilation, groups, x.shape
        return self._packed(len(x) == 1, lambda: order(self.weight, *options))

    def _packed(self, form: Any, pack: Callable[[], Any]) -> Any:
        """Return what ``pack`` makes of the weights; again where they are others, or changed."""
        weights = tuple(b for b in self._buffers.values() if b is not None)
        state = [(id(w), 0 if w.is_inference() else w._version) for w in weights]
        before, _, packed = self._forms.get(form, (None, None, None))
        if before != state:
            packed = pack()
            self._forms[form] = state, weights, packed  # while they are held, their ids are theirs
        return packed

    def _plain(self, x: Tensor, shortcut: Tensor | None, activation: str | None) -> Tensor:
        y = F.conv2d(x, self.weight, self.bias, *self.options)
        if shortcut is not None:
            y += shortcut
        return y if activation is None else activations.ACTIVATIONS[activation].function(y)

    def _forget(self) -> None:
        """Forget the packed weights, which are packed again when needed."""
        self._forms: dict[Any, tuple[Any, ...]] = {}

    def _apply(self, fn: Any, recurse: bool = True) -> Convolution:
        self._forget()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the packed weights, which are packed again when needed."""
        return {**self.__dict__, "_forms": {}}

    def extra_repr(self) -> str:
        return f"{list(self.weight.shape)}, activation={self.activation}"


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    options: tuple[Any, ...],
    activation: str | None,
    shortcut: Tensor | None,
    overwrites: bool,
) -> Tensor:
    """Return f(W ∗ x + b + shortcut), by oneDNN; the result may overwrite the shortcut."""
    stride, padding, dilation, groups = options
    layer = weight, bias, padding, stride, dilation, groups
    name, bounds = _AFTERWARDS[activation]
    if shortcut is None:
        return _operators._convolution_pointwise(x, *layer, name, bounds, None)
    after = "add", 1.0, None if activation is None else name, bounds, None
    if overwrites:
        return _operators._convolution_pointwise_.binary(shortcut, x, *layer, *after)
    return _operators._convolution_pointwise(x, shortcut, *layer, *after)


@functools.cache
def can_convolve(dtype: torch.dtype) -> bool:
    """Whether this PyTorch, on this processor, has the operators for maps of ``dtype``."""
    try:
        _ = _operators._convolution_pointwise.binary, _operators._convolution_pointwise_.binary
        _ = _operators._reorder_convolution_weight.default
        short = dtype == torch.bfloat16 and _operators._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return False
    return torch.backends.mkldnn.is_available() and (dtype == torch.float32 or short)


_operators: Any = torch.ops.mkldnn
_SINGLE = [1, 1], [0, 0], [1, 1], 1  # stride, padding, dilation and groups


def pair(value: Any) -> list[int]:
    """Return the two sizes that an option of a convolution gives as one or two numbers."""
    return [value, value] if isinstance(value, int) else list(value)
