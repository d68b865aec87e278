"""Random programs, accelerated and plain: whatever stands where, results are those of PyTorch.

Plain PyTorch in float64 says what is right; by the rule of ``tests/oracle.py`` the accelerated
program in float32 may be off by twice what the plain one is. Compared are the outputs, the inputs
afterwards (a program may write into them), the gradients of inputs and parameters, and the buffers.

Where plain PyTorch raises, as where a value was written that a backward needs, the accelerated
program raises too, or it is right.

The suite runs as many programs as a minute on one thread allows. ``SENET_PROGRAMS=500`` runs the
five hundred that must pass, ``SENET_PROGRAMS=500:2000`` others.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed
from torch.autograd.graph import saved_tensors_hooks

from senet.fuse.accelerate import accelerate
from senet.graph import effects, match
from senet.ops import backend
from tests.fuse.programs import INPUTS, Program, moved
from tests.oracle import within_rule

first, _, last = os.environ.get("SENET_PROGRAMS", "200").rpartition(":")
SEEDS = range(int(first or 0), int(last))
IN_ONE_TEST = 10
SHAKES = 8

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native")),
]


def maps(program: Program) -> list[Tensor]:
    """Return the inputs of a program."""
    generator = torch.Generator().manual_seed(program.seed)
    found = [torch.randn(program.shape, generator=generator) for _ in range(INPUTS)]
    if program.seed % 3 == 0:
        found = [x.contiguous(memory_format=torch.channels_last) for x in found]
    return found


@dataclass
class Run:
    """The results of a program: ``found``, by name, and the ``error`` if it raised one."""

    found: dict[str, Tensor] = field(default_factory=dict)
    error: Exception | None = None


def run(program: Program, inputs: list[Tensor]) -> Run:
    result = Run()
    try:
        _run(program, inputs, result.found)
    except (RuntimeError, ValueError) as error:
        result.error = error
    return result


def _run(program: Program, inputs: list[Tensor], found: dict[str, Tensor]) -> None:
    leaves = [x.clone().requires_grad_(program.gradients) for x in inputs]
    given = [leaf * 1 for leaf in leaves]  # a leaf may not be written
    torch.manual_seed(0)
    with torch.set_grad_enabled(program.gradients):
        outputs = program(*given)
        if program.written:  # by the caller
            outputs[0].mul_(0.9)
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
    """Save copies of what the backward needs, as if it could not be overwritten."""
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


def compare(program: Program) -> tuple[str, int]:
    """Return the errors of an accelerated program, and the number of changed tails."""
    inputs = maps(program)
    fast, exact = copy.deepcopy(program), copy.deepcopy(program).double()
    report = accelerate(fast)
    torch._dynamo.reset()
    got = run(fast, inputs)
    changed = len(report.changed)
    if got.error is not None:
        as_in_pytorch = run(copy.deepcopy(program), inputs).error is not None
        if isinstance(got.error, BackendCompilerFailed) or not as_in_pytorch:
            return f"raised {got.error}", changed
        return "", changed
    plain, inputs = run_kept(program, inputs), [x.double() for x in inputs]
    truth = run_kept(exact, inputs)
    if truth.error is not None:  # an operation that PyTorch refuses
        return f"did not raise {truth.error}", changed
    shakes = [shaken(exact, inputs).found for _ in range(SHAKES)]
    wrong = []
    for name, right in truth.found.items():
        others = [shake[name] for shake in shakes]
        what = within_rule(got.found[name], plain.found[name], right, torch.float32, others)
        if what:
            wrong.append(f"{name}: {what}")
    return "\n".join(wrong), changed


CHANGED: list[int] = []


@pytest.mark.parametrize("start", SEEDS[::IN_ONE_TEST])
def test_programs(start):
    wrong = []
    for seed in SEEDS[start - SEEDS.start :][:IN_ONE_TEST]:
        program = Program(seed)
        found, changed = compare(program)
        CHANGED.append(changed)
        if found:
            wrong.append(f"{seed}: {found}\n{program}")
    assert not wrong, "\n\n".join(wrong)


def test_a_good_part_of_the_programs_has_tails_on_the_passes():
    if len(CHANGED) < len(SEEDS):
        pytest.skip("needs all programs to have run")
    assert sum(CHANGED) >= len(CHANGED)
    assert sum(changed > 0 for changed in CHANGED) >= 0.6 * len(CHANGED)


# Tails, and what a program does between their parts: v0 and v1 are its inputs.
WRITTEN_BETWEEN = {
    "the shortcut": [("norm0", 0), ("a + b", 2, 1), ("a.add_", 1), ("relu", 3)],
    "a view of the shortcut": [("norm0", 0), ("a + b", 2, 1), ("a[0].mul_", 1), ("relu", 3)],
    "the gate": [("norm0", 0), ("mean", 2), ("excite", 3), ("a * s", 2, 4), ("a.mul_", 4),
                 ("a + b", 5, 1)],
    "the map": [("norm0", 0), ("a.add_", 0), ("a + b", 2, 1)],
    "a map without a norm": [("mean", 0), ("excite", 2), ("a * s", 0, 3), ("a.add_", 0),
                             ("a + b", 4, 1)],
    "all": [("norm0", 0), ("a + b", 2, 1), ("a.copy_(b)", 1, 0), ("a.mul_", 0), ("relu", 3)],
}  # fmt: skip


def written_between(what: str, gradients: bool) -> Program:
    program = Program(0)
    code = [(name, tuple(operands), False) for name, *operands in WRITTEN_BETWEEN[what]]
    program.code, program.outputs = code, [INPUTS + len(code) - 1]
    program.shape, program.gradients, program.written = (3, 4, 3, 4), gradients, False
    program.norms[0].train()
    return program


@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "no gradients"])
@pytest.mark.parametrize("what", WRITTEN_BETWEEN)
def test_what_is_written_between_the_parts_of_a_tail(what, gradients):
    assert compare(written_between(what, gradients)) == ("", 0)


@pytest.mark.parametrize("broken", ["undisturbed", "writes"])
@pytest.mark.parametrize("what", WRITTEN_BETWEEN)
def test_a_wrong_answer_is_noticed(what, broken, monkeypatch):
    """Without the check of effects a tail reads values that were written in between."""
    if broken == "undisturbed":
        monkeypatch.setattr(match, "undisturbed", lambda *_: True)
    else:
        monkeypatch.setattr(effects, "writes", lambda _: set())
    found, changed = compare(written_between(what, gradients=False))
    assert changed == 1
    assert "output 0: error" in found
