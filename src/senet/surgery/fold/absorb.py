"""Channel factors of a feature map, moved into the weights before it or after it.

s · norm(x)   = norm with weight s·γ and bias s·β     exact, in training too
s · (W x + b) = (s·W) x + s·b                         the convolution before
s · relu(x)   = relu(s · x) for s ≥ 0                 and so on backwards, past poolings and joins
W (s · x)     = (W·s) x                               the convolutions after, zero padding included

A map is only changed where all its users are known: one user before, only convolutions after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet.graph.flow import Call, Flow, Value
from senet.graph.words import CONCATENATIONS, CONVOLUTION_ARGUMENTS, NORM_ARGUMENTS

# f(s x) = s f(x), channel by channel: for any s, and for s ≥ 0.
_LINEAR: set[Any] = {
    F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.dropout, F.dropout2d, F.dropout3d,
    Tensor.contiguous,
}  # fmt: skip
_HOMOGENEOUS: set[Any] = {
    F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.leaky_relu,
    F.max_pool1d, F.max_pool2d, F.max_pool3d, torch.max_pool1d, torch.max_pool2d, torch.max_pool3d,
}  # fmt: skip


class NoPlaceError(ValueError):
    """The error for factors that no weight can take; its message is the reason."""


@dataclass(frozen=True, eq=False)
class Edit:
    """A parameter that is to be multiplied.

    Attributes:
        name: the name of the parameter in the network.
        parameter: the parameter itself.
        factor: what to multiply it by, of a shape that fits.
    """

    name: str
    parameter: nn.Parameter
    factor: Tensor

    @torch.no_grad()
    def apply(self) -> None:
        """Multiply it, rounding once."""
        wide = self.parameter.detach().cpu().double() * self.factor
        self.parameter.copy_(wide.to(self.parameter.dtype))


class Absorber:
    """A search in one network for the weights that can take the factors of a feature map.

    Args:
        model: the network.
        flow: a forward pass of it.
    """

    def __init__(self, model: nn.Module, flow: Flow) -> None:
        self.flow = flow
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}

    def around(self, call: Call, s: Tensor) -> list[Edit]:
        """Return the edits that make up for leaving out ``call``, which multiplies by ``s``.

        Args:
            call: the call of a module with one map as input and one as output.
            s: ``[C]``, float64, on the CPU.

        Raises:
            NoPlaceError: if there is no place for the factors, neither before nor after it.
        """
        if len(call.inputs) != 1 or len(call.outputs) != 1:
            raise NoPlaceError("it takes or returns more than one tensor")
        (u,), (y,) = call.inputs, call.outputs
        try:
            return self.before(u, s)
        except NoPlaceError as error:
            before = error
        try:
            return self.after(y, s)
        except NoPlaceError as after:
            raise NoPlaceError(f"no weights can take its gates: {before}; {after}") from None

    def before(self, value: Value, s: Tensor) -> list[Edit]:
        """Return edits of what makes ``value`` that multiply it by ``s``."""
        if len(value.users) != 1 or value.returned:
            raise NoPlaceError("the map before it is used elsewhere too")
        made = value.maker
        if made is None:
            raise NoPlaceError("what makes the map before it is unknown")
        if made.function in NORM_ARGUMENTS:
            return self._scaled(_named(made, NORM_ARGUMENTS), s, lambda weight: s)
        if made.function in CONVOLUTION_ARGUMENTS:
            return self._scaled(
                _named(made, CONVOLUTION_ARGUMENTS), s, lambda weight: _rows(s, weight)
            )
        if _passes(made, s):
            return self.before(made.inputs[0], s)
        if made.function in CONCATENATIONS and _joins_channels(made):
            pieces = s.split([piece.tensor.shape[1] for piece in made.inputs])
            pairs = zip(made.inputs, pieces, strict=True)
            return [edit for piece, own in pairs for edit in self.before(piece, own)]
        raise NoPlaceError(f"{made} comes before it")

    def after(self, value: Value, s: Tensor) -> list[Edit]:
        """Return edits of all users of ``value`` that act as if it were multiplied by ``s``."""
        if value.returned or not value.users:
            raise NoPlaceError("the map after it leaves the network")
        return [edit for user in value.users for edit in self._into(user, value, s)]

    def _into(self, user: Call, value: Value, s: Tensor) -> list[Edit]:
        if user.function in CONVOLUTION_ARGUMENTS and user.inputs[0] is value:
            named = _named(user, CONVOLUTION_ARGUMENTS)
            groups = named.get("groups", 1)
            kept = {"weight": named["weight"]}
            return self._scaled(kept, s, lambda weight: _columns(s, weight, groups))
        if _passes(user, s):
            return self.after(user.outputs[0], s)
        raise NoPlaceError(f"{user} comes after it")

    def _scaled(
        self, named: dict[str, Any], s: Tensor, factor: Callable[[Tensor], Tensor]
    ) -> list[Edit]:
        """Multiply the weight by its factor, and the bias, where there is one, by ``s``."""
        weight, bias = named.get("weight"), named.get("bias")
        if weight is None:
            raise NoPlaceError("the norm before it has no weights")
        edits = [self._edit(weight, factor(weight))]
        return edits if bias is None else [*edits, self._edit(bias, s)]

    def _edit(self, parameter: Tensor, factor: Tensor) -> Edit:
        name = self.names.get(id(parameter))
        if name is None or not isinstance(parameter, nn.Parameter):
            raise NoPlaceError("the weights beside it are computed from others")
        if len(self.flow.value(parameter).users) != 1:
            raise NoPlaceError(f"{name} is used more than once")
        return Edit(name, parameter, factor)


def _named(call: Call, known: dict[Any, tuple[str, ...]]) -> dict[str, Any]:
    return dict(zip(known[call.function], call.args, strict=False)) | call.kwargs


def _passes(call: Call, s: Tensor) -> bool:
    """Return whether factors ``s`` of the channels before ``call`` are the same after it."""
    if call.function is F.pad:
        value = _named(call, {F.pad: ("input", "pad", "mode", "value")}).get("value")
        channels = len(call.args[1]) > 2 * (call.inputs[0].tensor.dim() - 2)
        return not value and not channels
    return call.function in _LINEAR or (call.function in _HOMOGENEOUS and bool((s >= 0).all()))


def _joins_channels(call: Call) -> bool:
    named = _named(call, {call.function: ("tensors", "dim")})
    return named.get("dim", 0) in (1, 1 - call.inputs[0].tensor.dim())


def _rows(s: Tensor, weight: Tensor) -> Tensor:
    """Return a factor for every output of a weight, ``[outputs, inputs / groups, …]``."""
    return s.reshape(-1, *(1,) * (weight.dim() - 1))


def _columns(s: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Return a factor for every input: each group of outputs sees its own inputs.

    Example:
        >>> _columns(torch.tensor([1.0, 2.0]), torch.ones(4, 1, 1), groups=2).flatten().tolist()
        [1.0, 1.0, 2.0, 2.0]
    """
    own = s.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return own.reshape(*weight.shape[:2], *(1,) * (weight.dim() - 2))
