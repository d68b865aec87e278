import math

import pytest
import torch

from senet.training.config import TrainConfig
from senet.training.schedule import learning_rate


def rates(config, steps_per_epoch=10):
    steps = config.epochs * steps_per_epoch
    return [learning_rate(config, step, steps_per_epoch) for step in range(steps)]


def torchs(scheduler, lr, steps, **settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    schedule = scheduler(optimizer, **settings)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_cosine_is_pytorchs():
    config = TrainConfig(lr=0.3, epochs=4, schedule="cosine")
    theirs = torchs(torch.optim.lr_scheduler.CosineAnnealingLR, 0.3, 40, T_max=40)
    assert rates(config) == pytest.approx(theirs, rel=1e-9)
    assert rates(config)[0] == 0.3
    assert rates(config)[-1] == pytest.approx(0.3 * (1 + math.cos(math.pi * 39 / 40)) / 2)


def test_steps_are_pytorchs():
    config = TrainConfig(lr=0.3, epochs=4, schedule="step", milestones=(1, 3), gamma=0.2)
    theirs = torchs(torch.optim.lr_scheduler.MultiStepLR, 0.3, 40, milestones=(10, 30), gamma=0.2)
    assert rates(config) == pytest.approx(theirs, rel=1e-12)
    assert rates(config)[0] == 0.3
    assert rates(config)[-1] == pytest.approx(0.3 * 0.04)


def test_one_cycle_rises_and_falls_between_its_constants():
    config = TrainConfig(lr=0.5, epochs=10, schedule="onecycle")
    found = rates(config)
    assert found[0] == pytest.approx(0.5 / 25)
    assert found[30] == 0.5
    assert found.index(max(found)) == 30
    end = 0.5 / 250_000
    half_cosine = (1 + math.cos(math.pi * 69 / 70)) / 2
    assert found[-1] == pytest.approx(end + (0.5 - end) * half_cosine)
    # PyTorch's reaches its end one step earlier; otherwise the curves are the same.
    theirs = torchs(
        torch.optim.lr_scheduler.OneCycleLR, 0.5, 100, max_lr=0.5, total_steps=101,
        pct_start=31 / 101, cycle_momentum=False,
    )  # fmt: skip
    assert found == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "step", "onecycle"])
def test_warmup_rises_linearly_and_then_the_schedule_begins(schedule):
    milestones = (3,) if schedule == "step" else ()
    config = TrainConfig(lr=0.4, epochs=4, warmup=0.5, schedule=schedule, milestones=milestones)
    found = rates(config)
    assert found[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert found[5] == pytest.approx(0.4 / 25 if schedule == "onecycle" else 0.4)
    assert all(0 < rate <= 0.4 for rate in found)
