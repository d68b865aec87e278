"""Make a network run its tails on the passes, in one line."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._dynamo.exc import TorchRuntimeError
from torch._guards import CompileContext
from torch.utils._pytree import tree_leaves

from senet.fuse.backend import senet
from senet.fuse.report import Acceleration
from senet.graph.capture import LIMIT, captured, evaluating, is_watched
from senet.graph.report import Finding


def accelerate(
    model: nn.Module,
    example: Tensor | tuple[Any, ...] | None = None,
    *,
    inplace: bool = True,
    undo: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Acceleration:
    """Make ``model`` run its SE blocks and residual tails on the streaming passes.

    The class, parameters, state dict, hooks and results of the network stay the same. TorchDynamo
    captures what the network does when it is called, and again when something that the capture
    relied upon has changed: a mode, a hook, a module, a flag.
    ``torch.compile(model, backend="senet")`` does the same for a network that it wraps. Copies and
    pickles of the network are plain. A tool that traces, exports or transforms the network sees it
    as it was written.

    Args:
        model: any network, which must be called as a whole.
        example: an input, or a tuple of all inputs of a network that takes several. With it the
            network is captured immediately, in evaluation, and the report is complete; without it,
            when the network is called.
        inplace: accelerate ``model`` itself; otherwise a copy, which is the report's ``model``.
        undo: make the network plain again instead.
        options: options of the backend :func:`~senet.fuse.backend.senet`.

    Returns:
        A report of what was found, what runs on the passes, and what is left alone and why. Print
        it to see everything; it grows as the network is used.

    Raises:
        ValueError: if the network is a ScriptModule, which PyTorch has already compiled. When it
            is called, if all inputs are on another device, as those of the replicas of
            ``nn.DataParallel`` are: these cannot be accelerated.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU())
        >>> print(accelerate(model, torch.randn(4, 3, 66, 66)))
        accelerated Sequential, 1 graph: 1 changed, 0 left alone
          (the network)  norm + ReLU: on the passes
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"{type(model).__name__} is a ScriptModule, which is compiled: accelerate the network "
            "that it was made of"
        )
    if not inplace:
        model = copy.deepcopy(model)
    if undo:
        model._compiled_call_impl = None
        return Acceleration(model)
    call = model._compiled_call_impl
    if not isinstance(call, _Accelerated):
        call = model._compiled_call_impl = _Accelerated(model, options)
        _hide_from_torchscript(model)
    if example is not None:
        _try(model, example)
    return call.report


class _Accelerated:
    """The function that an accelerated network calls instead of its own forward."""

    def __init__(self, model: nn.Module, options: Mapping[str, Any] | None) -> None:
        self.model = model
        self.report = Acceleration(model)

        def backend(gm: fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
            return senet(gm, inputs, options=options, model=model, found=self._found)

        try:
            self.run = captured(model, backend)
        except RuntimeError as error:  # TorchDynamo is disabled, or does not support this Python
            self.run = model._call_impl
            self.report.stays_plain(str(error).splitlines()[0])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_watched(self.model):
            return self.model._call_impl(*args, **kwargs)
        try:
            return self.run(*args, **kwargs)
        except TorchRuntimeError as error:
            _require_one_device(self.model, (args, kwargs), error)
            raise

    def _found(self, findings: list[Finding]) -> None:
        capture = CompileContext.current_compile_id()
        self.report.add_capture(getattr(capture, "frame_id", None) or 0, findings)
        if self.report.captures == LIMIT:
            warnings.warn(
                f"{type(self.model).__name__} was captured {LIMIT} times, for different modes, "
                "sizes and edits; what it has not been captured for runs as plain PyTorch from now "
                "on. TORCH_LOGS=recompiles says what differs",
                stacklevel=2,
            )


def _require_one_device(model: nn.Module, given: Any, error: Exception) -> None:
    """Check that a call that could not be captured was given tensors where the network is.

    ``nn.DataParallel`` copies the call of the network with the rest of it, so that its replicas on
    other devices run the original's parameters.

    Raises:
        ValueError: if all tensors are elsewhere.
    """
    homes = {p.device for p in model.parameters()}
    places = {x.device for x in tree_leaves(given) if isinstance(x, Tensor)}
    if len(homes) == 1 and places and homes.isdisjoint(places):
        raise ValueError(
            f"the input is on {places.pop()} and the network on {homes.pop()}: move one of them. "
            "Replicas of nn.DataParallel cannot be accelerated: use DistributedDataParallel, or "
            "make the network plain again with accelerate(model, undo=True)"
        ) from error


def _hide_from_torchscript(model: nn.Module) -> None:
    """Hide an attribute from ``torch.jit.script``, which reads all and cannot read this one."""
    kept: Any = getattr(model, _IGNORED, [])
    setattr(model, _IGNORED, list({*kept, "_compiled_call_impl", _IGNORED}))


_IGNORED = "__jit_ignored_attributes__"


def _try(model: nn.Module, example: Tensor | tuple[Any, ...]) -> None:
    """Call the network in evaluation, then restore its modes."""
    with evaluating(model), torch.no_grad():
        model(*example) if isinstance(example, tuple) else model(example)
