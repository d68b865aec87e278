"""A module with SE in it: the same in copies and pickles, and gone without a trace."""

import copy
import pickle

import pytest
import torch
from torch import nn

from senet.surgery.with_se import WithSE, put_se, take_se


def through(way, module):
    return {"copy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m))}[way](module)


@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_a_copy_has_se_and_is_another(way):
    layer, x = nn.Linear(2, 2), torch.randn(1, 2)
    put_se(layer, nn.Tanh())
    again = through(way, layer)
    assert type(again) is type(layer)
    assert torch.equal(again(x), layer(x))
    with torch.no_grad():
        layer.weight.add_(1)
    assert not torch.equal(again(x), layer(x))
    take_se(again)
    assert type(again) is nn.Linear


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
