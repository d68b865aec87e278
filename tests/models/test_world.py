"""Our networks against real timm, real torchvision and real weights."""

import pytest
import torch
from torch import nn

from senet import SqueezeExcitation, create_model
from senet.models.rename import translate
from senet.models.weights.file import load_state, read_state


def agree(ours: nn.Module, theirs: nn.Module, size: int = 64) -> None:
    """Require the same output and gradients to float32 rounding, in evaluation and training."""
    load_state(ours, theirs.state_dict())
    x = torch.randn(2, 3, size, size)
    for mode in (False, True):
        ours.train(mode)
        theirs.train(mode)
        a, b = ours(x), theirs(x)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * b.abs().max().item())
    # The statistics that training mode moved must have moved alike.
    torch.testing.assert_close(
        ours.bn1.running_var, ours.translate(theirs.state_dict())["bn1.running_var"]
    )


def scramble(model: nn.Module) -> nn.Module:
    """Give every norm and bias a value of its own: at their usual start (1, 0) errors hide."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.dim() == 1:
            with torch.no_grad():
                value.uniform_(0.5, 1.5) if "var" in name or "weight" in name else value.normal_(
                    0, 0.1
                )
    return model


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet50", "resnet50"),
        ("se_resnet50", "seresnet50"),
        ("se_resnext50_32x4d", "seresnext50_32x4d"),
        ("resnet18", "resnet18"),
        ("resnext50_32x4d", "resnext50_32x4d"),
    ],
)
def test_timm_state_dicts_load_and_agree(world, ours, theirs):
    agree(create_model(ours), scramble(world.timm.create_model(theirs)))


def test_timm_legacy_senet_loads_in_its_arrangement(world):
    theirs = scramble(world.timm.create_model("legacy_seresnet50", drop_rate=0.0))
    agree(create_model("se_resnet50", stride_on="1x1", stem_pool="ceil"), theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("se_resnet50", "legacy_seresnet50", {"stem_pool": "ceil", "stride_on": "1x1"}),
        ("se_resnext50_32x4d", "legacy_seresnext50_32x4d", {"stem_pool": "ceil"}),
        ("senet154", "legacy_senet154", {}),
        ("se_resnet18", "legacy_seresnet18", {"stem_pool": "ceil", "branch_relu": True}),
        ("se_resnet50", "seresnet50", {}),
    ],
)
@torch.no_grad()
def test_a_port_of_a_caffe_network_is_known_by_its_names(world, tmp_path, ours, theirs, options):
    """The file does not say its form; in another one its tensors fit, but the logits are off."""
    port = scramble(world.timm.create_model(theirs, num_classes=7)).eval()
    torch.save(port.state_dict(), tmp_path / "port.pth")
    model = create_model(ours, weights=tmp_path / "port.pth").eval()
    assert model.architecture.options == options
    x = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(model(x), port(x), rtol=1e-4, atol=1e-4 * port(x).abs().max())


def test_options_of_the_user_come_before_those_of_a_port(world, tmp_path):
    port = world.timm.create_model("legacy_seresnet50", num_classes=7)
    torch.save({f"module.{k}": v for k, v in port.state_dict().items()}, tmp_path / "port.pth")
    model = create_model("se_resnet50", weights=tmp_path / "port.pth", stride_on="3x3")
    assert model.architecture.options == {"stem_pool": "ceil", "stride_on": "3x3"}
    assert (model.maxpool.padding, model.layer2[0].conv1.stride) == (0, (1, 1))


def test_torchvision_state_dict_loads_and_agrees(world):
    agree(create_model("resnet50"), scramble(world.torchvision.models.resnet50()))


def test_torchvision_block_loads_and_agrees(world):
    theirs = world.torchvision.ops.SqueezeExcitation(64, 4)
    ours = SqueezeExcitation(64, 16)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 64, 5, 5)
    torch.testing.assert_close(ours(x), theirs(x))


def test_tutorial_form_converts():
    fc = nn.Sequential(
        nn.Linear(64, 4, bias=False), nn.ReLU(), nn.Linear(4, 64, bias=False), nn.Sigmoid()
    )
    ours = SqueezeExcitation(64, 16, bias=False)
    ours.load_state_dict(translate({f"fc.{k}": v for k, v in fc.state_dict().items()}))
    x = torch.randn(2, 64, 5, 5)
    torch.testing.assert_close(ours(x), x * fc(x.mean((2, 3)))[:, :, None, None])


def test_published_cifar_weights_classify_as_published(development_data):
    """akamaster: ResNet-20, published with 91.73 %; here 500 images, within 3 standard errors."""
    import numpy as np
    from PIL import Image

    model = create_model("resnet20_cifar")
    load_state(model, read_state(development_data / "weights" / "resnet20-12fca82f.th"))
    with Image.open(development_data / "cifar10" / "test_batch.webp") as mosaic:
        tiles = np.asarray(mosaic.convert("RGB").crop((0, 0, 3200, 160)))
    images = tiles.reshape(5, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32)
    labels = np.load(development_data / "cifar10" / "labels.npz")["test"][:500]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        logits = model.eval()((torch.from_numpy(images.copy()) / 255 - mean) / std)
    accuracy = (logits.argmax(1).numpy() == labels).mean()
    assert abs(accuracy - 0.9173) < 3 * (0.9173 * 0.0827 / 500) ** 0.5
