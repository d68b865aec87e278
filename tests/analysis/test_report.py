"""The page: complete, self-contained, and honest about what is missing."""

import base64
import io
import json
import re
import shlex
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import senet.training.compare
import senet.training.fit
from senet.analysis import report
from senet.analysis.subject import Subject
from senet.cli import app
from senet.paired import accuracy, pair
from senet.runs.read import Twins, read
from senet.training.config import TrainConfig
from senet.training.variants import Vary
from tests.runs.written import PLAIN, SE, write_comparison, write_run, write_variation

pytestmark = pytest.mark.slow

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """A parser that checks that every element is closed, and gathers elements and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(html)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def attributes(self, tag, name):
        return [attrs[name] for t, attrs in self.elements if t == tag and name in attrs]

    @property
    def sections(self):
        return self.attributes("section", "id")


def written(folder):
    return Page(report.write(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def page_of_one(one_seed):
    return written(one_seed)


@pytest.fixture(scope="session")
def page_of_three(three_seeds):
    return written(three_seeds)


@pytest.fixture
def copy(one_seed, tmp_path):
    """A copy of a comparison, to change."""
    return shutil.copytree(one_seed, tmp_path / "run")


EVERYTHING = [
    "what", "accuracy", "curves", "cost", "classes", "confusion", "gates", "examples", "doubts",
    "how", "methods",
]  # fmt: skip


def test_a_comparison_has_every_section(page_of_one, page_of_three):
    for page in (page_of_one, page_of_three):
        assert page.sections == EVERYTHING
        assert page.attributes("a", "href")[: len(EVERYTHING)] == [f"#{id}" for id in EVERYTHING]


def test_the_page_needs_nothing_but_itself(page_of_three):
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page_of_three.elements}
    assert all(src.startswith("data:") for src in page_of_three.attributes("img", "src"))
    assert page_of_three.attributes("link", "href") == ["data:,"]
    links = [h for h in page_of_three.attributes("a", "href") if not h.startswith("#")]
    assert links == ["https://arxiv.org/abs/1709.01507"]  # for the reader to follow, never fetched


def test_the_style_fetches_nothing(one_seed):
    html = report.write(one_seed).read_text(encoding="utf-8")
    assert "@import" not in html
    assert all(place.startswith("#") for place in re.findall(r"url\((.*?)\)", html))
    assert len(html.encode()) < 400_000


def test_every_picture_can_be_heard(page_of_three):
    pictures = [attrs for tag, attrs in page_of_three.elements if tag == "svg"]
    assert len(pictures) > 15
    assert all(p["role"] == "img" and len(p["aria-label"]) > 10 for p in pictures)
    ids = [attrs["id"] for _, attrs in page_of_three.elements if "id" in attrs]
    assert len(set(ids)) == len(
        ids
    )  # otherwise one figure would be clipped to the frame of another
    assert all(page_of_three.attributes("img", "alt"))


def test_every_colour_is_one_of_the_palette(three_seeds):
    html = report.write(three_seeds).read_text(encoding="utf-8")
    named = set(re.findall(r"--(\w+):", html))
    assert set(re.findall(r"var\(--(\w+)", html)) <= named


def test_dots_of_classes_stand_at_their_accuracy(page_of_one, one_seed):
    ((plain, se),) = _right(one_seed)
    labels = np.load(one_seed / f"{SE}-seed0" / "predictions.npz")["labels"]
    shares = {"plain": [], "se": []}
    for role, right in (("plain", plain), ("se", se)):
        shares[role] = [right[labels == k].mean() for k in np.unique(labels)]
    low = min(0.9, np.floor(10 * min(map(min, shares.values()))) / 10)
    for role, values in shares.items():
        dots = [
            float(attrs["style"].removeprefix("left:").removesuffix("%"))
            for tag, attrs in page_of_one.elements
            if tag == "i" and attrs.get("class") == role and "style" in attrs
        ]
        assert dots == pytest.approx([100 * (v - low) / (1 - low) for v in values], abs=0.06)


def _right(folder):
    found = read(folder)
    assert isinstance(found, Twins)
    subject = Subject.of(found)
    both = (subject.predictions(role) for role in ("plain", "se"))
    return [(plain.right, se.right) for plain, se in zip(*both, strict=True)]


def test_the_figures_of_one_seed(one_seed, page_of_one):
    ((plain, se),) = _right(one_seed)
    outcomes = pair(plain, se)
    for right in (plain, se):
        found = accuracy(int(right.sum()), len(right))
        assert f"{100 * found.value:.1f} %" in page_of_one.text
        low, high = (f"{100 * v:.1f}\u202f%" for v in (found.low, found.high))
        assert f"95 % interval {low} to {high}".replace("\u202f", " ") in page_of_one.text
    assert f"SE right, plain wrong: {min(12, outcomes.only_se)} of {outcomes.only_se}" in (
        page_of_one.text
    )
    assert "senet compare --seeds 3 repeats the training" in page_of_one.text


def test_the_figures_of_three_seeds(three_seeds, page_of_three):
    pairs = _right(three_seeds)
    differences = [100 * (se.mean() - plain.mean()) for plain, se in pairs]
    mean = f"{np.mean(differences):+.2f}".replace("-", "−")
    assert re.search(rf"mean [\d.]+ [\d.]+ {re.escape(mean)} ", page_of_three.text)
    assert "Over 3 seeds, " in page_of_three.text
    assert "Student's interval over the seeds" in page_of_three.text


def test_images_are_those_of_the_data(page_of_one, source, one_seed):
    ((plain, se),) = _right(one_seed)
    alts, uris = (page_of_one.attributes("img", name) for name in ("alt", "src"))
    indices = [int(alt.split()[2].rstrip(":")) for alt in alts]
    examples = len(indices) - 24  # the rest are doubts
    assert examples > 0
    for place, (index, uri) in enumerate(zip(indices, uris, strict=True)):
        assert place >= examples or plain[index] != se[index]
        shown = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
        np.testing.assert_array_equal(np.asarray(shown), source.test.images[index, 0].numpy())


def _again(monkeypatch, page, module, name):
    """Return the configuration and the seeds with which the page's command would start training."""
    found = []

    def instead(config, _folder, *seeds, vary=None, **_):
        found.append((config, *map(list, seeds), *([vary] if vary else [])))
        raise ValueError("started")

    monkeypatch.setattr(module, name, instead)
    command = re.search(r"which writes out every setting: (senet .*?) Run networks?", page.text)
    assert command is not None
    words = shlex.split(command[1])[1:]
    CliRunner().invoke(app, words)
    return found[0]


