"""Accelerated networks inside wrappers: over several processes, and in Lightning."""

import copy
import faulthandler
import os
import warnings
from datetime import timedelta

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import distributed, multiprocessing
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from senet import accelerate
from senet.ops import backend
from tests.fuse.blocks import Block, small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native")),
]

PROCESSES = 2


def images():
    """Return four images for each process."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4 * PROCESSES, 3, 19, 19, generator=generator)


def start():
    torch.manual_seed(0)
    return small()


def whole(value):
    """Return the full tensor of a shard."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def run(model, network, x):
    """Run two steps; return the outputs, the last gradients, and all values after them."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    found = {}
    for step in range(2):
        optimizer.zero_grad()
        y = model(x)
        y.square().mean().backward()
        optimizer.step()
        found[f"output {step}"] = y.detach()
    for name, parameter in network.named_parameters():
        found[f"gradient of {name}"] = whole(parameter.grad).clone()
    return found | {name: whole(value).clone() for name, value in network.state_dict().items()}


def parallel(network):
    return DistributedDataParallel(network)


def in_buckets(network):
    """TorchDynamo splits its graphs at the ends of DDP's buckets; here there are several."""
    distributed._DEFAULT_FIRST_BUCKET_BYTES = 4096
    return DistributedDataParallel(network, bucket_cap_mb=0.005)


def sharded(network):
    mesh = init_device_mesh("cpu", (PROCESSES,))
    for block in network:
        if isinstance(block, Block):
            fully_shard(block, mesh=mesh)
    return fully_shard(network, mesh=mesh)


WRAPPERS = {"DDP": parallel, "DDP in buckets": in_buckets, "FSDP": sharded}


def work(rank, folder):
    """Run the plain network and the accelerated one, in each wrapper, on this process's images."""
    faulthandler.dump_traceback_later(300, exit=True)
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=PROCESSES,
        timeout=timedelta(seconds=300),
    )
    backend.LEAST = backend.LEAST_WITHOUT_GATE = 0  # as in tests/conftest.py
    x = images().chunk(PROCESSES)[rank]
    found = {}
    for wrapper, wrap in WRAPPERS.items():
        plain, fast = start(), start()
        report = accelerate(fast)
        found[wrapper] = {
            "plain": run(wrap(plain), plain, x),
            "accelerated": run(wrap(fast), fast, x),
            "changed": [finding.found for finding in report.changed],
        }
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Return the results of each process."""
    folder = tmp_path_factory.mktemp("parts")
    multiprocessing.spawn(work, (str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_over_two_processes(parts, wrapper):
    first, second = (part[wrapper] for part in parts)
    for found in (first, second):
        assert found["accelerated"].keys() == found["plain"].keys()
        for name, wanted in found["plain"].items():
            torch.testing.assert_close(
                found["accelerated"][name], wanted, rtol=1e-4, atol=1e-5, msg=name
            )
    for name, wanted in first["accelerated"].items():
        if name.startswith("gradient"):  # the mean over both
            assert torch.equal(second["accelerated"][name], wanted), name
    # FSDP's hooks end a graph: there each block is one, and the stem stays plain.
    assert first["changed"].count("norm + SE + shortcut + ReLU") == 2


class Learner(LightningModule):
    """The network with a loss."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.losses = []

    def training_step(self, batch, _):
        loss = self.network(batch[0]).square().mean()
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(network, folder):
    learner = Learner(network)
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, that a machine has few workers
        trainer.fit(learner, DataLoader(TensorDataset(images()), batch_size=4))
    assert trainer.global_step == 2
    return torch.stack(learner.losses)


def test_in_a_lightning_module(tmp_path):
    plain = start()
    fast = copy.deepcopy(plain)
    report = accelerate(fast)
    torch.testing.assert_close(fit(fast, tmp_path), fit(plain, tmp_path), rtol=1e-4, atol=1e-5)
    for name, wanted in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], wanted, rtol=1e-4, atol=1e-5, msg=name)
    assert len(report.changed) == 3
