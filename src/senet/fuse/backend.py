"""The TorchDynamo backend ``senet``: what ``torch.compile(model, backend="senet")`` runs.

TorchDynamo captures what a network does as graphs of functions, with guards on everything that the
capture relied upon; tails of these graphs are put on the passes, and the rest stays eager PyTorch,
or goes on to inductor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, fx, nn
from torch._dynamo.guards import GuardBuilder
from torch._guards import TracingContext
from torch._higher_order_ops.wrap import tag_activation_checkpoint
from torch.utils.checkpoint import checkpoint

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
        gm: a graph that TorchDynamo captured; it is changed in place.
        inputs: examples of its inputs.
        options: ``rest``, what runs all that is not in a tail: ``"eager"`` or ``"inductor"``. By
            default inductor on a GPU, and on the CPU eager PyTorch.
        model: the network that is captured, whole or in part, for the paths of its tails.
        found: is told of the tails.

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
    findings = [finding for part in _parts(gm) for finding in rewrite(part, names)]
    if found is not None:
        found(findings)
    if rest == "inductor":
        from torch._inductor.compile_fx import compile_fx

        return cast(Callable[..., Any], compile_fx(gm, list(inputs)))
    for part in _parts(gm):
        _honour_checkpoints(part)
    return gm.forward


def _rest(options: Mapping[str, Any], inputs: Sequence[Any]) -> str:
    if unknown := set(options) - {"rest"}:
        raise ValueError(f"the backend 'senet' knows the option 'rest', not {sorted(unknown)}")
    on_gpu = any(isinstance(x, Tensor) and x.device.type == "cuda" for x in inputs)
    rest = options.get("rest") or RESTS[on_gpu]
    if rest not in RESTS:
        raise ValueError(f"rest must be one of {RESTS}, got {rest!r}")
    return rest


def _parts(gm: fx.GraphModule) -> list[fx.GraphModule]:
    """The graph, and those that are called in it: what is checkpointed."""
    return [part for part in gm.modules() if isinstance(part, fx.GraphModule)]


def _guard_hooks() -> None:
    """Have the graph captured again when a hook comes to a module that had none.

    TorchDynamo looks at hooks as it captures, and leaves out the guards on those that are not
    there, unless a setting of the whole process says otherwise. Here they are put in for this
    capture alone.
    """
    context = TracingContext.try_get()
    if context is None:
        return
    guards = context.guards_context.dynamo_guards
    for guard in list(guards):
        if guard.create_fn is GuardBuilder.EMPTY_NN_MODULE_HOOKS_DICT:
            guards.add(guard.originating_source.make_guard(GuardBuilder.SEQUENCE_LENGTH))


def _honour_checkpoints(gm: fx.GraphModule) -> None:
    """Where eager PyTorch runs the rest, it also does the checkpointing that the graph asks for."""
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
    """Run ``part`` without keeping its maps.

    What is ``held``, the parameters and buffers, stays anyway. It is not an input of the
    checkpoint, as it is not in the network: a buffer that counts batches is written inside.
    """

    def run(*maps: Any) -> Any:
        given = iter(maps)
        return part(*(x if hold else next(given) for hold, x in zip(held, args, strict=True)))

    maps = [x for hold, x in zip(held, args, strict=True) if not hold]
    options["use_reentrant"] = False
    return checkpoint(run, *maps, **options)
