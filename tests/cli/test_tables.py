"""The tables of all networks and of all published weights, at the widths of usual terminals."""

import re

import pytest

from senet import known
from senet.cli import tables
from senet.models import list_models, list_weights
from tests.cli.command import senet


def test_the_catalogue_has_every_network_once(capsys):
    names = ["se_resnet18", "resnet8_cifar", "resnet18", "se_resnet8_cifar", "resnet34"]
    tables.show_networks(names)
    text = capsys.readouterr().out
    assert text.count("images of") == 2  # two sizes of input
    rows = [line.split()[0] for line in text.splitlines() if line and line.split()[0] in names]
    expected = ["resnet18", "se_resnet18", "resnet34", "resnet8_cifar", "se_resnet8_cifar"]
    assert rows == expected


def test_the_best_published_accuracy_is_shown():
    lines = senet("models", "se_resnet50").stdout.splitlines()
    titles, cells = (re.split(r"  +", line) for line in lines[1:3])
    by_title = dict(zip(titles, cells, strict=True))
    assert by_title["weights"] == str(len(list_weights("se_resnet50.*")))
    assert by_title["top-1"] == "81.3 %"  # timm's ra2, tested at 288 pixels
    assert "%" not in senet("models", "se_resnet18").stdout


@pytest.mark.parametrize("width", [80, 100, 160])
def test_models_has_every_network_in_a_line(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = senet("models").stdout.splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if line.split() and line.split()[0] in list_models()]
    assert sorted(row[0] for row in rows) == list_models()
    for name, parameters, *others in rows:
        assert parameters == f"{known.networks()[name].parameters:,}"
        assert (others[-1] == known.networks()[name].twin) == (width >= 100)
    assert ("No room for: twin." in lines) == (width < 100)


def test_a_network_by_its_name_is_shown_with_its_twin(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = senet("models", "se_inception_resnet_v2").stdout
    assert re.search(r"(?m)^twin +inception_resnet_v2$", text)


@pytest.mark.parametrize("width", [80, 100, 160, 250])
def test_weights_has_every_set_in_a_line(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = senet("weights").stdout.splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if line.split() and line.split()[0] in list_weights()]
    assert sorted(row[0] for row in rows) == list_weights()
    for row in rows:
        assert known.weights()[row[0]]["licence"] in row
        assert (row[-1] == known.weights()[row[0]]["source"]) == (width == 250)
    assert ("No room for: source." in lines) == (width < 250)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", ["se_resnet50.timm_a1_in1k", "se_resnet50.timm_legacy_in1k"])
def test_a_set_by_its_name_is_shown_whole(monkeypatch, width, name):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = senet("weights", name).stdout.splitlines()
    assert lines[0] == name
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in lines[1:])
    fields = known.weights()[name]
    assert facts["source"] == fields["source"]
    assert facts["published in"] == fields["report"]
    assert facts["licence"] == fields["licence"]
    assert facts["network"] == "se_resnet50"
    assert ("stem_pool=ceil" in facts.get("options", "")) == ("legacy" in name)


@pytest.mark.parametrize("name", list_weights())
def test_nothing_that_is_known_of_a_set_is_missing(name, capsys):
    tables.show_set(name)
    text = capsys.readouterr().out
    for key, value in known.weights()[name].items():
        if key == "options":
            assert all(f"{option}={chosen}" in text for option, chosen in value.items())
        elif isinstance(value, list):
            assert ", ".join(map(str, value)) in text
        elif key in ("top1", "top5"):
            assert f"{value:.1f} %" in text
        elif key == "num_classes":
            assert f"{value:,}" in text
        else:
            assert f"{value:g}" in text if isinstance(value, float) else str(value) in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_doctor_and_help_fit(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.executable", "/a/path/to/python")
    assert max(map(len, senet("doctor").stdout.splitlines())) <= width
    assert max(map(len, senet("--help").stdout.splitlines())) <= width
