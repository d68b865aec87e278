"""`senet accelerate` and `senet insert`."""

import re
import sys

import pytest

from tests.cli.command import said, senet


@pytest.fixture
def libraries(world, monkeypatch):
    """The real timm and torchvision, as if they were installed."""
    for library in ("timm", "torchvision"):
        monkeypatch.setitem(sys.modules, library, getattr(world, library))


def test_accelerate_says_what_it_found(libraries, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # so that no cell is wrapped
    text = senet("accelerate", "--model", "timm:legacy_seresnet18").stdout
    assert "accelerated SENet, 1 graph: 20 places changed" in text
    assert re.search(r"(?m)^norm \+ ReLU \+ SE +8 +on the passes", text)


def test_insert_says_what_it_cost(libraries):
    text = senet("insert", "--model", "torchvision:resnet18", "--reduction", "8").stdout
    assert "8 places changed" in text
    assert "new parameters" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tim:resnet18", "no library 'tim'"),
        ("timm:seresnet5", "Did you mean"),
        ("torchvision:resnet19", "Did you mean"),
        ("se_resnet51", "Did you mean"),
    ],
)
def test_networks_of_other_libraries_are_named_in_errors(libraries, name, words):
    assert words in said(senet("accelerate", "--model", name, code=1))
