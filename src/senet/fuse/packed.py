"""Convolutions for inference, with weights packed once and the addition and activation inside.

oneDNN, which runs PyTorch's convolutions on the CPU, reorders the weights at every call; here that
is done once. It also adds a shortcut and applies an activation while the result is still in
registers. The operators are those that inductor calls and are private to PyTorch: where they are
missing, PyTorch's public convolution runs instead. Convolutions of single positions run in our own
C, which takes less time than oneDNN (``python -m benchmarks.ops.pointwise``), and has room for SE.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from senet.graph.export import attribute
from senet.graph.value import same_shape, tensor_of
from senet.graph.words import ACTIVATIONS, SUMS, convolution_arguments
from senet.ops import activation as activations
from senet.ops import backend
from senet.ops.gate import gated_tail

if TYPE_CHECKING:
    from senet.ops.native.pointwise import Pointwise

# The names of activations in oneDNN, and their bounds.
_AFTERWARDS: dict[str | None, tuple[str, list[float | None]]] = {
    None: ("none", [None]),
    "relu": ("relu", [None]),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "silu": ("swish", [None]),
    "hardswish": ("hardswish", [None]),
}


class Convolution(nn.Module):
    """The convolution y = f(W ∗ x + b + shortcut) of two-dimensional maps.

    Args:
        weight: W, ``[C, C'/groups, kH, kW]``.
        bias: b, ``[C]``, or ``None``.
        stride: like padding, dilation and groups, as in :class:`torch.nn.Conv2d`.
        activation: f, a name of :data:`~senet.ops.activation.ACTIVATIONS`, or ``None``.
        overwrites: whether y may overwrite the shortcut.
    """

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
        overwrites: bool = False,
    ) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", weight.detach().to(memory_format=torch.channels_last))
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.options = pair(stride), pair(padding), pair(dilation), groups
        self.activation = activation
        self.overwrites = overwrites
        self._packed: dict[bool, tuple[int, Tensor]] = {}
        self._pointwise: tuple[int, Any] = -1, None

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if (pointwise := self.pointwise(x, shortcut)) is not None:
            return pointwise(x, shortcut, self.overwrites)
        if not self._can_pack(x):
            return self._plain(x, shortcut)
        layer = self._order(x), self.bias, self.options, self.activation
        return _convolve(x, *layer, shortcut, self.overwrites)

    def pointwise(self, x: Tensor, shortcut: Tensor | None) -> Pointwise | None:
        """Return what computes the map in one call of ours, if it can."""
        single = self.weight.shape[2:] == (1, 1) and self.options == _SINGLE
        if not single or x.dtype != torch.float32 or self.weight.dtype != torch.float32:
            return None
        if backend.halves(x, self.weight, shortcut) is None:
            return None
        version, pointwise = self._pointwise
        if version != self._changes():  # the first call, or new weights were loaded
            pointwise = self._pack_pointwise()
            self._pointwise = self._changes(), pointwise
        return pointwise

    def _changes(self) -> int:
        """Return how often weights were changed in place."""
        return self.weight._version

    def _pack_pointwise(self) -> Pointwise:
        from senet.ops.native.pointwise import Pointwise  # there is one where this is called

        return Pointwise(self.weight, self.bias, self.activation)

    def _order(self, x: Tensor) -> Tensor:
        """Return the weights reordered for inputs like ``x``: for one image, or for several."""
        version, weight = self._packed.get(len(x) == 1, (-1, self.weight))
        if version != self.weight._version:  # the first call, or new weights were loaded
            stride, padding, dilation, groups = self.options
            order = _operators._reorder_convolution_weight
            weight = order(self.weight, padding, stride, dilation, groups, x.shape)
            self._packed[len(x) == 1] = self.weight._version, weight
        return weight

    def _can_pack(self, x: Tensor) -> bool:
        return x.is_cpu and x.dtype == self.weight.dtype and can_convolve(x.dtype)

    def _plain(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        y = F.conv2d(x, self.weight, self.bias, *self.options)
        if shortcut is not None:
            y += shortcut
        if self.activation is None:
            return y
        return activations.ACTIVATIONS[self.activation].function(y)

    def _apply(self, fn: Any, recurse: bool = True) -> Convolution:
        self._packed, self._pointwise = {}, (-1, None)
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the packed weights, which are packed again when needed."""
        return {**self.__dict__, "_packed": {}, "_pointwise": (-1, None)}

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


def pack_convolutions(gm: fx.GraphModule) -> None:
    """Replace every two-dimensional convolution of the graph by a :class:`Convolution`.

    Args:
        gm: the result of :func:`~senet.graph.export.exported`; it is changed in place.
    """
    place = {node: k for k, node in enumerate(gm.graph.nodes)}
    for conv in [node for node in gm.graph.nodes if node.target is F.conv2d]:
        x, *weights, stride, padding, dilation, groups = convolution_arguments(conv)
        if any(w is not None and w.op != "get_attr" for w in weights):
            continue
        chain = [conv]
        if (shortcut := _shortcut(conv)) is not None:
            chain.append(_only_user(conv))
        user = _only_user(chain[-1])
        name = None if user is None else ACTIVATIONS.get(user.target)
        if name is not None:
            chain.append(user)
        end = chain[-1]
        module = Convolution(
            *(None if w is None else attribute(gm, w.target) for w in weights),  # type: ignore[arg-type]
            *(stride, padding, dilation, groups),
            activation=name,
            overwrites=shortcut is not None
            and is_fresh(shortcut)
            and is_last(shortcut, end, place),
        )
        gm.add_submodule(conv.name, module)
        with gm.graph.inserting_before(end):
            y = gm.graph.call_module(conv.name, (x,) if shortcut is None else (x, shortcut))
        y.meta, place[y] = dict(end.meta), place[end]
        end.replace_all_uses_with(y)
        for node in reversed(chain):
            gm.graph.erase_node(node)


def _shortcut(conv: fx.Node) -> fx.Node | None:
    """Return the map that is added to the output of a convolution, if that is its only use."""
    user = _only_user(conv)
    if user is None or user.target not in SUMS or user.kwargs or len(user.args) != 2:
        return None
    a, b = user.args
    other = b if a is conv else a
    x, y = tensor_of(conv), tensor_of(other)
    if a is b or x is None or y is None or x.dtype != y.dtype or not same_shape(x.shape, y.shape):
        return None
    return cast(fx.Node, other)


def is_last(x: fx.Node, user: fx.Node, place: dict[fx.Node, int]) -> bool:
    """Whether nothing reads ``x`` after ``user``; ``place`` is the order of the nodes."""
    return all(place[other] <= place[user] for other in x.users)


def is_fresh(node: fx.Node) -> bool:
    """Whether the map of ``node`` is new: neither a view nor an input."""
    return node.op == "call_module" or node.target in (F.conv2d, gated_tail)


def _only_user(node: fx.Node) -> Any:
    return next(iter(node.users)) if len(node.users) == 1 else None


def pair(value: Any) -> list[int]:
    """Return the two sizes that an option of a convolution gives as one or two numbers."""
    return [value, value] if isinstance(value, int) else list(value)
