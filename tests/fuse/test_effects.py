"""Random programs, accelerated and plain: whatever stands where, results are those of PyTorch.

Plain PyTorch in float64 says what is right; by the rule of ``tests/oracle.py`` the accelerated
program in float32 may be off by twice what the plain one is. Compared are the outputs, the inputs
afterwards (a program may write into them), the gradients of inputs and parameters, and the buffers.

The suite runs as many programs as a minute allows. ``SENET_PROGRAMS=500`` runs the five hundred
that must pass, ``SENET_PROGRAMS=500:2000`` others.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from senet.fuse.accelerate import accelerate
from senet.ops import backend
from tests.fuse.programs import INPUTS, SPACE, B, C, Program, moved
from tests.oracle import within_rule

first, _, last = os.environ.get("SENET_PROGRAMS", "150").rpartition(":")
SEEDS = range(int(first or 0), int(last))
IN_ONE_TEST = 10
SHAKES = 8

pytestmark = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


def maps(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(B, C, *SPACE, generator=generator) for _ in range(INPUTS)]
    if seed % 3 == 0:
        found = [x.contiguous(memory_format=torch.channels_last) for x in found]
    return found


@dataclass
class Run:
    """What a program does: ``found``, by name, and the ``error`` where it raised one."""

    found: dict[str, Tensor] = field(default_factory=dict)
    error: str = ""


def run(program: Program, inputs: list[Tensor]) -> Run:
    result = Run()
    try:
        _run(program, inputs, result.found)
    except RuntimeError as error:
        result.error = str(error)
    return result


def _run(program: Program, inputs: list[Tensor], found: dict[str, Tensor]) -> None:
    leaves = [x.clone().requires_grad_(program.gradients) for x in inputs]
    given = [leaf * 1 for leaf in leaves]  # a leaf may not be written
    torch.manual_seed(0)
    with torch.set_grad_enabled(program.gradients):
        outputs = program(*given)
    values = {f"output {i}": y for i, y in enumerate(outputs)}
    values |= {f"input {i}": x for i, x in enumerate(given)}
    found |= {name: value.detach().clone() for name, value in values.items()}
    found |= {name: b.clone() for name, b in program.named_buffers() if "running" in name}
    if not program.gradients:
        return
    torch.manual_seed(1)
    loss = sum((value * torch.randn(value.shape).to(value)).sum() for value in values.values())
    wanted = {f"gradient of input {i}": leaf for i, leaf in enumerate(leaves)}
    wanted |= {name: p for name, p in program.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    for (name, leaf), g in zip(wanted.items(), gradients, strict=True):
        found[name] = torch.zeros_like(leaf) if g is None else g


def run_kept(program: Program, inputs: list[Tensor]) -> Run:
    """As if what the backward needs could not be written: kept are copies."""
    with saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        return run(copy.deepcopy(program), inputs)


def shaken(program: Program, inputs: list[Tensor]) -> Run:
    """What is true if every value and every gradient in the program is moved by some roundings."""
    program = copy.deepcopy(program)
    program.shaken = True
    for kept in (*program.parameters(), *program.buffers()):
        if kept.is_floating_point():
            kept.data = moved(kept.data)
    return run_kept(program, [moved(x) for x in inputs])


def compare(seed: int) -> tuple[str, int]:
    """What is wrong with the accelerated program of a seed, and how many tails were changed."""
    program, inputs = Program(seed), maps(seed)
    fast, exact = copy.deepcopy(program), copy.deepcopy(program).double()
    report = accelerate(fast)
    torch._dynamo.reset()
    got = run(fast, inputs)
    changed = len(report.changed)
    if got.error:
        refused = run(copy.deepcopy(program), inputs).error
        return "" if refused else f"raised {got.error}", changed
    plain, inputs = run_kept(program, inputs), [x.double() for x in inputs]
    truth = run_kept(exact, inputs)
    if truth.error:  # an operation that PyTorch has no gradient of
        return f"did not raise {truth.error}", changed
    shakes = [shaken(exact, inputs).found for _ in range(SHAKES)]
    wrong = {}
    for name, right in truth.found.items():
        others = [shake[name] for shake in shakes]
        found = within_rule(got.found[name], plain.found[name], right, torch.float32, others)
        if found:
            wrong[name] = found
    return "\n".join(f"{name}: {what}" for name, what in wrong.items()), changed


CHANGED = []


@pytest.mark.parametrize("start", SEEDS[::IN_ONE_TEST])
def test_programs(start):
    wrong = {}
    for seed in range(start, min(start + IN_ONE_TEST, SEEDS.stop)):
        found, changed = compare(seed)
        CHANGED.append(changed)
        if found:
            wrong[seed] = found
    assert not wrong, "\n\n".join(
        f"{seed}: {what}\n{Program(seed)}" for seed, what in wrong.items()
    )
