"""A data set that is learned in seconds, and a network that is small enough."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from senet.data import Source
from senet.data.arrays import ArraySplit
from senet.models import Preprocessing
from senet.training.config import TrainConfig
from senet.training.module import Classifier

SIDE = 8


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Let Ctrl-C through: programs that a shell starts in the background, tests too, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def quadrants(n: int, seed: int, classes: int = 4) -> ArraySplit:
    """Noise with one bright quadrant, whose number is the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = random.integers(0, 160, (n, 1, SIDE, SIDE))
    half = SIDE // 2
    for image, label in zip(images, labels, strict=True):
        top, left = half * (label // 2), half * (label % 2)
        image[:, top : top + half, left : left + half] += 90
    return ArraySplit(torch.from_numpy(images.astype(np.uint8)), labels)


@pytest.fixture
def source() -> Source:
    return Source(
        name="quadrants",
        classes=("north-west", "north-east", "south-west", "south-east"),
        train=quadrants(64, seed=1),
        val=quadrants(20, seed=2),
        test=quadrants(40, seed=3),
        preprocessing=Preprocessing(size=SIDE, mean=(0.4,), std=(0.25,)),
    )


@pytest.fixture
def config() -> TrainConfig:
    """Four steps per epoch, not accelerated: a capture would take longer than the training."""
    return TrainConfig(
        model="se_resnet8_cifar",
        options={"widths": (4, 4, 8), "reduction": 2},
        epochs=3,
        batch_size=16,
        device="cpu",
        accelerate=False,
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute with one thread: more slow down such small tensors, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch):
    """``signal_at(step, signal, ...)``: send these signals to the process during a step."""

    def arrange(step: int, *numbers: signal.Signals) -> None:
        original = Classifier.training_step

        def training_step(self: Classifier, batch, batch_idx):
            if self.global_step == step:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(Classifier, "training_step", training_step)

    return arrange
