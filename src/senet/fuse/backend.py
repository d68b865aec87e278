"""The TorchDynamo backend ``senet``, which ``torch.compile(model, backend="senet")`` runs.

TorchDynamo captures what a network does as graphs of functions, with guards on everything that the
capture relied upon. The backend puts the tails of these graphs on the passes; the rest stays eager
PyTorch or is compiled by inductor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch._dynamo.guards import GuardBuilder
from torch._guards import TracingContext
from torch._higher_order_ops.wrap import tag_activation_checkpoint
from torch.utils.checkpoint import checkpoint

from senet.fuse.frame import with_room
from senet.fuse.rewrite import rewrite
from senet.graph.report import Finding
from senet.graph.where import names_of

RESTS = ("eager", "inductor")


def senet(
    gm: fx.GraphModule,
    inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
    found: Callable[[list[Finding]], None] | None = None,
) -> Callable[..., Any]:
    """Put the tails of a captured graph on the passes.

    Args:
        gm: a graph captured by TorchDynamo; it is changed in place.
        inputs: example inputs.
        options: ``rest``, what runs everything outside the tails: ``"eager"`` or ``"inductor"``;
            by default inductor on a GPU and eager PyTorch on the CPU.
        model: the network that is captured, wholly or partly, for the paths of its tails.
        found: called with the findings about the tails.

    Raises:
        ValueError: if an option is unknown.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).eval()
        >>> x = torch.randn(2, 3, 8, 8)
        >>> torch.allclose(torch.compile(net, backend=senet)(x), net(x), atol=1e-5)
        True
    """
    rest = _rest(options or {}, inputs)
    _guard_hooks()
    names = None if model is None else names_of(model)
    with torch.set_grad_enabled(_may_need_gradients(gm)):
        findings = [finding for part in _parts(gm) for finding in rewrite(part, names)]
    if found is not None:
        found(findings)
    if rest == "inductor":
        from torch._inductor.compile_fx import compile_fx

        return cast(Callable[..., Any], compile_fx(gm, list(inputs)))
    for part in _parts(gm):
        _honour_checkpoints(part)
    return with_room(gm.forward)


def _rest(options: Mapping[str, Any], inputs: Sequence[Any]) -> str:
    if unknown := set(options) - {"rest"}:
        raise ValueError(f"the backend 'senet' knows the option 'rest', not {sorted(unknown)}")
    on_gpu = any(isinstance(x, Tensor) and x.device.type == "cuda" for x in inputs)
    rest = options.get("rest") or RESTS[on_gpu]
    if rest not in RESTS:
        raise ValueError(f"rest must be one of {RESTS}, got {rest!r}")
    return rest


def _parts(gm: fx.GraphModule) -> list[fx.GraphModule]:
    """Return the graph and the graphs called in it, which are checkpointed."""
    return [part for part in gm.modules() if isinstance(part, fx.GraphModule)]


def _may_need_gradients(gm: fx.GraphModule) -> bool:
    """Whether gradients are on when the graph is called, or switched on in it."""
    calls = (node for part in _parts(gm) for node in part.graph.nodes)
    return torch.is_grad_enabled() or any(
        node.target is torch._C._set_grad_enabled and node.args == (True,) for node in calls
    )


def _guard_hooks() -> None:
    """Add guards so that the graph is captured again when a module gets its first hook.

    TorchDynamo reads hooks while it captures, and omits guards on modules without hooks unless a
    setting of the whole process requires them. This adds them for this capture only.
    """
    context = TracingContext.try_get()
    if context is None:
        return
    guards = context.guards_context.dynamo_guards
    for guard in list(guards):
        if guard.create_fn is GuardBuilder.EMPTY_NN_MODULE_HOOKS_DICT:
            guards.add(guard.originating_source.make_guard(GuardBuilder.SEQUENCE_LENGTH))


def _honour_checkpoints(gm: fx.GraphModule) -> None:
    """Apply the activation checkpointing of the graph where eager PyTorch runs the rest."""
    asked = [n for n in gm.graph.nodes if n.target is tag_activation_checkpoint]
    for node in asked:
        with gm.graph.inserting_before(node):
            held = [_is_of_a_module(x) for x in node.args[1:]]
            new = gm.graph.call_function(_checkpointed, (held, *node.args), node.kwargs)
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        gm.graph.erase_node(node)
    if asked:
        gm.recompile()


def _is_of_a_module(node: Any) -> bool:
    """Whether ``node`` is a parameter or a buffer."""
    argument = node.meta.get("grapharg") if isinstance(node, fx.Node) else None
    return argument is not None and argument.source.guard_source.is_unspecialized_nn_module()


def _checkpointed(held: list[bool], part: fx.GraphModule, *args: Any, **options: Any) -> Any:
    """Run ``part`` without saving its maps.

    The ``held`` arguments, parameters and buffers, stay in memory anyway. They are not inputs of
    the checkpoint, as in the network: a buffer that counts batches is written inside.
    """

    def run(*maps: Any) -> Any:
        given = iter(maps)
        return part(*(x if hold else next(given) for hold, x in zip(held, args, strict=True)))

    maps = [x for hold, x in zip(held, args, strict=True) if not hold]
    options["use_reentrant"] = False
    return checkpoint(run, *maps, **options)
