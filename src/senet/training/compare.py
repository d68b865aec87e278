"""Train a network and its plain twin, or a family of networks, under the same conditions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from senet.data import Source
from senet.fuse.accelerate import accelerate
from senet.models import create_model, entry
from senet.models.describe.cost import measure
from senet.paths import expanded
from senet.runs.comparison import ComparisonFolder, run_name
from senet.runs.folder import RunFolder
from senet.runs.images import changes, note_data
from senet.tell import tell
from senet.training.batches import training_images
from senet.training.config import TrainConfig
from senet.training.fit import Interrupted, fit
from senet.training.found import found_images
from senet.training.variants import Variant, Vary, require_buildable, variants


@dataclass(frozen=True)
class Plan:
    """The runs that a comparison consists of.

    Attributes:
        config: configuration of all runs; its model is the SE network, its seed the first of
            ``seeds``.
        networks: the networks by their names in the comparison; each is trained with every seed.
        seeds: the seeds; each gives one run of every network.
        vary: the option in which the networks with SE differ; ``None`` if there is only one.
    """

    config: TrainConfig
    networks: dict[str, Variant]
    seeds: tuple[int, ...]
    vary: Vary | None = None

    @property
    def se(self) -> str:
        return self.config.model

    @property
    def plain(self) -> str:
        return entry(self.se).twin

    def run_config(self, name: str, seed: int) -> TrainConfig:
        """Return the configuration of one run; only SE networks have the options of attention."""
        network = self.networks[name]
        return replace(self.config, model=network.model, options=network.options, seed=seed)

    def order(self) -> list[tuple[str, int]]:
        """Return network and seed of every run, seed by seed, every other seed in reverse order.

        Whatever changes on the machine over time then affects all networks alike, and no network is
        ever more than one run ahead of another.
        """
        names = list(self.networks)
        turns = [names, names[::-1]]
        return [(name, seed) for i, seed in enumerate(self.seeds) for name in turns[i % 2]]

    def write(self, folder: ComparisonFolder, source: Source, finished: bool) -> None:
        """Write ``comparison.json``."""
        folder.write(
            self.plain,
            self.se,
            {name: network.recorded for name, network in self.networks.items()},
            self.seeds,
            asdict(self.vary) if self.vary else None,
            source.name,
            self.config.to_dict(),
            finished,
        )


def plan(config: TrainConfig, seeds: Sequence[int] = (0,), vary: Vary | None = None) -> Plan:
    """Find the twin of ``config.model``, whichever of the two it is, and name all networks.

    Raises:
        ValueError: for an unknown network or option, or if there are no seeds or repeated ones.

    Example:
        >>> found = plan(TrainConfig(model="resnet20_cifar", options={"reduction": 8}), (0, 1))
        >>> found.order()[:3]
        [('resnet20_cifar', 0), ('se_resnet20_cifar', 0), ('se_resnet20_cifar', 1)]
        >>> found.run_config("resnet20_cifar", 1).options
        {}
    """
    if not entry(config.model).has_se:
        config = replace(config, model=entry(config.model).twin)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different numbers, at least one, got {tuple(seeds)}")
    config = replace(config, seed=seeds[0])
    return Plan(config, variants(config, vary), tuple(seeds), vary)


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """Return the plan of a comparison that has begun, to resume it.

    Raises:
        FileNotFoundError: if the folder holds no comparison.
        ValueError: if its ``comparison.json`` is damaged.
    """
    begun = ComparisonFolder(Path(folder)).read()
    vary = Vary(**begun["vary"]) if "vary" in begun else None
    return plan(TrainConfig.from_dict(begun["config"]), begun["seeds"], vary)


def compare(
    config: TrainConfig,
    run_dir: str | os.PathLike[str],
    seeds: Sequence[int] = (0,),
    *,
    vary: Vary | None = None,
    source: Source | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train an SE network and its plain twin: nothing differs but the SE blocks.

    With the same seed, both get the same images in the same order, the same augmentation, the same
    recipe, and the same initial weights wherever they share parameters. So does every network of a
    family, whose networks differ in one option.

    Args:
        config: configuration of all runs; ``config.model`` is either twin. Options of SE blocks go
            to the SE network.
        run_dir: the folder; it must be empty or not exist, unless a comparison is resumed.
        seeds: the seeds; each gives one run of every network.
        vary: train an SE network for each of these values, instead of one. All are built before the
            first is trained.
        source: the images, if they are already open; by default what ``config.data`` names.
        resume: resume the comparison in ``run_dir``: finished runs are kept, an interrupted one
            continues where it stopped.
        progress: print which run it is, and what :func:`~senet.training.fit.fit` prints.

    Returns:
        the folder. It holds ``comparison.json``, a run folder for every network and seed, and
        ``cost.json``.

    Raises:
        ValueError: as :func:`~senet.training.fit.fit`, and for a network that cannot be built.
        Interrupted: as :func:`~senet.training.fit.fit`.
    """
    made = plan(config, seeds, vary)
    folder = ComparisonFolder(expanded(run_dir))
    first = _first_begun(made, folder)
    place = None
    if resume:
        made, place = _same(folder, made, first)
        if folder.read()["finished"]:
            return folder.path
    else:
        RunFolder(folder.path).require_unused()
    # Opened once, so that every run gets the same splits.
    given = source is not None
    source = training_images(made.config, source, first, place)
    if first is not None and not given:
        _require_same_images(made, folder, first, source)
    require_buildable(made.networks, len(source.classes), _image_shape(source))
    if not resume:
        RunFolder(folder.path).create()
        made.write(folder, source, finished=False)
    if progress and not given:
        for line in found_images(source):
            tell(line)
        tell()
    runs = made.order()
    for i, (name, seed) in enumerate(runs):
        if progress:
            tell(f"[{i + 1}/{len(runs)}] {name}, seed {seed}")
        with _resumable(run_name(name, seed), folder):
            run, own = folder.run(name, seed), made.run_config(name, seed)
            fit(own, run.path, source, resume=run.begun, progress=progress)
    with _resumable("the measuring of costs", folder):
        folder.write_cost(_cost(made, source))
    made.write(folder, source, finished=True)
    return folder.path


