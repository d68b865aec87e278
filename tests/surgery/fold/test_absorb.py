"""The places for the factors of a map, each compared with the network that keeps the product."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.graph.flow import flow_of
from senet.surgery.fold.absorb import Absorber, NoPlaceError
from tests.models.agreement import scramble


class Times(nn.Module):
    """The product that is left out: a map times constants, some of them negative if asked for."""

    def __init__(self, channels: int, negative: bool = False) -> None:
        super().__init__()
        # It is not a buffer, so that it stays as it is when all else is scrambled.
        self.s = torch.linspace(-0.5 if negative else 0.5, 1.5, channels, dtype=torch.float64)

    def forward(self, u):
        return u * self.s.to(u.dtype).reshape(-1, *(1,) * (u.dim() - 2))


class Joined(nn.Module):
    """Two convolutions side by side, as in an Inception module, then the product."""

    def __init__(self, dim: int = 1):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 2, 1), nn.MaxPool2d(3, 1, 1))
        self.se, self.dim = Times(8), dim

    def forward(self, x):
        return self.se(torch.cat((self.a(x), self.b(x)), self.dim))


class Twice(nn.Module):
    """Two convolutions take the rescaled map, one of them padded by a function."""

    def __init__(self):
        super().__init__()
        self.se, self.a, self.b = Times(8), nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 4, 3)

    def forward(self, x):
        y = self.se(x.sigmoid())
        return self.a(y) + self.b(F.pad(y, (1, 1, 1, 1)))


class Shortcut(nn.Module):
    """The map is used beside the product."""

    def __init__(self):
        super().__init__()
        self.norm, self.se = nn.BatchNorm2d(8), Times(8)

    def forward(self, x):
        u = self.norm(x)
        return u + self.se(u)


class Shared(nn.Module):
    """One norm for two maps."""

    def __init__(self):
        super().__init__()
        self.norm, self.se = nn.BatchNorm2d(8), Times(8)

    def forward(self, x):
        return self.se(self.norm(x)) + self.norm(-x)


class Written(nn.Module):
    """A norm, a function of its output, the product, and a function of that."""

    def __init__(self, before, after):
        super().__init__()
        self.norm, self.se, self.before, self.after = bn(), Times(8), before, after

    def forward(self, x):
        return self.after(x, self.se(self.before(self.norm(x))))


def asked(u: torch.Tensor) -> torch.Tensor:
    assert u.shape[1] == u.size(1)
    return u


class Returned(nn.Module):
    """A network that also returns the map before the product, or the one after it."""

    def __init__(self, before: bool):
        super().__init__()
        self.norm, self.se, self.conv = nn.BatchNorm2d(8), Times(8), nn.Conv2d(8, 4, 1)
        self.before = before

    def forward(self, x):
        u = self.norm(x) if self.before else x.sigmoid()
        y = self.se(u)
        return (u, y.tanh()) if self.before else (self.conv(y), y)


class Moved(nn.Module):
    """The map is changed in place between the norm and the block."""

    def __init__(self, change):
        super().__init__()
        self.norm, self.se, self.change = nn.BatchNorm2d(8), Times(8), change

    def forward(self, x):
        u = self.norm(x)
        self.change(u)
        return self.se(u)


def around(model: nn.Module, x: torch.Tensor):
    (se,) = (m for m in model.modules() if isinstance(m, Times))
    (call,) = (flow := flow_of(model, x, [se])).calls_of(se)
    return Absorber(model, flow).around(call, se.s)


def chain(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules)


def bn() -> nn.Module:
    return nn.BatchNorm2d(8)


PLACES = {
    "batch norm": (lambda: chain(bn(), Times(8, negative=True)), ("0.weight", "0.bias")),
    "group norm": (lambda: chain(nn.GroupNorm(2, 8), Times(8)), ("0.weight", "0.bias")),
    "norm, ReLU": (lambda: chain(bn(), nn.ReLU(inplace=True), Times(8)), ("0.weight", "0.bias")),
    "norm, ReLU, pooling": (
        lambda: chain(bn(), nn.ReLU(), nn.AvgPool2d(2), nn.MaxPool2d(2), Times(8)),
        ("0.weight", "0.bias"),
    ),
    "convolution": (lambda: chain(nn.Conv2d(8, 8, 3), Times(8)), ("0.weight", "0.bias")),
    "convolution without bias": (
        lambda: chain(nn.Conv2d(8, 8, 3, bias=False), Times(8), bn()),
        ("0.weight",),
    ),
    "sigmoid, convolution after": (
        lambda: chain(bn(), nn.Sigmoid(), Times(8), nn.Conv2d(8, 6, 3, padding=1)),
        ("3.weight",),
    ),
    "groups after": (
        lambda: chain(nn.Sigmoid(), Times(8), nn.Conv2d(8, 12, 3, groups=4)),
        ("2.weight",),
    ),
    "depthwise after": (
        lambda: chain(nn.SiLU(), Times(8), nn.Conv2d(8, 8, 3, padding=1, groups=8), bn()),
        ("2.weight",),
    ),
    "reflection after": (
        lambda: chain(nn.SiLU(), Times(8), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")),
        ("2.weight",),
    ),
    "negative, past a ReLU": (
        lambda: chain(bn(), nn.ReLU(), Times(8, negative=True), nn.Conv2d(8, 4, 1)),
        ("3.weight",),
    ),
    "joined branches": (Joined, ("a.1.weight", "a.1.bias", "b.0.weight", "b.0.bias")),
    "joined, counted from behind": (
        lambda: Joined(-3),
        ("a.1.weight", "a.1.bias", "b.0.weight", "b.0.bias"),
    ),
    "its shape is asked": (
        lambda: Written(asked, lambda x, y: y),
        ("norm.weight", "norm.bias"),
    ),
    "two after": (Twice, ("a.weight", "b.weight")),
    "in place": (lambda: Moved(torch.relu_), ("norm.weight", "norm.bias")),
}


@pytest.mark.parametrize("place", PLACES)
def test_left_out_it_is_the_same_network(place):
    make, names = PLACES[place]
    model = make()
    scramble(model)
    model.double()
    x = torch.randn(3, 8, 8, 8, dtype=torch.float64)
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.momentum = 0.0  # so that both see the same
    without = copy.deepcopy(model)
    edits = around(without.eval(), x)
    assert tuple(edit.name for edit in edits) == names
    for edit in edits:
        edit.apply()
    (path,) = (path for path, m in without.named_modules() if isinstance(m, Times))
    without.set_submodule(path, nn.Identity())
    for training in (False, True):
        found, wanted = without.train(training)(x), model.train(training)(x)
        assert (found - wanted).abs().max() < 1e-13 * wanted.abs().max() + 1e-13
    wanted = model.eval()(x)
    model.set_submodule(path, nn.Identity())
    assert (wanted - model(x)).abs().max() > 0.01  # the product is more than a rounding


def normed_weight() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1))


NO_PLACES = {
    "used elsewhere": (Shortcut, "the map before it is used elsewhere too; add comes after it"),
    "used twice": (Shared, "norm.weight is used more than once; add comes after it"),
    "returned before": (lambda: Returned(True), "used elsewhere too; tanh comes after it"),
    "returned after": (lambda: Returned(False), "the map after it leaves the network"),
    "set in place": (lambda: Moved(lambda u: u.__setitem__(0, 1.0)), "used elsewhere too"),
    "shifted in place": (lambda: Moved(lambda u: u.add_(1)), "add comes before it"),
    "norm without weights": (
        lambda: chain(nn.BatchNorm2d(8, affine=False), Times(8)),
        "no weights",
    ),
    "computed weights": (lambda: chain(normed_weight(), Times(8)), "computed from others"),
    "ReLU6": (lambda: chain(bn(), nn.ReLU6(), Times(8), nn.Tanh()), "hardtanh comes before it"),
    "padding with ones": (
        lambda: chain(nn.SiLU(), Times(8), nn.ConstantPad2d(1, 1.0), nn.Conv2d(8, 4, 3)),
        "pad comes after it",
    ),
    "joined in height": (
        lambda: Written(lambda u: torch.cat((u, u), 2), lambda x, y: y.tanh()),
        "cat comes before it",
    ),
    "as the weight of a convolution": (
        lambda: Written(torch.sigmoid, F.conv2d),
        "conv2d comes after it",
    ),
    "for nothing": (lambda: Written(torch.sigmoid, lambda x, y: x), "leaves the network"),
    "padding channels": (
        lambda: chain(nn.SiLU(), Times(8), nn.ZeroPad3d((0, 0, 0, 0, 1, 1)), nn.Conv2d(10, 4, 1)),
        "pad comes after it",
    ),
    "alone": (lambda: chain(Times(8)), "is unknown; the map after it leaves the network"),
    "joined in space": (
        lambda: chain(nn.SiLU(), Times(8), nn.Flatten(2), nn.Conv1d(8, 4, 1)),
        "flatten comes after it",
    ),
}


@pytest.mark.parametrize("place", NO_PLACES)
def test_where_there_is_no_place_it_says_why(place):
    make, why = NO_PLACES[place]
    model = make().eval()
    with pytest.raises(NoPlaceError, match=why):
        around(model, torch.randn(3, 8, 8, 8))


def test_norms_of_timm_bring_their_activation(world):
    layers = world.timm.layers
    x = torch.randn(2, 8, 4, 4)
    relu = chain(layers.BatchNormAct2d(8), Times(8), nn.Conv2d(8, 4, 1)).eval()
    assert [edit.name for edit in around(relu, x)] == ["0.weight", "0.bias"]
    silu = chain(layers.BatchNormAct2d(8, act_layer=nn.SiLU), Times(8), nn.Conv2d(8, 4, 1)).eval()
    assert [edit.name for edit in around(silu, x)] == ["2.weight"]
