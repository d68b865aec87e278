"""Files of other projects as they are: loaded right by name and shape, or refused with the reason.

Each is the state dict of a network that computes what its project computes: timm's and
torchvision's own networks, or ours under the names of a project that does not install here.
"""

import re
import warnings

import pytest
import torch

from senet.models import create_model
from senet.models.weights.find import find_weights
from senet.models.weights.pretrained import needed_options
from tests.models.test_world import scramble

SHORT = (1, 1, 1, 1)


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write(content):
        torch.save(content, tmp_path / "theirs.pth")
        return tmp_path / "theirs.pth"

    return write


def renamed(state, *names):
    made = {}
    for name, value in state.items():
        for ours, theirs in names:
            name = re.sub(ours, theirs, name)
        made[name] = value
    return made


@torch.no_grad()
def require_the_same(ours, theirs, channels=3):
    x = torch.randn(2, channels, 75, 75)  # odd: poolings that round up and down differ
    wanted = theirs.eval()(x)
    torch.testing.assert_close(ours.eval()(x), wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max())


def loaded(name, file, said, **options):
    """Return the network of a file, after a check of what the warning says was inferred."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = create_model(name, weights=file, **options)
    messages = [str(w.message) for w in seen]
    if said is None:
        assert messages == []
    else:
        assert len(messages) == 1
        assert messages[0].endswith(f"but its names and shapes do: {said}")
    return model


# --- timm's and torchvision's own networks --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "theirs", "arguments", "said"),
    [
        ("se_resnet18", "legacy_seresnet18", {}, "stem_pool='ceil', branch_relu=True"),
        ("se_resnet50", "legacy_seresnet50", {}, "stem_pool='ceil', stride_on='1x1'"),
        ("se_resnext50_32x4d", "legacy_seresnext50_32x4d", {}, "stem_pool='ceil'"),
        ("se_resnet18", "seresnet18", {}, "reduction=(8, 16, 16, 16)"),
        ("se_resnet50", "seresnet50", {}, None),
        ("resnet18", "resnet18", {"in_chans": 1}, None),
    ],
)
def test_files_of_timm(world, save, name, theirs, arguments, said):
    theirs = scramble(world.timm.create_model(theirs, layers=SHORT, num_classes=7, **arguments))
    ours = loaded(name, save(theirs.state_dict()), said, layers=SHORT)
    assert ours.architecture.num_classes == 7
    require_the_same(ours, theirs, arguments.get("in_chans", 3))


def test_a_deep_stem(world, save):
    """The resnet50c: the three convolutions of SENet-154 before a usual ResNet."""
    theirs = scramble(world.timm.create_model("resnet50c", layers=SHORT, num_classes=7))
    require_the_same(
        loaded("resnet50", save(theirs.state_dict()), "stem='deep'", layers=SHORT), theirs
    )


def test_a_lightning_checkpoint_of_torchvisions(world, save):
    theirs = scramble(world.torchvision.models.resnet18(num_classes=4))
    state = {f"model.{name}": value for name, value in theirs.state_dict().items()}
    require_the_same(loaded("resnet18", save({"epoch": 3, "state_dict": state}), None), theirs)


def test_a_compiled_network_in_data_parallel(world, save):
    theirs = scramble(world.torchvision.models.resnet18(num_classes=4))
    state = {f"module._orig_mod.{name}": value for name, value in theirs.state_dict().items()}
    require_the_same(loaded("resnet18", save({"model": state}), None), theirs)


# --- ours under the names of others ---------------------------------------------------------------


def test_mmpretrain(save):
    theirs = scramble(create_model("se_resnet50", num_classes=7, layers=SHORT))
    state = renamed(
        theirs.state_dict(),
        (r"\.se\.fc([12])\.", r".se_layer.conv\1.conv."),
        (r"^fc\.", "head.fc."),
        (r"^(?!head)", "backbone."),
    )
    file = save({"meta": {"epoch": 9}, "state_dict": state})
    require_the_same(loaded("se_resnet50", file, None, layers=SHORT), theirs)


def test_cifar_networks_of_kuangliu(save):
    """ResNet-18 with a stem for small images, and projections called shortcuts."""
    theirs = scramble(create_model("resnet18", stem="cifar", num_classes=10))
    state = renamed(
        theirs.state_dict(), (r"\.downsample\.", ".shortcut."), (r"^fc\.", "module.linear.")
    )
    require_the_same(loaded("resnet18", save({"net": state, "acc": 95.1}), "stem='cifar'"), theirs)


def test_moskomule(save):
    """SE of two linear layers without biases."""
    theirs = scramble(create_model("se_resnet20_cifar", se_bias=False, shortcut="projection"))
    state = {
        re.sub(r"\.se\.fc2", ".se.fc.2", re.sub(r"\.se\.fc1", ".se.fc.0", k)): v.flatten(1)
        if ".se." in k
        else v
        for k, v in theirs.state_dict().items()
    }
    said = "shortcut='projection', se_bias=False"
    require_the_same(loaded("se_resnet20_cifar", save(state), said), theirs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reduction": 8}, "reduction=8"),
        ({"reduction": (4, 8, 16, 32)}, "reduction=(4, 8, 16, 32)"),
        (
            {"se_bias": False, "shortcut": "projection3x3"},
            "shortcut='projection3x3', se_bias=False",
        ),
        ({"num_classes": 7, "in_channels": 2}, None),
    ],
)
def test_our_own_without_a_record(save, options, said):
    theirs = scramble(create_model("se_resnet18", **options))
    ours = loaded("se_resnet18", save(theirs.state_dict()), said)
    assert ours.architecture.in_channels == ours.preprocessing.channels
    require_the_same(ours, theirs, options.get("in_channels", 3))


def test_grey_images_get_the_sum_over_the_colours(save):
    theirs = scramble(create_model("se_resnet18", num_classes=5)).eval()
    ours = create_model("se_resnet18", in_channels=1, weights=save(theirs.state_dict())).eval()
    assert len(ours.preprocessing.mean) == 1
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x.expand(2, 3, 64, 64)), rtol=1e-4, atol=1e-4)


def test_what_is_given_is_not_said(save):
    file = save(create_model("se_resnet18", reduction=8).state_dict())
    loaded("se_resnet18", file, None, reduction=8)


def test_a_training_is_told_too(save):
    """It asks for the options first, and records them with its configuration."""
    file = save(create_model("se_resnet18", reduction=8).state_dict())
    with pytest.warns(UserWarning, match=r"its names and shapes do: reduction=8$"):
        options = needed_options(find_weights(file), "se_resnet18")
    assert options == {"reduction": 8}
    loaded("se_resnet18", file, None, **options)


def test_the_warning_names_the_line_of_the_user(save):
    file = save(create_model("se_resnet18", reduction=8).state_dict())
    with pytest.warns(UserWarning, match="reduction=8") as seen:
        create_model("se_resnet18", weights=file)
    assert [w.filename for w in seen] == [__file__]


# --- refused, with the reason ---------------------------------------------------------------------


def test_where_two_networks_fit_the_file_asks(world, save):
    """The stem's names are torchvision's and the blocks' Caffe's: somebody has renamed it."""
    theirs = scramble(world.timm.create_model("legacy_seresnet50", layers=SHORT, num_classes=7))
    file = save(renamed(theirs.state_dict(), (r"^layer0\.", "")))
    with pytest.raises(ValueError, match="fits networks that compute different things") as raised:
        create_model("se_resnet50", weights=file, layers=SHORT)
    assert "stem_pool='padded' or 'ceil'; stride_on='3x3' or '1x1'" in str(raised.value)
    with pytest.raises(ValueError, match=r"belongs to: stride_on='3x3' or '1x1'\. Ask"):
        create_model("se_resnet50", weights=file, layers=SHORT, stem_pool="ceil")
    told = {"stem_pool": "ceil", "stride_on": "1x1"}
    require_the_same(loaded("se_resnet50", file, None, layers=SHORT, **told), theirs)


def test_basic_blocks_ask_for_their_relu(world, save):
    theirs = world.timm.create_model("legacy_seresnet18", layers=SHORT)
    file = save(renamed(theirs.state_dict(), (r"^layer0\.", "")))
    with pytest.raises(ValueError, match="stem_pool='padded' or 'ceil'; branch_relu=False or True"):
        create_model("se_resnet18", weights=file, layers=SHORT)


def test_a_stem_without_pooling_is_not_asked_for_one(save):
    theirs = create_model("se_resnet8_cifar")
    file = save(renamed(theirs.state_dict(), (r"\.se\.", ".se_module.")))
    with pytest.raises(ValueError, match=r"belongs to: branch_relu=False or True\. Ask"):
        create_model("se_resnet8_cifar", weights=file)
    require_the_same(loaded("se_resnet8_cifar", file, None, branch_relu=False), theirs)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda s: renamed(
                s, (r"downsample\.1", "downsample.2"), (r"downsample\.0", "downsample.1")
            ),
            r"its shortcuts average before they project \(a ResNet-D\)",
        ),
        (
            lambda s: {k: v for k, v in s.items() if k != "layer2.0.se.fc1.bias"},
            "some of its SE blocks have biases, and others do not",
        ),
        (
            lambda s: {k: v[:3] if k == "layer1.0.se.fc1.weight" else v for k, v in s.items()},
            "blocks of layer1 have 3 of 64, 4 of 64 channels inside, which no whole reduction",
        ),
        (
            lambda s: {**s, **{f"module.{k}": v for k, v in s.items()}},
            "two networks in one state dict: 'module.conv1.weight' and another name",
        ),
    ],
)
def test_networks_that_we_do_not_have(save, change, reason):
    file = save(change(create_model("se_resnet18").state_dict()))
    with pytest.raises(ValueError, match=reason):
        create_model("se_resnet18", weights=file)


def test_a_plain_network_has_no_place_for_se(save):
    file = save(create_model("se_resnet18", reduction=8).state_dict())
    with pytest.raises(ValueError, match="does not fit resnet18"):
        create_model("resnet18", weights=file)
