"""Comparison of our networks with other implementations, and with the counts of papers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmarks.scramble import scramble
from senet.models import Network, create_model
from senet.models.weights.file import load_state
from senet.nn import ChannelAttention

ROUNDINGS = 1e3  # as many as a deep network may add up


def shapes_of(name: str, **options) -> Network:
    """Return the network without weights: counts need only shapes."""
    with torch.device("meta"):
        return create_model(name, **options)


def squeezed(model: nn.Module, size: int) -> int:
    """Return the additions of SE's squeezes, which the SE paper counts with multiply-adds."""
    counts: list[int] = []
    for block in model.modules():
        if isinstance(block, ChannelAttention):
            block.register_forward_pre_hook(lambda _, maps: counts.append(maps[0].numel()))
    model.eval()(torch.empty(1, 3, size, size, device="meta"))
    return sum(counts)


def agree(ours: Network, theirs: nn.Module, size: int = 64, roundings: float = ROUNDINGS) -> None:
    """Load ``theirs`` into ``ours``, and require that they agree in both modes.

    In float32, where our fused passes run, these are the logits and the statistics. Gradients are
    compared in float64: in float32 rounding decides whether a ReLU near zero is open, in one
    network and not in the other, and then a gradient differs through no fault of either.
    """
    scramble(theirs)
    image = torch.randn(2, 3, size, size)
    for type_ in (torch.float32, torch.float64):
        load_state(ours.to(type_), theirs.to(type_).state_dict())
        for training in (False, True):
            found, wanted = (_run(m.train(training), image.to(type_)) for m in (ours, theirs))
            seen = ("logits",) if type_ is torch.float32 else ("logits", "image", "gradients")
            wanted["gradients"] = ours.translate(wanted["gradients"])
            for what in seen:
                _close(found[what], wanted[what], what, roundings)
        state, wanted = (
            _floats(s) for s in (ours.state_dict(), ours.translate(theirs.state_dict()))
        )
        _close(state, wanted, "state", roundings)


def _run(model: nn.Module, image: Tensor) -> dict[str, dict[str, Tensor]]:
    image = image.clone().requires_grad_()
    model.zero_grad()
    logits = model(image)
    logits.square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return {"logits": {"": logits}, "image": {"": image.grad}, "gradients": gradients}


def _close(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, roundings: float
) -> None:
    """Require that tensors agree to rounding, relative to all tensors of their kind."""
    assert set(found) == set(wanted), what
    scale = sum(t.square().sum() for t in wanted.values()) ** 0.5
    for name, tensor in wanted.items():
        error = (found[name] - tensor).norm() / scale
        assert error <= roundings * torch.finfo(tensor.dtype).eps, (what, name, tensor.dtype, error)


def _floats(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if value.is_floating_point()}
