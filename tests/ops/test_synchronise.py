"""Two processes with SyncBatchNorm's statistics are one process with both batches."""

import copy
import faulthandler
import os
from datetime import timedelta
from itertools import product

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F

from senet.ops import backend, synchronise
from senet.ops.activated import act_scale, act_squeeze
from senet.ops.norm import Norm
from senet.ops.tail import norm_scale, norm_squeeze
from tests.ops.test_activated import Unit
from tests.ops.test_tail import Tail
from tests.oracle import check

SHARES = (3, 5)  # images of each process; unequal on purpose


class Plain(nn.Module):
    """Run a tail in plain PyTorch, in one process."""

    def __init__(self, activation):
        super().__init__()
        self.bn, self.fc, self.activation = nn.BatchNorm2d(8), nn.Linear(8, 8), activation
        nn.init.uniform_(self.bn.weight)

    def forward(self, x, shortcut):
        u = self.bn(x)
        u = u if self.activation is None else getattr(F, self.activation)(u)
        u = u * self.gate(u.mean((2, 3)))[:, :, None, None]
        return u if self.activation else F.relu(u + shortcut)

    def gate(self, z):
        return self.fc(z).sigmoid()


class Pair(Plain):
    """Run the same on the passes, over the processes of ``group``."""

    group = None

    def forward(self, x, shortcut):
        bn = self.bn
        kept = bn.running_mean, bn.running_var, bn.weight, bn.bias
        norm = Norm(*kept, self.training, bn.momentum, bn.eps, self.group)
        if self.activation is None:
            h = norm_squeeze(x, norm)
            return norm_scale(h, self.gate(h.z), shortcut, relu=True)
        h = act_squeeze(x, norm, self.activation)
        return act_scale(h, self.gate(h.z))


CASES = list(product(("eager", "auto"), (None, "silu")))


def inputs():
    generator = torch.Generator().manual_seed(1)
    x, shortcut, sent = (torch.randn(sum(SHARES), 8, 5, 5, generator=generator) for _ in range(3))
    return x * 2 + 30, shortcut, sent


def run(tail, x, shortcut, sent):
    """Return output, gradients and running statistics."""
    x = x.clone().requires_grad_()
    y = tail(x, shortcut)
    y.backward(sent)
    found = {"y": y.detach(), "dx": x.grad}
    found |= {f"d {k}": p.grad for k, p in tail.named_parameters()}
    return found | {k: b.clone() for k, b in tail.named_buffers() if "running" in k}


def meet(rank, folder):
    """Become one of the processes. A process that stalls prints its stack and ends."""
    faulthandler.dump_traceback_later(90, exit=True)
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=len(SHARES),
        timeout=timedelta(seconds=60),
    )


def part():
    """Leave at once: CI has stalled in these tests, and the end of an interpreter adds nothing."""
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)


def work(rank, folder, states):
    """Run every case on the images of this process; and one as the norm of each process its own."""
    meet(rank, folder)
    own = slice(sum(SHARES[:rank]), sum(SHARES[: rank + 1]))
    x, shortcut, sent = (v[own] for v in inputs())
    found = {}
    for name, activation in CASES:
        tail = Pair(activation)
        tail.load_state_dict(states[activation])
        tail.group = distributed.group.WORLD
        with backend.use(name):
            found[name, activation] = run(tail, x, shortcut, sent)
    tail = Pair(None)
    tail.load_state_dict(states[None])
    parallel = nn.parallel.DistributedDataParallel(tail)
    parallel(x, shortcut).backward(sent)
    found["parallel"] = {k: p.grad for k, p in tail.named_parameters()}
    torch.save(found, f"{folder}/{rank}.pt")
    part()


@pytest.fixture(scope="module")
def states():
    torch.manual_seed(0)
    return {activation: Plain(activation).state_dict() for activation in (None, "silu")}


@pytest.fixture(scope="module")
def parts(tmp_path_factory, states):
    """Return the results of each process."""
    folder = tmp_path_factory.mktemp("parts")
    multiprocessing.spawn(work, (str(folder), states), nprocs=len(SHARES))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(len(SHARES))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "activation"), CASES)
