"""Two networks on the same images."""

import copy
from dataclasses import replace

import torch
from torch import nn

from senet import create_model, explain
from senet.explain.beside import beside
from senet.explain.page import page
from senet.explain.tables import tables
from senet.gates import record
from tests.explain.networks import by_class, seeing


def test_blocks_of_a_tuned_network_are_paired_by_their_paths():
    model, x = create_model("se_resnet8_cifar").eval(), torch.randn(6, 3, 32, 32)
    tuned = copy.deepcopy(model)
    nn.init.constant_(tuned.layer2[0].se.fc2.bias, 1.0)
    one, other = record(model, [x]), record(tuned, [x])
    first, second, third = beside(one, dict(reversed(other.items())))
    assert first.moved == 0
    level = torch.sigmoid(torch.tensor(1.0)) - 0.5
    assert abs(second.moved - float(level)) < 0.02
    assert (third.name, third.other) == ("layer3.0.se", "layer3.0.se")


def test_networks_of_other_depth_are_paired_in_their_order():
    x = torch.randn(4, 3, 32, 32)
    small = record(create_model("se_resnet8_cifar"), [x])
    large = record(create_model("se_resnet20_cifar"), [x])
    pairs = beside(small, large)
    assert len(pairs) == 9
    assert pairs[-1].name is None
    assert pairs[-1].r is None


def test_the_page_has_both():
    classes = ("cat", "dog", "newt")
    found = explain.network(seeing(), [by_class()], classes, name="before")
    other = explain.network(seeing(), [by_class()], classes, name="after")
    found = replace(found, other=other)
    assert "Beside after" in page(found)
    columns, rows = tables(found)["beside"]
    row = dict(zip(columns, rows[0], strict=True))
    assert row["moved"] == 0
    assert row["better_than_chance"] is row["other_better_than_chance"] is True
