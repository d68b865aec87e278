"""The one rule by which a fast form is compared with a plain one.

Both are run in the same type on the same inputs, and both are held against the plain form in
float64. The fast form passes when its error is at most twice the plain form's, plus a floor: what
one rounding of every input would do to the result. So nobody chooses a tolerance: the type, the
plain form and the problem's own condition do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Function = Callable[[dict[str, Tensor]], Tensor]
SHAKES = 8  # the largest of this many draws is the floor


def within_rule(
    fast: Tensor, plain: Tensor, truth: Tensor, type_: torch.dtype, shaken: Sequence[Tensor] = ()
) -> str | None:
    """Return ``None`` if ``fast`` is as good as the rule asks, else what is wrong with it.

    ``shaken`` are what ``truth`` becomes when every input is moved by a rounding.
    """
    if fast.shape != truth.shape:
        return f"shape {tuple(fast.shape)}, wanted {tuple(truth.shape)}"
    if truth.numel() == 0:
        return None
    if not fast.isfinite().all() and truth.isfinite().all() and plain.isfinite().all():
        return "not finite"
    error, allowed = _error(fast, truth), 2 * _error(plain, truth)
    floor = torch.finfo(type_).eps * truth.abs().max().item()
    floor = max([floor, *(_error(moved, truth) for moved in shaken)])
    if error <= allowed + floor:
        return None
    return f"error {error:.3g}, plain {allowed / 2:.3g}, floor {floor:.3g}"


def _error(value: Tensor, truth: Tensor) -> float:
    return (value.double() - truth).abs().max().item()


def check(
    fast: Function,
    plain: Function,
    maps: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    type_: torch.dtype,
    before_relu: Function | None = None,
) -> None:
    """Check ``fast`` against ``plain``: the output, and the gradient of every input.

    Args:
        fast: the form under test, from named inputs to its output.
        plain: the form that defines what is right; must work in float64.
        maps: inputs of type ``type_``.
        parameters: inputs that stay in float32 beside maps of a narrower type.
        type_: type of the maps.
        before_relu: what ``plain`` feeds its last ReLU, if it ends in one. Where that is near
            zero, rounding decides whether a gradient passes at all; no gradient is sent there.
    """
    wide = torch.promote_types(type_, torch.float32)
    cast = {k: v.to(type_) for k, v in maps.items()} | {
        k: v.to(wide) for k, v in parameters.items()
    }
    exact = {k: v.double() for k, v in cast.items()}  # rounding of the inputs does not count
    truth = plain(exact)
    sent = torch.randn(truth.shape, dtype=torch.float64)
    if before_relu is not None:
        inside = before_relu(exact).abs()
        sent = sent * (inside > 0.1 * inside.mean())
    sent = sent.to(type_)

    truths = _all(plain, exact, sent.double())
    shaken = [
        _all(
            plain,
            {k: rounded(v, cast[k].dtype) for k, v in exact.items()},
            rounded(sent.double(), type_),
        )
        for _ in range(SHAKES)
    ]
    plains = _all(plain, cast, sent)
    fasts = _all(fast, cast, sent)
    wrong = {
        name: found
        for name in truths
        if (
            found := within_rule(
                fasts[name], plains[name], truths[name], type_, [s[name] for s in shaken]
            )
        )
    }
    assert not wrong, wrong


def rounded(value: Tensor, type_: torch.dtype) -> Tensor:
    """Move each element of ``value`` up or down by one rounding of ``type_``."""
    signs = torch.randint(2, value.shape, device=value.device) * 2 - 1
    return value * (1 + signs * torch.finfo(type_).eps)


def _all(function: Function, inputs: Mapping[str, Tensor], sent: Tensor) -> dict[str, Tensor]:
    """Return the output, and the gradients of all inputs when ``sent`` is sent back."""
    leaves = {
        # Cloned with their layout in memory, so that the layout under test is the one that runs.
        name: value.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        for name, value in inputs.items()
    }
    output = function(leaves)
    gradients = torch.autograd.grad(output, list(leaves.values()), sent, allow_unused=True)
    found = {"output": output.detach()}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        found[f"gradient of {name}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return found
