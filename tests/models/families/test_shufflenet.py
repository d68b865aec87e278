"""ShuffleNet: counts as published, the shuffle, the names of pytorchcv."""

import pytest
import torch
from torch import nn

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.shufflenet import ShuffleUnit, shuffle
from senet.models.weights.file import load_state
from tests.models.agreement import shapes_of, squeezed

IMAGE = (3, 224, 224)


@pytest.mark.parametrize(
    ("width", "adds"),
    # Tables 1, 2 and 5 of arXiv 1707.01083, three groups.
    [(0.25, 13), (0.5, 38), (1, 137), (1.5, 292), (2, 524)],
)
def test_multiply_adds_are_the_authors_at_every_width(width, adds):
    assert round(multiply_adds(shapes_of("shufflenet_g3", width=width), IMAGE)[0] / 1e6) == adds


def test_counts_are_the_se_papers():
    """Table 3: 1.8 M and 2.4 M, truncated like its 4.2 M of MobileNet; and 2 M more multiply-adds.

    Its 140 M without SE are the budget that the authors give for all numbers of groups (section
    3.3); for three groups their Table 1 has 137 M, like ours. The 2 M of SE are counted with the
    additions of the squeeze.
    """
    plain, se = shapes_of("shufflenet_g3"), shapes_of("se_shufflenet_g3")
    assert parameters(plain)[0] == 1_865_728  # and pytorchcv's shufflenet_g3_w1
    assert parameters(se)[0] == 2_484_533
    # In the units that halve the map the branch lacks the channels of the shortcut.
    channels = [216, *[240] * 3, 240, *[480] * 7, 480, *[960] * 3]
    assert parameters(se)[1] == sum(2 * c * (c // 16) + c // 16 + c for c in channels)
    more = multiply_adds(se, IMAGE)[0] + squeezed(se, 224) - multiply_adds(plain, IMAGE)[0]
    assert round(more / 1e6) == 2


def test_after_a_shuffle_every_group_has_channels_of_every_group():
    groups = torch.arange(3).repeat_interleave(4).reshape(1, 12, 1, 1)
    shuffled = shuffle(groups, 3).reshape(3, 4)
    assert all(set(group) == {0, 1, 2} for group in shuffled.tolist())


def gate(value: float):
    """Return attention that multiplies by one number, whatever it sees."""

    class Gate(nn.Module):
        def forward(self, x):
            return value * x

    return lambda channels, stage: Gate()


def test_a_branch_that_is_gated_off_leaves_the_shortcut():
    x = torch.rand(2, 24, 9, 9)
    halving = ShuffleUnit(24, 60, stride=2, grouped=False, stage=3, se=gate(0.0)).eval()
    y = halving(x)
    assert y.shape == (2, 60, 5, 5)
    assert y[:, :36].abs().max() == 0
    assert torch.equal(y[:, 36:], nn.functional.avg_pool2d(x, 3, 2, padding=1))
    same = ShuffleUnit(24, 24, stride=1, grouped=True, stage=3, se=gate(0.0)).eval()
    assert torch.equal(same(x), x)


def test_the_halving_unit_ends_in_the_relu_of_the_paper():
    """Figure 2c: it follows the concatenation; here it is inside the branch."""
    unit = ShuffleUnit(24, 60, stride=2, grouped=False, stage=3, se=None).eval()
    y = unit(torch.randn(2, 24, 8, 8).relu())
    assert torch.equal(y, y.relu())
    assert 0 < (y[:, :36] == 0).float().mean() < 1


@pytest.mark.parametrize("place", ["compress", "depthwise", "expand", "relu"])
def test_relu_follows_the_first_convolution_of_a_unit_and_its_addition(place):
    unit = ShuffleUnit(24, 24, stride=1, grouped=True, stage=3, se=None).eval()
    outputs = {}
    for name, module in unit.named_children():
        module.register_forward_hook(lambda _, x, y, name=name: outputs.update({name: y}))
    unit(torch.randn(2, 24, 8, 8))
    assert (outputs[place].min() < 0) == (place in ("depthwise", "expand"))


def test_a_unit_lets_its_groups_see_each_other():
    unit = ShuffleUnit(240, 240, stride=1, grouped=True, stage=3, se=None).eval()
    x = torch.rand(1, 240, 8, 8, requires_grad=True)
    (unit(x) - x)[:, 0].sum().backward()
    groups = x.grad.abs().sum((0, 2, 3)).reshape(3, 80)  # those of the first convolution
    assert groups.sum(1).min() > 0


def test_state_dicts_of_pytorchcv_load():
    model, other = create_model("shufflenet_g3"), create_model("shufflenet_g3")
    theirs = {}
    for name, value in other.state_dict().items():
        match name.split("."):
            case ["conv1", *rest]:
                name = ".".join(["features", "init_block", *rest])
            case [stage, unit, part, kind, tensor]:
                number = int(stage.removeprefix("stage"))
                layer = {
                    "compress": f"compress_{kind}1",
                    "depthwise": f"dw_{kind}2",
                    "expand": f"expand_{kind}3",
                }[part]
                name = f"features.stage{number - 1}.unit{int(unit) + 1}.{layer}.{tensor}"
            case ["fc", tensor]:
                name = f"output.{tensor}"
        theirs[name] = value
    assert not set(theirs) & set(model.state_dict())
    load_state(model, theirs)
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("width", [0.0, 0.3, -1.0])
def test_a_width_that_groups_do_not_divide_is_refused(width):
    with pytest.raises(ValueError, match=r"width must be a multiple of 0\.25"):
        create_model("shufflenet_g3", width=width)
