"""Another forward by another class: in copies and pickles, one on top of the other."""

import copy
import pickle

import pytest
import torch
from torch import nn

from senet.graph.swap import Swapped, restore, swap, taken_apart
from senet.surgery.with_se import WithSE, put_se, take_se


class Twice(Swapped):
    def forward(self, x):
        return 2 * super().forward(x)


class More(Swapped):
    def forward(self, x):
        return super().forward(x) + 1


def through(way, module):
    return {"copy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m))}[way](module)


@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_a_copy_is_swapped_and_is_another(way):
    layer, x = nn.Linear(2, 2), torch.randn(1, 2)
    swap(layer, Twice)
    again = through(way, layer)
    assert type(again) is type(layer)
    assert torch.equal(again(x), layer(x))
    with torch.no_grad():
        layer.weight.add_(1)
    assert not torch.equal(again(x), layer(x))


def test_swaps_are_undone_in_turn():
    layer = nn.Linear(2, 2)
    swap(layer, Twice)
    swap(layer, More)
    assert taken_apart(type(layer)) == ((More, Twice), nn.Linear)
    restore(layer)
    assert taken_apart(type(layer)) == ((Twice,), nn.Linear)
    restore(layer)
    assert type(layer) is nn.Linear


@pytest.mark.parametrize("way", ["copy", "pickle"])
@pytest.mark.parametrize("order", [(Twice, More), (More, Twice)], ids=["over", "under"])
def test_a_copy_of_several_swaps(way, order):
    layer, x = nn.Linear(2, 2), torch.randn(1, 2)
    for mixin in order:
        swap(layer, mixin)
    again = through(way, layer)
    assert taken_apart(type(again)) == (order[::-1], nn.Linear)
    assert torch.equal(again(x), layer(x))


@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_a_module_with_se_in_it(way):
    norm, se, x = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), torch.randn(2, 4, 3, 3)
    hook = []
    norm.register_forward_hook(lambda *_: hook.append(1)) if way == "copy" else None
    keys = list(norm.state_dict())
    put_se(norm, se)
    assert list(norm.state_dict()) == [*keys, "se.weight", "se.bias"]
    assert isinstance(norm, nn.BatchNorm2d)
    again = through(way, norm)
    assert isinstance(again, WithSE)
    assert torch.equal(again(x), norm(x))
    assert len(hook) == (2 if way == "copy" else 0)
    assert take_se(norm) is se
    assert list(norm.state_dict()) == keys
    assert type(norm) is nn.BatchNorm2d
