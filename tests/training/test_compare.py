import json
import signal
from dataclasses import replace

import pytest
import torch

from senet.models.attention import options_of
from senet.models.weights.file import load_model, read_state
from senet.runs.folder import RunFolder
from senet.training.compare import _cost, compare, plan, read_plan
from senet.training.config import TrainConfig
from senet.training.fit import Interrupted
from senet.training.module import Classifier
from senet.training.variants import Vary
from tests.training.photos import photo_folder

pytestmark = pytest.mark.slow

NAMES = ("resnet8_cifar", "se_resnet8_cifar")


@pytest.fixture
def short(config):
    return replace(config, epochs=2)


def test_a_comparison_leaves_what_it_promises(short, source, tmp_path):
    folder = compare(short, tmp_path / "both", seeds=(0, 4), source=source, progress=False)
    said = json.loads((folder / "comparison.json").read_text())
    assert (said["plain"], said["se"], said["seeds"]) == (*NAMES, [0, 4])
    assert said["runs"] == {n: [f"{n}-seed0", f"{n}-seed4"] for n in NAMES}
    assert said["finished"] is True
    assert said["data"] == "quadrants"
    for name, runs in said["runs"].items():
        for run, seed in zip(runs, (0, 4), strict=True):
            result = RunFolder(folder / run).read_result()
            assert (result.model, result.seed) == (name, seed)
    cost = json.loads((folder / "cost.json").read_text())
    assert set(cost) == set(NAMES)
    models = {n: load_model(folder / f"{n}-seed0" / "model.safetensors")[0] for n in NAMES}
    for name in NAMES:
        assert cost[name]["parameters"] == sum(p.numel() for p in models[name].parameters())
        assert cost[name]["step_ms"] > 0


