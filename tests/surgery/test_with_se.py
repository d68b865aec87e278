"""A module with SE in it: the same in copies and pickles, and gone without a trace."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import nn

import senet
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


class Two(nn.Module):
    """A layer that takes two maps, one of them by name if anybody likes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor, *, more: "torch.Tensor | None" = None) -> torch.Tensor:
        """Add what is more."""
        return self.conv(x) if more is None else self.conv(x) + more


def test_forward_keeps_name_signature_docstring_and_annotations():
    layer = Two()
    put_se(layer, nn.Tanh())
    assert inspect.signature(layer.forward) == inspect.signature(Two().forward)
    for what in ("__name__", "__qualname__", "__doc__", "__annotations__", "__module__"):
        assert getattr(layer.forward, what) == getattr(Two().forward, what)
    x, more = torch.randn(2, 2, 4, 3, 3)
    assert torch.equal(layer(x, more=more), (layer.conv(x) + more).tanh())
    assert torch.equal(layer(x=x), layer.conv(x).tanh())


def test_torch_export_takes_arguments_by_name():
    layer, (x, more) = Two().eval(), torch.randn(2, 2, 4, 3, 3)
    put_se(layer, nn.Tanh())
    batch = torch.export.Dim("batch")
    shapes = {"x": {0: batch}, "more": {0: batch}}
    program = torch.export.export(layer, (x,), {"more": more}, dynamic_shapes=shapes)
    x, more = torch.randn(2, 5, 4, 3, 3)
    torch.testing.assert_close(program.module()(x, more=more), layer(x, more=more))


def test_torchscript_does_not_leave_se_out():
    """It would compile what ``__wrapped__`` names."""
    layer = nn.ReLU()
    put_se(layer, nn.Tanh())
    assert not hasattr(layer.forward, "__wrapped__")
    with pytest.raises(ValueError, match="Unknown type annotation"):
        torch.jit.script(layer)


def test_the_old_place_of_accelerate_is_known():
    with pytest.warns(DeprecationWarning, match="use senet.accelerate"):
        from senet.surgery import accelerate
    assert accelerate is senet.accelerate
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = senet.surgery.nothing
