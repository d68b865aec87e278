"""Random networks: lists of instructions, as a module that interprets them.

A program is made of tails, with anything in between: in-place operations on inputs, intermediate
values and views of them; other uses of a value; parts without gradients; several outputs. It is
made once, from a seed; forward is plain Python that TorchDynamo unrolls.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.oracle import rounded

C = 4
SHAPES = [(3, C, 3, 4), (3, C, 3, 4), (1, C, 5, 3), (5, C, 1, 1)]
INPUTS = 2
ROUNDINGS = 8


class Program(nn.Module):
    """The network of a seed; two maps in, some values out.

    Attributes:
        seed: the seed.
        shape: of its maps.
        gradients: whether it is to be run with gradients.
        written: whether its first output is written afterwards.
        shaken: whether every value and its gradient are moved by some roundings of float32.
    """

    shaken = False

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        writer = _Writer(random.Random(seed))
        writer.write()
        self.code, self.outputs = writer.code, writer.outputs
        self.shape = writer.rng.choice(SHAPES)
        self.gradients = writer.rng.random() < 0.6
        self.written = writer.rng.random() < 0.1
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.convs = nn.ModuleList(
                [
                    nn.Conv2d(C, C, 3, padding=1, bias=False),
                    nn.Conv2d(C, C, 1, bias=False),
                    nn.Sequential(nn.Conv2d(C, 2, 1, bias=False), nn.Conv2d(2, C, 1, bias=False)),
                ]
            )
            self.norms = nn.ModuleList(
                [
                    nn.BatchNorm2d(C),
                    nn.BatchNorm2d(C, momentum=0.3),
                    nn.BatchNorm2d(C, affine=False),
                    nn.BatchNorm2d(C, track_running_stats=False),
                ]
            )
            self.fc1, self.fc2 = nn.Conv2d(C, 2, 1), nn.Conv2d(2, C, 1)
            self.eca = nn.Conv1d(1, 1, 3, padding=1)
            for norm in self.norms:
                norm.train(writer.rng.random() < 0.6)
                if norm.affine:
                    nn.init.uniform_(norm.weight, 0.5, 1.5)
                    nn.init.uniform_(norm.bias, -0.5, 0.5)
                if norm.running_mean is not None:
                    nn.init.uniform_(norm.running_mean, -0.5, 0.5)
                    nn.init.uniform_(norm.running_var, 0.5, 1.5)
            for norm in self.norms:
                norm.requires_grad_(writer.rng.random() < 0.8)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = list(inputs)
        for name, operands, without_gradient in self.code:
            given = [values[i] for i in operands]
            if without_gradient:
                with torch.no_grad():
                    values.append(INSTRUCTIONS[name](self, *given))
            else:
                values.append(INSTRUCTIONS[name](self, *given))
            if self.shaken:
                _shake(values)
        return tuple(values[i] for i in self.outputs)

    def __str__(self) -> str:
        lines = [
            f"v{INPUTS + i} = {name}({', '.join(f'v{j}' for j in operands)})"
            + "  # without gradient" * without_gradient
            for i, (name, operands, without_gradient) in enumerate(self.code)
        ]
        modes = [norm.training for norm in self.norms]
        lines.append(f"return {', '.join(f'v{i}' for i in self.outputs)}")
        head = f"maps {self.shape}, training: {modes}, gradients: {self.gradients}"
        return "\n".join([head, *lines, *["the first output is written"] * self.written])


def moved(value: Tensor) -> Tensor:
    """Return ``value`` moved by as many roundings of float32 as an instruction may make."""
    return value + ROUNDINGS * (rounded(value, torch.float32) - value)


def _shake(values: list[Tensor]) -> None:
    *others, value = values
    if all(value.untyped_storage()._cdata != other.untyped_storage()._cdata for other in others):
        values[-1] = _Shaken.apply(value)  # type: ignore[assignment]
    else:
        with torch.no_grad():
            value.copy_(moved(value))


class _Shaken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return moved(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return moved(gradient)


def _iadd(a: Tensor, b: Any) -> Tensor:
    a += b
    return a


def _imul(a: Tensor, b: Any) -> Tensor:
    a *= b
    return a


def _squeeze(a: Tensor) -> Tensor:
    return a.mean((2, 3), keepdim=True)


def _without_gradient(function: Callable[[], Tensor]) -> Tensor:
    with torch.no_grad():
        return function()


def _excite(m: Program, z: Tensor) -> Tensor:
    return torch.sigmoid(m.fc2(F.relu(m.fc1(z))))


def _block(m: Program, a: Tensor) -> Tensor:
    u = m.norms[3](m.convs[0](a))
    return F.relu(u * _excite(m, _squeeze(u)) + a)


CONVS = {f"conv{i}": lambda m, a, i=i: m.convs[i](a) for i in range(3)}
NORMS = {f"norm{i}": lambda m, a, i=i: m.norms[i](a) for i in range(4)}
RELUS = {
    "relu": lambda m, a: F.relu(a),
    "a.relu": lambda m, a: a.relu(),
    "relu in place": lambda m, a: F.relu(a, inplace=True),
    "a.relu_": lambda m, a: a.relu_(),
}
ACTIVATIONS = {
    **RELUS,
    "silu": lambda m, a: F.silu(a),
    "silu in place": lambda m, a: F.silu(a, inplace=True),
    "relu6 in place": lambda m, a: F.relu6(a, inplace=True),
    "hardswish": lambda m, a: F.hardswish(a),
    "tanh": lambda m, a: a.tanh(),
}
SQUEEZES = {
    "mean": lambda m, a: _squeeze(a),
    "pool": lambda m, a: F.adaptive_avg_pool2d(a, 1),
    "flatten and mean": lambda m, a: a.flatten(2).mean(-1)[..., None, None],
    "mean and max": lambda m, a: _squeeze(a) + a.amax((2, 3), keepdim=True),
}
GATES = {
    "excite": _excite,
    "one layer": lambda m, z: F.hardsigmoid(m.convs[1](z)),
    "eca": lambda m, z: m.eca(z[..., 0].transpose(1, 2)).sigmoid().transpose(1, 2)[..., None],
    "softmax": lambda m, z: z.softmax(1),
    "z itself": lambda m, z: z,
    "dropout": lambda m, z: F.dropout(_excite(m, z), 0.5),
    "excite detached": lambda m, z: _excite(m, z.detach()),
    "softmax detached": lambda m, z: z.detach().softmax(1),
    "norm inside": lambda m, z: m.norms[1](m.convs[1](z)).sigmoid(),
    "excite without gradient": lambda m, z: _without_gradient(lambda: _excite(m, z)),
    "in place": lambda m, z: z.mul_(0.5).add_(0.5),
}
PRODUCTS = {
    "a * s": lambda m, a, s: a * s,
    "s * a": lambda m, a, s: s * a,
    "a.mul_(s)": lambda m, a, s: a.mul_(s),
    "a *= s": lambda m, a, s: _imul(a, s),
    "a * s.expand_as(a)": lambda m, a, s: a * s.expand_as(a),
}
SUMS = {
    "a + b": lambda m, a, b: a + b,
    "b + a": lambda m, a, b: b + a,
    "torch.add": lambda m, a, b: torch.add(a, b),
    "a += b": lambda m, a, b: _iadd(a, b),
    "a.add_(b)": lambda m, a, b: a.add_(b),
    "b.add_(a)": lambda m, a, b: b.add_(a),
    "a + 2 b": lambda m, a, b: torch.add(a, b, alpha=2),
}
CHANGES = {
    "a.add_": lambda m, a: a.add_(0.3),
    "a.mul_": lambda m, a: a.mul_(0.7),
    "a.detach().add_": lambda m, a: a.detach().add_(0.3),
    "a[0].mul_": lambda m, a: a[0].mul_(0.7),
    "a[:, 1].add_": lambda m, a: a[:, 1].add_(0.3),
    "a.view.neg_": lambda m, a: a.flatten()[5:9].neg_(),
    "a[-1] = 0": lambda m, a: a.select(0, -1).zero_(),
}
OTHERS = {
    "half": lambda m, a: a * 0.5,
    "detach": lambda m, a: a.detach(),
    "clone": lambda m, a: a.clone(),
    "view": lambda m, a: a.flatten(2).view(a.shape),
    "spatial": lambda m, a: a * a.mean(1, keepdim=True).sigmoid(),
    "last": lambda m, a: a.contiguous(memory_format=torch.channels_last),
    "checkpoint": lambda m, a: checkpoint(_block, m, a, use_reentrant=False),
}
COPIES = {"a.copy_(b)": lambda m, a, b: a.copy_(b)}
INSTRUCTIONS: dict[str, Callable[..., Any]] = {
    **CONVS, **NORMS, **ACTIVATIONS, **SQUEEZES, **GATES, **PRODUCTS, **SUMS, **CHANGES, **OTHERS,
    **COPIES,
}  # fmt: skip


class _Writer:
    """A writer of programs with tails, and any instructions between their parts."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.code: list[tuple[str, tuple[int, ...], bool]] = []
        self.maps = list(range(INPUTS))
        self.disturbance = rng.choice([0.0, 0.15, 0.4])
        self.read: list[int] = []  # by the tail that is being written
        self.outputs: list[int] = []

    def write(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self.outputs.append(self.tail())
        self.outputs = [*dict.fromkeys(self.outputs[-1:] + self.outputs)]
        self.rng.shuffle(self.outputs)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def put(self, among: dict[str, Any], *operands: int, is_map: bool = True) -> int:
        """Write one instruction, and return the number of its value."""
        self.code.append((self.rng.choice(list(among)), operands, self.chance(0.02)))
        value = INPUTS + len(self.code) - 1
        if is_map:
            self.maps.append(value)
        return value

    def some_map(self, but: int | None = None) -> int:
        others = [value for value in self.maps[-6:] if value != but]
        return self.rng.choice(self.maps[-6:] if self.chance(0.1) else others)

    def tail(self) -> int:
        u = self.some_map()
        if self.chance(0.7):
            u = self.put(CONVS, u)
            self.disturb()
        self.read = [u]
        if self.chance(0.85):
            u = self.put(NORMS, u)
            self.disturb()
        if self.chance(0.3):
            u = self.put(ACTIVATIONS, u)
            self.disturb()
        if self.chance(0.6):
            z = self.put(SQUEEZES, u, is_map=False)
            self.disturb()
            s = self.put(GATES, z, is_map=False)
            self.read.append(s)
            self.disturb()
            u = self.put(PRODUCTS, u, s)
            self.disturb()
        if self.chance(0.6):
            shortcut = self.some_map(but=u)
            self.read.append(shortcut)
            u = self.put(SUMS, u, shortcut)
            self.disturb()
        if self.chance(0.6):
            u = self.put(RELUS, u)
            self.disturb()
        return u

    def disturb(self) -> None:
        """Write an instruction that may or may not involve the current tail."""
        if not self.chance(self.disturbance):
            return
        what = self.rng.choice(
            ["change", "change", "change", "other", "copy", "output", "norm", "sum"]
        )
        if what == "change":
            target = self.rng.choice(self.read) if self.read and self.chance(0.6) else None
            self.put(CHANGES, self.some_map() if target is None else target, is_map=False)
        elif what == "other":
            self.put(OTHERS, self.some_map())
        elif what == "copy":
            self.put(COPIES, self.some_map(), self.some_map(), is_map=False)
        elif what == "output":
            self.outputs.append(self.some_map())
        elif what == "norm":
            self.put(NORMS, self.some_map())
        else:
            self.put(SUMS, self.some_map(), self.some_map())