def test_two_processes_are_one(parts, states, name, activation):
    tail = Plain(activation)
    tail.load_state_dict(states[activation])
    own = [part[name, activation] for part in parts]
    for key, value in run(tail, *inputs()).items():
        if key in ("y", "dx"):
            got = torch.cat([part[key] for part in own])
        elif key.startswith("d "):  # each process has the gradient of its own images
            got = sum(part[key] for part in own)
        else:
            got = own[0][key]
            assert torch.equal(got, own[1][key]), key
        torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.slow
def test_distributed_data_parallel_averages_the_gradients(parts, states):
    tail = Plain(None)
    tail.load_state_dict(states[None])
    alone = []
    for rank, share in enumerate(SHARES):
        own = slice(sum(SHARES[:rank]), sum(SHARES[:rank]) + share)
        alone.append(run(copy.deepcopy(tail), *(v[own] for v in inputs())))
    for found in parts:
        for key, gradient in found["parallel"].items():
            mean = sum(part[f"d {key}"] for part in alone) / len(SHARES)
            torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-5, msg=key)


def twin_of(monkeypatch):
    """Return a group of this process and another with the same batch, without communication."""
    monkeypatch.setattr(synchronise, "statistics", lambda μ, var, M, group: (μ, var, 2 * M))
    monkeypatch.setattr(synchronise, "sums", lambda T1, T2, group: (2 * T1, 2 * T2))
    return "twin"


@pytest.fixture
def twin(monkeypatch):
    return twin_of(monkeypatch)


def check_twins(case, group):
    """Each process has the same gradient, and gets the other's through the statistics."""
    shape = case.maps["x"].shape
    kept = {}

    def fast(v):
        kept["fast"] = case.kept(v)
        norm = Norm(*kept["fast"], v["weight"], v["bias"], True, group=group)
        if isinstance(case, Unit):
            h = act_squeeze(v["x"], norm, case.activation)
            y = act_scale(h, case.gate(h.z, v))
        else:
            h = norm_squeeze(v["x"], norm)
            y = norm_scale(h, case.gate(h.z, v), v["shortcut"])
        return y + y.detach()

    def plain(v):
        kept["plain"] = case.kept(v)
        both = torch.cat([v["x"], v["x"].detach()])
        normed = F.batch_norm(both, *kept["plain"], None, None, True).split(shape[0])
        found = 0
        for own, x̂ in zip((v, {k: t.detach() for k, t in v.items()}), normed, strict=True):
            u = F.batch_norm(
                x̂, torch.zeros_like(own["bias"]), torch.ones_like(own["bias"]), own["weight"],
                own["bias"], eps=0,
            )  # fmt: skip
            if isinstance(case, Unit):
                u = getattr(F, case.activation)(u)
            y = case.gate(u.mean((2, 3)), own)[:, :, None, None] * u
            found = found + (y if isinstance(case, Unit) else y + own["shortcut"])
        return found

    check(fast, plain, case.maps, case.parameters, torch.float32)
    for mine, wanted in zip(kept["fast"], kept["plain"], strict=True):
        torch.testing.assert_close(mine, wanted)


def check_twin_cases(group):
    check_twins(Tail("norm + SE + shortcut", (3, 8, 5, 5)), group)
    check_twins(Unit("silu", (3, 8, 5, 5)), group)


@pytest.mark.parametrize("name", ["eager", "auto"])
def test_statistics_of_two_processes_in_one(twin, name):
    with backend.use(name):
        check_twin_cases(twin)


def test_a_second_derivative_over_several_processes_is_refused(twin):
    for squeeze, scale, more in (
        (norm_squeeze, norm_scale, ()),
        (act_squeeze, act_scale, ("silu",)),
    ):
        x = torch.randn(3, 8, 5, 5, requires_grad=True)
        h = squeeze(x, Norm(training=True, group=twin), *more)
        y = scale(h, h.z.sigmoid())
        (dx,) = torch.autograd.grad(y.sum(), x, retain_graph=True)
        assert dx.isfinite().all()
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(y.sum(), x, create_graph=True)