def _same(
    folder: ComparisonFolder, made: Plan, first: RunFolder | None
) -> tuple[Plan, Path | None]:
    """Return the plan to resume, as it was begun, and where its images are now."""
    begun = read_plan(folder.path)
    place = None
    if made.config.data != begun.config.data and first and first.read_data()["record"]:
        place = expanded(made.config.data)
        made = replace(made, config=replace(made.config, data=begun.config.data))
    differences = begun.config.differences(made.config)
    if begun.seeds != made.seeds:
        differences.append(f"seeds: {begun.seeds}, not {made.seeds}")
    if begun.vary != made.vary:
        differences.append(f"vary: {begun.vary or 'nothing'}, not {made.vary or 'nothing'}")
    if differences:
        raise ValueError(
            f"{folder.path} was started with another configuration, so it cannot be resumed with "
            f"this one: {'; '.join(differences)}"
        )
    return made, place


def _require_same_images(
    made: Plan, folder: ComparisonFolder, first: RunFolder, source: Source
) -> None:
    """Refuse images that differ from those of the earlier runs; record where they are."""
    record = first.read_data()["record"]
    if record is None:
        return
    assert source.record is not None
    if found := changes(record, source.record):
        raise ValueError(
            f"the images in {source.path} have changed since {folder.path} was started: {found}."
            " Its networks would not be trained on the same images: put them back, or say with"
            " --data where they are now; or begin a new comparison"
        )
    for name, seed in made.order():
        run = folder.run(name, seed)
        if run.begun:
            note_data(run, source)


def _first_begun(made: Plan, folder: ComparisonFolder) -> RunFolder | None:
    runs = (folder.run(name, seed) for name, seed in made.order())
    return next((run for run in runs if run.begun), None)


@contextmanager
def _resumable(what: str, folder: ComparisonFolder) -> Iterator[None]:
    """On Ctrl-C, tell how to resume the whole comparison instead of the run it interrupted."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Stopped in {what}. Resume with `{folder.resume_command}`.",
            getattr(stop, "exit_code", 130),
        ) from None


def _image_shape(source: Source) -> tuple[int, int, int]:
    p = source.preprocessing
    return p.channels, p.size, p.size


def _cost(made: Plan, source: Source) -> dict[str, Any]:
    shape = _image_shape(source)
    models = {
        name: create_model(
            network.model,
            num_classes=len(source.classes),
            in_channels=shape[0],
            **network.options,
        )
        for name, network in made.networks.items()
    }
    ready = (lambda _, network: accelerate(network)) if made.config.accelerate else None
    return measure(models, shape, made.config.batch_size, ready=ready)
