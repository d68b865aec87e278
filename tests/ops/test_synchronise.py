"""Two processes with SyncBatchNorm are one process with both batches."""

import copy
import faulthandler
import os
from datetime import timedelta

import pytest
import torch
from torch import distributed, multiprocessing, nn

from senet import SqueezeExcitation
from senet.nn import norm_act, norm_act_se
from senet.ops import backend

SHARES = (3, 5)  # images of each process; unequal on purpose


class Tail(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(8)
        self.se = SqueezeExcitation(8, 4)

    def forward(self, x, shortcut):
        return norm_act(x, self.bn, self.se, shortcut)


class Unit(Tail):
    """With the activation between norm and SE."""

    def forward(self, x, shortcut):
        return norm_act_se(x, self.bn, nn.SiLU(), self.se)


def inputs():
    generator = torch.Generator().manual_seed(1)
    x, shortcut, sent = (torch.randn(sum(SHARES), 8, 5, 5, generator=generator) for _ in range(3))
    return x * 2 + 30, shortcut, sent


def run(tail, x, shortcut, sent):
    """Output, gradients and running statistics."""
    x = x.clone().requires_grad_()
    y = tail(x, shortcut)
    y.backward(sent)
    found = {"y": y.detach(), "dx": x.grad}
    found |= {f"d {k}": p.grad for k, p in tail.named_parameters()}
    return found | {k: b.clone().float() for k, b in tail.named_buffers()}


def meet(rank, folder):
    """Become one of the processes. One that stalls says where it stood, and ends."""
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


def spawn(function, folder, *arguments):
    multiprocessing.spawn(function, (str(folder), *arguments), nprocs=len(SHARES))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(len(SHARES))]


def work(rank, folder, kind, state, name):
    meet(rank, folder)
    tail = kind()
    tail.load_state_dict(state)
    tail = nn.SyncBatchNorm.convert_sync_batchnorm(tail)
    own = slice(sum(SHARES[:rank]), sum(SHARES[: rank + 1]))
    with backend.use(name):
        found = run(tail, *(v[own] for v in inputs()))
    torch.save(found, f"{folder}/{rank}.pt")
    part()


@pytest.mark.parametrize("kind", [Tail, Unit])
@pytest.mark.parametrize("name", ["eager", "auto"])
def test_two_processes_are_one(tmp_path, name, kind):
    tail = kind()
    state = copy.deepcopy(tail.state_dict())
    whole = run(tail, *inputs())
    parts = spawn(work, tmp_path, kind, state, name)
    for key, value in whole.items():
        if key in ("y", "dx"):
            got = torch.cat([part[key] for part in parts])
        elif key.startswith("d "):  # each process has the gradient of its own images
            got = sum(part[key] for part in parts)
        else:
            got = parts[0][key]
            assert torch.equal(got, parts[1][key]), key
        torch.testing.assert_close(got, value, rtol=1e-4, atol=1e-5, msg=key)


def work_in_parallel(rank, folder, state):
    """The same, with the batch norm of each process its own, under DistributedDataParallel."""
    meet(rank, folder)
    tail = Tail()
    tail.load_state_dict(state)
    parallel = nn.parallel.DistributedDataParallel(tail)
    own = slice(sum(SHARES[:rank]), sum(SHARES[: rank + 1]))
    x, shortcut, sent = (v[own] for v in inputs())
    parallel(x, shortcut).backward(sent)
    torch.save({k: p.grad for k, p in tail.named_parameters()}, f"{folder}/{rank}.pt")
    part()


def test_distributed_data_parallel_averages_the_gradients(tmp_path):
    tail = Tail()
    state = copy.deepcopy(tail.state_dict())
    parts = spawn(work_in_parallel, tmp_path, state)
    alone = []
    for rank, share in enumerate(SHARES):
        other = copy.deepcopy(tail)
        own = slice(sum(SHARES[:rank]), sum(SHARES[:rank]) + share)
        x, shortcut, sent = (v[own] for v in inputs())
        other(x, shortcut).backward(sent)
        alone.append(dict(other.named_parameters()))
    for found in parts:
        for key, gradient in found.items():
            mean = sum(part[key].grad for part in alone) / len(SHARES)
            torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-5, msg=key)
