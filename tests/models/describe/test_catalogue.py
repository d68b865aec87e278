"""The catalogue agrees with the networks."""

import json
import os

import pytest
import torch

from senet import known
from senet.models import create_model, entry, list_models, list_weights
from senet.models.describe import cost
from senet.models.describe.catalogue import facts, options
from senet.models.weights.published import published

pytestmark = pytest.mark.slow

SMALL = 2_000_000_000  # multiply-adds; `SENET_ALL=1` counts those of the other networks again too
COUNTED = [
    name
    for name in list_models()
    if os.environ.get("SENET_ALL") or known.networks()[name].multiply_adds < SMALL
]


def kept(name):
    return json.loads(known.CATALOGUE.read_text(encoding="utf-8"))["networks"][name]


def test_every_network_is_kept_and_no_other():
    assert list(known.networks()) == list_models(), "renew it: make catalogue"


def test_the_options_that_are_kept_are_those_that_networks_take():
    assert known.options() == options(), "renew it: make catalogue"
    assert {"reduction", "kernel_size", "combine", "extent", "attention"} < set(known.options())


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_kept_is_true(name):
    assert kept(name) == facts(name), "renew it: make catalogue"


@pytest.mark.parametrize("name", [name for name in list_models() if name not in COUNTED])
def test_what_is_kept_is_true_but_for_the_multiply_adds(name):
    found, usual = known.networks()[name], entry(name).preprocessing
    with torch.device("meta"):
        assert found.parameters == cost.parameters(create_model(name))[0], "make catalogue"
    assert (found.channels, found.size) == (usual.channels, usual.size)
    assert found.num_classes == entry(name).num_classes
    assert (found.twin, found.has_se) == (entry(name).twin, entry(name).has_se)


def test_a_figure_that_is_wrong_would_be_noticed():
    assert {**kept("resnet8_cifar"), "parameters": 75291} != facts("resnet8_cifar")


def test_sets_are_kept_as_they_are_loaded():
    assert sorted(known.weights()) == list_weights()
    for name, fields in known.weights().items():
        found = published(name)
        assert fields["source"] == found.source
        assert fields["licence"] == found.licence
        assert fields["size"] == found.record.preprocessing.size
        for key in ("top1", "top5"):
            share = found.record.metrics.get(key)
            assert fields.get(key) == (None if share is None else pytest.approx(100 * share))


def test_an_unknown_network_is_refused_in_the_same_words():
    with pytest.raises(ValueError, match="Did you mean se_resnet50") as of_the_registry:
        entry("se_resnet5")
    with pytest.raises(ValueError, match="Did you mean se_resnet50") as of_the_list:
        known.network("se_resnet5")
    assert str(of_the_registry.value) == str(of_the_list.value)
