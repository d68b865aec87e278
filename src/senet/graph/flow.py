"""The maps of one forward pass: which call made each, and which calls read it.

The pass runs on images and is recorded, not traced, so control flow, functions and methods of any
network are seen as they happen. A module may be recorded as a single call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


@dataclass(eq=False)
class Value:
    """A tensor between two changes of it: an in-place operation makes another value.

    Attributes:
        tensor: the tensor itself.
        maker: the call that made it; ``None`` for parameters, images, and tensors made inside a
            unit.
        users: the calls that read it.
        returned: whether the network returns it.
    """

    tensor: Tensor
    maker: Call | None = None
    users: list[Call] = field(default_factory=list)
    returned: bool = False


@dataclass(eq=False)
class Call:
    """One call of a function of PyTorch, or of a module that is recorded as a single call.

    Attributes:
        function: the function or module.
        args: its positional arguments.
        kwargs: its keyword arguments.
        inputs: the tensors among these.
        outputs: the tensors that it returned.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Value]
    outputs: list[Value]

    def __str__(self) -> str:
        module = isinstance(self.function, nn.Module)
        return type(self.function).__name__ if module else self.function.__name__.strip("_")


class Flow(TorchFunctionMode):
    """The calls of a forward pass, in order; see :func:`flow_of`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._latest: dict[int, Value] = {}  # by the id of a tensor, which its value keeps alive
        self._inside = 0

    def value(self, tensor: Tensor) -> Value:
        """Return the value of ``tensor`` after the latest call."""
        return self._latest.setdefault(id(tensor), Value(tensor))

    def calls_of(self, function: Any) -> list[Call]:
        return [call for call in self.calls if call.function is function]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._inside:
            self._note(func, args, kwargs, result)
        return result

    def enter(self, unit: nn.Module, args: tuple[Any, ...]) -> None:
        self._inside += 1

    def leave(self, unit: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        self._inside -= 1
        if not self._inside:
            self._note(unit, args, {}, result)

    def _note(self, function: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        outputs = _tensors(result)
        if not outputs and result is not None:  # a shape, a type, a number
            return
        call = Call(function, args, kwargs, [self.value(t) for t in _tensors((args, kwargs))], [])
        self.calls.append(call)
        for value in call.inputs:
            value.users.append(call)
        for tensor in outputs:
            self._latest[id(tensor)] = Value(tensor, call)
            call.outputs.append(self._latest[id(tensor)])


def flow_of(model: nn.Module, x: Tensor, units: Iterable[nn.Module] = ()) -> Flow:
    """Run ``model`` once on ``x``, and record its calls.

    Args:
        model: any network, in the mode to record.
        x: its input.
        units: modules that are recorded as one call each.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sigmoid())
        >>> flow = flow_of(model, torch.ones(1, 3, 2, 2))
        >>> [str(call) for call in flow.calls]
        ['conv2d', 'sigmoid']
        >>> flow.calls[1].inputs[0].maker is flow.calls[0]
        True
    """
    flow = Flow()
    hooks = [
        hook
        for unit in units
        for hook in (
            unit.register_forward_pre_hook(flow.enter),
            unit.register_forward_hook(flow.leave),
        )
    ]
    try:
        with torch.no_grad(), flow:
            result = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    for tensor in _tensors(result):
        flow.value(tensor).returned = True
    return flow


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