def test_the_twins_differ_in_nothing_but_the_blocks(short, source, tmp_path, monkeypatch):
    starts, batches = {}, {}
    original = Classifier.augmented

    def augmented(self, images, labels, step):
        name = self.module.architecture.name
        if step == 0:
            starts[name] = {k: v.clone() for k, v in self.module.state_dict().items()}
        batch = original(self, images, labels, step)
        batches.setdefault(name, []).append(batch)
        return batch

    monkeypatch.setattr(Classifier, "augmented", augmented)
    changed = replace(short, crop_padding=1, cutmix=1.0, flip=True)
    compare(changed, tmp_path / "both", source=source, progress=False)
    plain, se = starts[NAMES[0]], starts[NAMES[1]]
    assert {k for k in se if ".se." not in k} == set(plain)
    assert all(torch.equal(plain[k], se[k]) for k in plain)
    assert len(batches[NAMES[0]]) == len(batches[NAMES[1]]) == 8
    for (x, t), (other_x, other_t) in zip(*batches.values(), strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(t, other_t)


def test_options_of_the_block_go_to_the_se_network_alone():
    options = options_of("se") | {"widths": (4, 4, 8)}
    made = plan(TrainConfig(model="resnet8_cifar", options=options), (0,))
    assert made.run_config(NAMES[0], 0).options == {"widths": (4, 4, 8)}
    assert made.run_config(NAMES[1], 0).options == options


def test_the_networks_take_turns_in_coming_first():
    made = plan(TrainConfig(model="se_resnet8_cifar"), (0, 1, 2))
    assert [name for name, _ in made.order()] == [
        NAMES[0], NAMES[1], NAMES[1], NAMES[0], NAMES[0], NAMES[1],
    ]  # fmt: skip
    assert [seed for _, seed in made.order()] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_differ(seeds):
    with pytest.raises(ValueError, match="seeds must be different"):
        plan(TrainConfig(), seeds)


def test_a_network_without_a_twin_is_refused_by_name():
    with pytest.raises(ValueError, match="no network"):
        plan(TrainConfig(model="resnet8_cifer"))


def test_an_interrupted_comparison_goes_on(short, source, tmp_path, monkeypatch):
    whole = compare(short, tmp_path / "whole", source=source, progress=False)
    folder = tmp_path / "both"
    original = Classifier.training_step

    def training_step(self, batch, batch_idx):
        if self.module.architecture.name == NAMES[1] and self.global_step == 5:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    with pytest.raises(Interrupted, match=f"senet compare --resume {folder}") as stop:
        compare(short, folder, source=source, progress=False)
    assert stop.value.exit_code == 130
    monkeypatch.undo()
    assert json.loads((folder / "comparison.json").read_text())["finished"] is False
    done = folder / f"{NAMES[0]}-seed0" / "result.json"
    before = done.stat().st_mtime_ns

    compare(short, folder, source=source, resume=True, progress=False)
    assert done.stat().st_mtime_ns == before
    for name in NAMES:
        file = f"{name}-seed0/model.safetensors"
        a, b = read_state(whole / file), read_state(folder / file)
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert json.loads((folder / "comparison.json").read_text())["finished"] is True


def test_a_folder_that_holds_something_is_left_alone(short, source, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty"):
        compare(short, tmp_path, source=source)


def test_a_comparison_that_is_there_is_not_overwritten(short, source, tmp_path):
    folder = compare(short, tmp_path / "both", source=source, progress=False)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(ValueError, match=r"holds a comparison: resume it .*compare --resume"):
        compare(short, folder, source=source)
    compare(short, folder, source=source, resume=True)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_resuming_with_other_settings_names_them(short, source, tmp_path):
    compare(short, tmp_path / "both", source=source, progress=False)
    with pytest.raises(ValueError, match=r"lr: 0\.1, not 0\.2; seeds: \(0,\), not \(0, 1\)"):
        compare(replace(short, lr=0.2), tmp_path / "both", seeds=(0, 1), source=source, resume=True)


def test_it_says_which_run_it_is(short, source, tmp_path, capsys):
    compare(short, tmp_path / "both", source=source)
    out = capsys.readouterr().out
    assert "[1/2] resnet8_cifar, seed 0" in out
    assert "[2/2] se_resnet8_cifar, seed 0" in out


# --- a family of networks -------------------------------------------------------------------------

FAMILY = (NAMES[0], f"{NAMES[1]}-reduction=1", f"{NAMES[1]}-reduction=2")
REDUCTION = Vary("reduction", (1, 2))


def test_a_family_leaves_what_it_promises(short, source, tmp_path, capsys):
    folder = compare(short, tmp_path / "family", (0, 4), vary=REDUCTION, source=source)
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("[")] == [
        f"[{i + 1}/6] {name}, seed {seed}"
        for i, (name, seed) in enumerate(
            [(n, 0) for n in FAMILY] + [(n, 4) for n in reversed(FAMILY)]
        )
    ]
    said = json.loads((folder / "comparison.json").read_text())
    assert said["vary"] == {"option": "reduction", "values": [1, 2]}
    assert said["networks"] == {
        FAMILY[0]: {"model": NAMES[0], "twin": None, "value": None},
        FAMILY[1]: {"model": NAMES[1], "twin": FAMILY[0], "value": "1"},
        FAMILY[2]: {"model": NAMES[1], "twin": FAMILY[0], "value": "2"},
    }
    assert said["runs"] == {n: [f"{n}-seed0", f"{n}-seed4"] for n in FAMILY}
    for name, reduction in zip(FAMILY, (None, 1, 2), strict=True):
        for seed in (0, 4):
            run = RunFolder(folder / f"{name}-seed{seed}")
            assert run.read_result().seed == run.read_config()["seed"] == seed
            assert run.read_config()["options"].get("reduction") == reduction
    cost = json.loads((folder / "cost.json").read_text())
    assert list(cost) == list(FAMILY)
    assert [cost[n]["se_parameters"] for n in FAMILY] == [
        0,
        *(sum(2 * c * (c // r) + c // r + c for c in (4, 4, 8)) for r in (1, 2)),
    ]


def test_a_family_starts_alike_and_sees_the_same(short, source, tmp_path, monkeypatch):
    starts, batches = [], []
    original = Classifier.augmented

    def augmented(self, images, labels, step):
        batch = original(self, images, labels, step)
        if step == 0:
            starts.append({k: v.clone() for k, v in self.module.state_dict().items()})
            batches.append(batch[0])
        return batch

    monkeypatch.setattr(Classifier, "augmented", augmented)
    changed = replace(short, epochs=1, crop_padding=1, flip=True)
    compare(changed, tmp_path / "x", vary=REDUCTION, source=source, progress=False)
    plain, *rest = starts
    assert len(rest) == 2
    for start, batch in zip(rest, batches[1:], strict=True):
        assert all(torch.equal(plain[k], start[k]) for k in plain)
        assert torch.equal(batches[0], batch)


def test_an_interrupted_family_goes_on(short, source, tmp_path, monkeypatch):
    folder = tmp_path / "family"
    original = Classifier.training_step

    def training_step(self, batch, batch_idx):
        if self.config.options.get("reduction") == 1 and self.global_step == 5:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    message = f"Stopped in {FAMILY[1]}-seed0. Resume with `senet compare --resume {folder}`"
    with pytest.raises(Interrupted, match=message):
        compare(short, folder, vary=REDUCTION, source=source, progress=False)
    monkeypatch.undo()
    done = folder / f"{FAMILY[0]}-seed0" / "result.json"
    before = done.stat().st_mtime_ns
    made = read_plan(folder)
    assert made.vary == REDUCTION
    compare(made.config, folder, made.seeds, vary=made.vary, source=source, resume=True)
    assert done.stat().st_mtime_ns == before
    assert all(RunFolder(folder / f"{name}-seed0").finished for name in FAMILY)
    assert json.loads((folder / "comparison.json").read_text())["finished"] is True


def test_ctrl_c_while_costs_are_measured_loses_no_training(short, source, tmp_path, monkeypatch):
    folder = tmp_path / "both"
    monkeypatch.setattr("senet.training.compare.measure", lambda *_, **__: signal.raise_signal(2))
    with pytest.raises(Interrupted, match=r"the measuring of costs\. Resume with `senet compare"):
        compare(short, folder, source=source, progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(Classifier, "training_step", None)  # nothing is trained again
    compare(short, folder, source=source, resume=True, progress=False)
    assert set(json.loads((folder / "cost.json").read_text())) == set(NAMES)


def test_nothing_is_trained_where_one_network_cannot_be_built(short, source, tmp_path):
    with pytest.raises(ValueError, match="reduction=64 cannot be built: reduction=64 leaves no"):
        compare(short, tmp_path / "x", vary=Vary("reduction", (2, 64)), source=source)
    assert not (tmp_path / "x").exists()


def test_resuming_with_other_values_names_them(short, source, tmp_path):
    short = replace(short, epochs=1)
    compare(short, tmp_path / "x", vary=REDUCTION, source=source, progress=False)
    other = Vary("reduction", (1, 4))
    for vary, said in (other, "reduction=1,4"), (None, "nothing"):
        with pytest.raises(ValueError, match=f"vary: reduction=1,2, not {said}"):
            compare(short, tmp_path / "x", vary=vary, source=source, resume=True)


def test_a_comparison_goes_on_where_its_images_have_moved_and_not_where_they_have_changed(
    short, tmp_path, monkeypatch, signal_at
):
    photos = photo_folder(tmp_path / "photos", dark=20, bright=20)
    config = replace(short, data=str(photos), size=8, batch_size=8, workers=0)
    signal_at(2, signal.SIGINT)
    with pytest.raises(Interrupted):
        compare(config, tmp_path / "both", progress=False)
    monkeypatch.undo()
    photos.rename(tmp_path / "moved")
    config = replace(config, data=str(tmp_path / "moved"))
    gone = RunFolder(tmp_path / "both" / f"{NAMES[0]}-seed0").read_data()["record"]["train"][
        "dark"
    ][0]
    (tmp_path / "moved" / gone).rename(tmp_path / "aside.png")
    with (
        pytest.warns(UserWarning, match="1 of 40"),
        pytest.raises(
            ValueError, match=r"have changed since .*: 1 missing .* begin a new comparison"
        ),
    ):
        compare(config, tmp_path / "both", resume=True, progress=False)
    (tmp_path / "aside.png").rename(tmp_path / "moved" / gone)
    compare(config, tmp_path / "both", resume=True, progress=False)
    for name in NAMES:
        data = RunFolder(tmp_path / "both" / f"{name}-seed0").read_data()
        assert data["path"] == str(tmp_path / "moved")


@pytest.mark.parametrize("wanted", [True, False])
def test_costs_are_measured_of_networks_as_they_are_trained(short, source, monkeypatch, wanted):
    made, seen = plan(replace(short, accelerate=wanted), (0,)), []

    def look(models, shape, batch_size, ready):
        for name, model in models.items():
            if ready is not None:
                ready(name, model)
            seen.append(model._compiled_call_impl is not None)
        return {}

    monkeypatch.setattr("senet.training.compare.measure", look)
    _cost(made, source)
    assert seen == [wanted, wanted]
