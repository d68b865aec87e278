"""What is trained, by which recipe, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.ledger import Row
from senet.models import entry
from senet.training.config import TrainConfig
from senet.training.recipes import cifar

NETWORK = "resnet20_cifar"
DATA = ("cifar100", "cifar10")
SEEDS = (0, 1, 2)
REDUCTIONS = (4, 16)
EPOCHS = 30


def recipe() -> TrainConfig:
    """Return the recipe of all trainings, whatever the network.

    One cycle up to a learning rate of 0.4, weight decay 5e-4, batches of 128, Nesterov momentum
    0.9, shifts by up to 4 pixels, flips, no label smoothing, bfloat16 where autocast says so.
    """
    return replace(
        cifar(),
        epochs=EPOCHS,
        schedule="onecycle",
        milestones=(),
        lr=0.4,
        weight_decay=5e-4,
        precision="bf16-mixed",
    )


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        data: name of the data set.
        network: name of the network without SE.
        reduction: that of the SE blocks; ``None`` for the network without them.
        seed: seed of the initial weights and of everything random after it.
        epochs: passes over the training images.
    """

    data: str
    network: str
    reduction: int | None
    seed: int
    epochs: int = EPOCHS

    @property
    def model(self) -> str:
        return self.network if self.reduction is None else entry(self.network).twin

    @property
    def name(self) -> str:
        """The name of its run folder and of its record.

        Example:
            >>> Training("cifar100", "resnet20_cifar", 4, seed=1).name
            'cifar100-se_resnet20_cifar-r4-seed1'
        """
        form = "" if self.reduction is None else f"-r{self.reduction}"
        return f"{self.data}-{self.model}{form}-seed{self.seed}"

    @property
    def config(self) -> TrainConfig:
        return replace(
            recipe(),
            data=self.data,
            model=self.model,
            options={} if self.reduction is None else {"reduction": self.reduction},
            seed=self.seed,
            epochs=self.epochs,
        )

    @property
    def key(self) -> Row:
        """What identifies it among the rows of records."""
        return {
            "data": self.data,
            "model": self.model,
            "reduction": self.reduction,
            "seed": self.seed,
            "recipe": f"{self.epochs} epochs",
        }


def trainings() -> Iterator[Training]:
    """Yield all trainings, the most telling first: twins of one seed follow one another."""
    for data in DATA:
        for seed in SEEDS:
            yield Training(data, NETWORK, None, seed)
            yield Training(data, NETWORK, REDUCTIONS[0], seed)
    for reduction in REDUCTIONS[1:]:
        for data in DATA:
            yield from (Training(data, NETWORK, reduction, seed) for seed in SEEDS)