def test_the_command_does_the_same_again(monkeypatch, three_seeds, page_of_three):
    config, seeds = _again(monkeypatch, page_of_three, senet.training.compare, "compare")
    recorded = json.loads((three_seeds / f"{SE}-seed3" / "config.json").read_text())["config"]
    assert config == TrainConfig.from_dict(recorded)
    assert seeds == [3, 4, 5]


def test_the_command_of_a_single_run(monkeypatch, tmp_path, source):
    write_run(tmp_path / "run", source, SE, seed=7)
    (config,) = _again(monkeypatch, written(tmp_path / "run"), senet.training.fit, "fit")
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config == TrainConfig.from_dict(recorded)


def test_a_single_run_with_se(tmp_path, source):
    write_run(tmp_path / "run", source, SE)
    page = written(tmp_path / "run")
    assert page.sections == [s for s in EVERYTHING if s not in ("cost", "examples")]
    assert f"{SE} was right on " in page.text
    assert "The labels that it doubts most" in page.text
    assert "McNemar" not in page.text


def test_a_single_plain_run(tmp_path, source):
    write_run(tmp_path / "run", source, PLAIN)
    page = written(tmp_path / "run")
    assert "gates" not in page.sections
    assert f"the plain twin of se_{PLAIN}" in page.text


def test_an_unfinished_comparison_compares_what_it_has(tmp_path, source):
    folder = write_comparison(
        tmp_path / "run", source, (0, 1), unfinished=[(SE, 1)], not_begun=[(PLAIN, 1)]
    )
    page = written(folder)
    assert page.sections == [s for s in EVERYTHING if s != "cost"]
    assert f"{SE}, seed 1, has done 2 epochs and not finished" in page.text
    assert f"{PLAIN}, seed 1, has not begun" in page.text
    assert f"senet compare --resume {folder}" in page.text
    assert "Only seeds that both networks have finished are compared below." in page.text
    assert re.search(r"was right on \d+ (more|fewer) of the 200 test images", page.text)


def test_a_comparison_without_a_result_shows_its_curves(tmp_path, source):
    folder = write_comparison(
        tmp_path / "run", source, unfinished=[(PLAIN, 0)], not_begun=[(SE, 0)]
    )
    page = written(folder)
    assert page.sections == ["what", "curves", "how", "methods"]
    assert "There is no result yet: no pair of runs has finished." in page.text


def test_a_run_that_has_done_no_epoch(tmp_path, source):
    write_run(tmp_path / "run", source, SE, epochs=0)
    page = written(tmp_path / "run")
    assert page.sections == ["what", "how", "methods"]
    assert f"{SE} has done 0 epochs and not finished" in page.text


