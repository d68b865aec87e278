"""The folder of a comparison: ``comparison.json``, ``cost.json``, and a folder for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from senet.runs.folder import COMPARISON, RunFolder, read_json, resume_comparison, write_json


@dataclass(frozen=True)
class Network:
    """One network of a variation.

    Attributes:
        model: its name in the registry.
        twin: name in the variation of the plain network that it is compared with; ``None`` for a
            plain network.
        value: value of the varied option, as the command line takes it; ``None`` for a plain
            network that does not have the option.
    """

    model: str
    twin: str | None
    value: str | None


@dataclass(frozen=True)
class ComparisonFolder:
    """The paths of a comparison, with methods that read and write its small files."""

    path: Path

    @property
    def file(self) -> Path:
        return self.path / COMPARISON

    @property
    def cost_file(self) -> Path:
        return self.path / "cost.json"

    @property
    def resume_command(self) -> str:
        return resume_comparison(self.path)

    def run(self, name: str, seed: int) -> RunFolder:
        """Return the run folder of one network and seed."""
        return RunFolder(self.path / run_name(name, seed))

    def read(self) -> dict[str, Any]:
        """Return the contents of ``comparison.json``.

        Raises:
            FileNotFoundError: if it is not there.
            ValueError: if it is damaged.
        """
        return read_json(self.file)

    def write(
        self,
        plain: str,
        se: str,
        networks: Mapping[str, Network],
        seeds: Sequence[int],
        vary: Mapping[str, Any] | None,
        data: str,
        config: Mapping[str, Any],
        finished: bool,
    ) -> None:
        """Write ``comparison.json``.

        Args:
            plain: the network without SE.
            se: the network with SE.
            networks: the networks by their names in the comparison. A pair needs only the names.
            seeds: the seeds; each gives one run of every network.
            vary: the option in which the networks differ, and its values; ``None`` for a pair.
            data: name of the data.
            config: what all trainings have in common.
            finished: whether all runs and costs are complete.
        """
        family = {}
        if vary is not None:
            family = {"vary": vary, "networks": {n: asdict(own) for n, own in networks.items()}}
        write_json(
            self.file,
            {
                "plain": plain,
                "se": se,
                **family,
                "seeds": list(seeds),
                "runs": {n: [run_name(n, s) for s in seeds] for n in networks},
                "data": data,
                "config": config,
                "finished": finished,
            },
        )

    def write_cost(self, cost: Mapping[str, Any]) -> None:
        """Write ``cost.json``: the figures of each network, by its name in the comparison."""
        write_json(self.cost_file, cost)


def run_name(name: str, seed: int) -> str:
    """Return the folder name of the run of one network and seed.

    Example:
        >>> run_name("se_resnet20_cifar", 3)
        'se_resnet20_cifar-seed3'
    """
    return f"{name}-seed{seed}"
