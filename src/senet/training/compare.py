"""Train a network and its plain twin under the same conditions."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from senet.data import Source
from senet.models import create_model, entry
from senet.models.attention import is_option
from senet.models.cost import measure
from senet.training.batches import training_images
from senet.training.config import TrainConfig
from senet.training.fit import Interrupted, fit
from senet.training.folder import RunFolder, read_json, write_json


@dataclass(frozen=True)
class Plan:
    """Which runs a comparison is made of.

    Attributes:
        config: of all runs; its model is the SE network, its seed the first of ``seeds``.
        plain: name of the plain twin.
        seeds: one pair of runs each.
    """

    config: TrainConfig
    plain: str
    seeds: tuple[int, ...]

    @property
    def se(self) -> str:
        return self.config.model

    def run_config(self, name: str, seed: int) -> TrainConfig:
        """The configuration of one run; the SE block's options are the SE network's alone."""
        options = {
            option: value
            for option, value in self.config.options.items()
            if name == self.se or not is_option(option)
        }
        return replace(self.config, model=name, options=options, seed=seed)

    def order(self) -> list[tuple[str, int]]:
        """Network and seed of every run, pair by pair; by turns the one or the other comes first.

        Whatever changes with time on the machine then falls on both alike.
        """
        pairs = [(self.plain, self.se), (self.se, self.plain)]
        return [(name, seed) for i, seed in enumerate(self.seeds) for name in pairs[i % 2]]

    def to_dict(self, source: Source, finished: bool) -> dict[str, Any]:
        """What ``comparison.json`` holds."""
        return {
            "plain": self.plain,
            "se": self.se,
            "seeds": list(self.seeds),
            "runs": {n: [run_name(n, s) for s in self.seeds] for n in (self.plain, self.se)},
            "data": source.name,
            "config": self.config.to_dict(),
            "finished": finished,
        }


def run_name(name: str, seed: int) -> str:
    return f"{name}-seed{seed}"


def plan(config: TrainConfig, seeds: Sequence[int] = (0,)) -> Plan:
    """Find the twin of ``config.model``, whichever of the two it is.

    Raises:
        ValueError: for an unknown network, or seeds that are none, negative or repeated.

    Example:
        >>> found = plan(TrainConfig(model="resnet20_cifar", options={"reduction": 8}), (0, 1))
        >>> found.order()[:3]
        [('resnet20_cifar', 0), ('se_resnet20_cifar', 0), ('se_resnet20_cifar', 1)]
        >>> found.run_config("resnet20_cifar", 1).options
        {}
    """
    se, plain = config.model, entry(config.model).twin
    if not entry(se).has_se:
        se, plain = plain, se
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different numbers, at least one, got {tuple(seeds)}")
    return Plan(replace(config, model=se, seed=seeds[0]), plain, tuple(seeds))


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """The plan of a comparison that has been started, to resume it with.

    Raises:
        FileNotFoundError: if the folder holds none.
        ValueError: if its ``comparison.json`` is damaged.
    """
    begun = read_json(Path(folder) / "comparison.json")
    return plan(TrainConfig.from_dict(begun["config"]), begun["seeds"])


def compare(
    config: TrainConfig,
    run_dir: str | os.PathLike[str],
    seeds: Sequence[int] = (0,),
    *,
    source: Source | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train an SE network and its plain twin: nothing differs but the SE blocks.

    With the same seed both get the same images in the same order, the same augmentation, the same
    recipe, and the same initial weights where they have the same parameters.

    Args:
        config: of both; ``config.model`` is either twin. Options of SE blocks go to the SE network.
        run_dir: the folder; it must be empty, or not be there, unless a comparison is resumed.
        seeds: one pair of runs each.
        source: the images, where they are opened already; by default what ``config.data`` names.
        resume: go on with the comparison in ``run_dir``: finished runs are left, an interrupted one
            goes on where it stopped.
        progress: print which run it is, and what :func:`~senet.training.fit.fit` prints.

    Returns:
        the folder. It holds ``comparison.json``, a run folder for every network and seed, and
        ``cost.json``.

    Raises:
        ValueError: as :func:`~senet.training.fit.fit`.
        Interrupted: likewise.
    """
    made = plan(config, seeds)
    folder = Path(run_dir)
    record = folder / "comparison.json"
    if resume:
        _require_same(folder, made)
        if read_json(record)["finished"]:
            return folder
    else:
        RunFolder(folder).require_unused()
    # Opened once, so that every run gets the same splits.
    source = training_images(made.config, source, _first_begun(made, folder))
    if not resume:
        RunFolder(folder).create()
        write_json(record, made.to_dict(source, finished=False))
    for i, (name, seed) in enumerate(made.order()):
        if progress:
            print(f"[{i + 1}/{2 * len(seeds)}] {name}, seed {seed}")
        _run(made.run_config(name, seed), folder, source, progress)
    write_json(folder / "cost.json", _cost(made, source))
    write_json(record, made.to_dict(source, finished=True))
    return folder


def _require_same(folder: Path, made: Plan) -> None:
    begun = read_plan(folder)
    differences = begun.config.differences(made.config)
    if begun.seeds != made.seeds:
        differences.append(f"seeds: {begun.seeds}, not {made.seeds}")
    if differences:
        raise ValueError(
            f"{folder} was started with another configuration, so it cannot be resumed with this "
            f"one: {'; '.join(differences)}"
        )


def _first_begun(made: Plan, folder: Path) -> RunFolder | None:
    runs = (RunFolder(folder / run_name(name, seed)) for name, seed in made.order())
    return next((run for run in runs if run.config_file.is_file()), None)


def _run(config: TrainConfig, folder: Path, source: Source, progress: bool) -> None:
    path = folder / run_name(config.model, config.seed)
    begun = RunFolder(path).config_file.is_file()
    try:
        fit(config, path, source, resume=begun, progress=progress)
    except Interrupted as error:
        raise Interrupted(
            f"Stopped in {path.name}. "
            f"Go on with `senet compare --resume {shlex.quote(str(folder))}`.",
            error.exit_code,
        ) from None


def _cost(made: Plan, source: Source) -> dict[str, Any]:
    p = source.preprocessing
    models = {
        name: create_model(
            name,
            num_classes=len(source.classes),
            in_channels=p.channels,
            **made.run_config(name, made.seeds[0]).options,
        )
        for name in (made.plain, made.se)
    }
    return measure(models, (p.channels, p.size, p.size), made.config.batch_size)