def test_a_comparison_that_has_not_begun(tmp_path, source):
    folder = write_comparison(tmp_path / "run", source, not_begun=[(PLAIN, 0), (SE, 0)])
    with pytest.raises(ValueError, match="no run has begun"):
        report.write(folder)


def _edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_data_that_have_gone(copy):
    for name in (PLAIN, SE):
        _edit(copy / f"{name}-seed0" / "config.json",
              lambda c: c["data"].update(path=str(copy / "gone")))  # fmt: skip
    page = written(copy)
    assert page.sections == [s for s in EVERYTHING if s not in ("gates", "examples", "doubts")]
    assert "Gates and test images are not shown: the data could not be opened" in page.text
    assert f"{copy / 'gone'}" in page.text


def test_data_that_have_changed(copy):
    for name in (PLAIN, SE):
        _edit(copy / f"{name}-seed0" / "config.json", lambda c: c["config"].update(limit=100))
    page = written(copy)
    assert "gates" not in page.sections
    assert "are no longer those of this run" in page.text


def test_weights_that_have_gone(copy):
    (copy / f"{SE}-seed0" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model file .*model\.safetensors"):
        report.write(copy)


def test_names_cannot_change_the_page(copy):
    evil = '</style><script>alert("x")</script>'

    def rename(config):
        config["data"]["name"] = config["data"]["classes"][3] = evil

    for name in (PLAIN, SE):
        _edit(copy / f"{name}-seed0" / "config.json", rename)
    page = written(copy)
    assert "script" not in {tag for tag, _ in page.elements}
    assert evil in page.text


def test_many_classes(copy):
    """Of 120 classes, three have no test image: the page has no matrix, but everything else."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3, 120), 4)
    for name in (PLAIN, SE):
        folder = copy / f"{name}-seed0"
        logits = rng.normal(size=(len(labels), 120)).astype("float32")
        logits[np.arange(len(labels)), labels] += 2
        np.savez(folder / "predictions.npz", labels=labels, logits=logits)
        _edit(folder / "config.json",
              lambda c: c["data"].update(classes=[f"kind {k}" for k in range(120)]))  # fmt: skip
    page = written(copy)
    assert "A matrix of 120 classes is too fine to see" in page.text
    assert "The most frequent mistakes" in page.text
    assert "kind 3 4 " in page.text
    assert "kind 2 0 " not in page.text


def test_an_old_report_stays_until_the_new_one_is_whole(copy, monkeypatch):
    path = report.write(copy)
    before = path.read_text(encoding="utf-8")
    path.write_text("old")

    def fail(*_):
        raise OSError("disk gone")

    monkeypatch.setattr(report.os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        report.write(copy)
    assert path.read_text() == "old"
    assert not list(copy.glob(".*report*"))
    monkeypatch.undo()
    assert report.write(copy).read_text(encoding="utf-8") == before


def test_what_training_writes_is_what_the_report_reads(tmp_path):
    """Training and report keep the contract of the run folder: a real, tiny comparison."""
    config = TrainConfig(
        model=SE,
        options={"widths": (4, 4, 4), "reduction": 2},
        limit=100,
        epochs=2,
        batch_size=45,
        accelerate=False,
    )
    folder = senet.training.compare.compare(config, tmp_path / "run", (0, 1), progress=False)
    page = written(folder)
    assert page.sections == EVERYTHING
    assert "Not finished" not in page.text
    assert "Over 2 seeds" in page.text


# --- a family of networks -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def page_of_family(family):
    return written(family)


def table(page):
    """Return the cells of the page's table, row by row, by the names of the networks."""
    found = re.search(r"multiply-adds step image (.*?) Differences are from", page.text)
    assert found is not None
    return found[1]


def test_a_family_has_its_sections(page_of_family):
    sections = ["what", "accuracy", "how", "methods"]
    assert page_of_family.sections == sections
    assert page_of_family.attributes("a", "href")[:4] == [f"#{id}" for id in sections]
    assert f"{SE} with reduction varied" in page_of_family.text
    assert "trained with reduction = 1 , 2 , 4 ." in page_of_family.text
    assert "Each is compared with the plain network" in page_of_family.text


def test_the_table_has_the_figures_of_every_network(family, page_of_family):
    cost = json.loads((family / "cost.json").read_text())
    found = read(family)
    subject = Subject.of(found)
    for name, label in zip(subject.names, ["plain", "1", "2", "4"], strict=True):
        shares = [p.right.mean() for p in subject.predictions(name)]
        gains = np.subtract(shares, [p.right.mean() for p in subject.predictions(PLAIN)])
        own = cost[name]
        words = [label, f"{100 * np.mean(shares):.2f}", f"± {100 * np.std(shares, ddof=1):.2f}"]
        if label != "plain":
            words.append(f"{100 * gains.mean():+.2f}".replace("-", "−"))
        row = " ".join(words)
        assert row in table(page_of_family)
        se = f"{own['se_parameters']:,}" if label != "plain" else "–"
        adds = f"{own['multiply_adds']:,} {own['step_ms']:.1f} {own['image_ms']:#.3g}"
        assert f"{own['parameters']:,} {se} {adds}" in table(page_of_family)


def test_accuracy_is_drawn_against_parameters_and_time(family, page_of_family):
    heard = page_of_family.attributes("svg", "aria-label")
    parameters, time = (
        next(h for h in heard if h.startswith(f"Test accuracy against {what}"))
        for what in ("parameters", "time of a training step, ms")
    )
    cost = json.loads((family / "cost.json").read_text())
    for name, label in (PLAIN, "plain"), (f"{SE}-reduction=4", "4"):
        assert f"{label}: {cost[name]['parameters'] / 1e3:.4g}, " in parameters
        assert f"{label}: {cost[name]['step_ms']:.4g}, " in time


def test_the_page_of_a_family_is_honest_of_its_many_comparisons(page_of_family):
    assert "There are 3 intervals: if SE made no difference at all, at least one would still" in (
        page_of_family.text
    )
    assert "in up to 15 % of experiments" in page_of_family.text
    assert "The best of several networks by its accuracy here" in page_of_family.text
    assert "Of the networks with SE, the most accurate, reduction=" in page_of_family.text


def test_networks_of_other_widths_have_twins_of_their_own(family_of_one_seed):
    page = written(family_of_one_seed)
    assert "each network with SE is compared with the plain one of the same value" in page.text
    assert "McNemar p" in page.text
    assert re.search(r"plain 4\+8\+8 [\d.]+ [\d.]+ … [\d.]+ [\d,]+ – ", table(page))
    assert re.search(r"SE 4\+8\+8 [\d.]+ [\d.]+ … [\d.]+ [−+]?[\d.]+ \S+ … \S+ ", table(page))


def test_the_page_of_a_family_needs_nothing_but_itself(page_of_family):
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page_of_family.elements}
    assert page_of_family.attributes("link", "href") == ["data:,"]
    labels = page_of_family.attributes("svg", "aria-label")
    assert len(set(labels)) == len(labels) == 4


def test_the_command_does_the_same_family_again(monkeypatch, family, page_of_family):
    config, seeds, vary = _again(monkeypatch, page_of_family, senet.training.compare, "compare")
    begun = json.loads((family / "comparison.json").read_text())
    assert config == TrainConfig.from_dict(begun["config"])
    assert seeds == [0, 1]
    assert vary == Vary("reduction", (1, 2, 4))


def test_an_unfinished_family_says_what_is_to_come(tmp_path, source):
    late = f"{SE}-reduction=4"
    folder = write_variation(
        tmp_path / "run", source, "reduction", [2, 4], (0, 1), unfinished=[(late, 1)]
    )
    page = written(folder)
    assert page.sections == ["what", "accuracy", "how", "methods"]
    assert f"{late}, seed 1, has done 2 epochs and not finished" in page.text
    assert "Only seeds that all networks have finished are compared below." in page.text
    assert f"senet compare --resume {folder}" in page.text
    assert "None of the 2 networks" in page.text or "of the 2 networks with SE" in page.text
    assert "multiply-adds" not in page.text  # costs are measured at the end
    (folder / f"{PLAIN}-seed0" / "result.json").unlink()
    page = written(folder)
    assert page.sections == ["what", "how", "methods"]
    assert "There is no result yet" in page.text


def test_what_training_writes_of_a_family_is_what_the_report_reads(tmp_path):
    config = TrainConfig(
        model=SE,
        options={"widths": (4, 4, 4), "reduction": 2},
        limit=100,
        epochs=1,
        batch_size=90,
        accelerate=False,
    )
    vary = Vary("se_stages", (2, (2, 3)))
    folder = senet.training.compare.compare(config, tmp_path / "run", vary=vary, progress=False)
    page = written(folder)
    assert page.sections == ["what", "accuracy", "how", "methods"]
    assert "Not finished" not in page.text
    assert "trained with se_stages = 2 , 2+3 ." in page.text
    assert "--vary se_stages=2,2+3" in page.text
    assert re.search(r"2\+3 [\d.]+ [\d.]+ … ", table(page))
