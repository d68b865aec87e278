"""BN-Inception: counts of the authors' definition, and its arithmetic written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters
from senet.models.families.bn_inception import BNInception, CornerPool
from senet.models.weights.file import load_state
from senet.nn import SqueezeExcitation
from tests.models.agreement import shapes_of, squeezed

IMAGE = (3, 224, 224)

# SE-BN-Inception.prototxt of the authors: 1×1; 3×3 and the 1×1 before it; double 3×3 likewise; what
# follows the pooling. A module that halves the map has no 1×1, and lets the pooled map pass.
MODULES = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}
# The channels that leave them, and those of SE's bottlenecks: the layers *_1x1_up and *_1x1_down.
GATES = {
    "3a": (256, 16), "3b": (320, 20), "3c": (576, 36), "4a": (576, 36), "4b": (576, 36),
    "4c": (608, 38), "4d": (608, 38), "4e": (1056, 66), "5a": (1024, 64), "5b": (1024, 64),
}  # fmt: skip


def test_se_is_after_every_module_and_as_wide_as_in_the_authors_definition():
    model = shapes_of("se_bn_inception")
    found = {
        name.split(".")[1]: (block.fc1.in_channels, block.fc1.out_channels)
        for name, block in model.named_modules()
        if isinstance(block, SqueezeExcitation)
    }
    assert found == GATES


def test_parameters_are_those_of_other_implementations():
    plain, se = shapes_of("bn_inception"), shapes_of("se_bn_inception")
    norms = sum(m.num_features for m in plain.modules() if isinstance(m, nn.BatchNorm2d))
    # Cadene's bninception, and pytorchcv's: with a bias in each convolution.
    assert parameters(plain)[0] + norms == 11_295_240
    # OpenVINO counts 11.922 M for the authors' file, whose norms it folds into biases.
    assert f"{(parameters(se)[0] - norms) / 1e6:.3f}" == "11.922"
    assert parameters(se)[1] == sum(2 * c * r + c + r for c, r in GATES.values())


def test_multiply_adds_are_the_papers():
    """Table 2: 2.03 G; 2.04 G with SE, which is seen only where all of SE's work is counted.

    The layers of SE have 0.6 M, the additions of the squeeze are 1.2 M, and the products of the
    scale as many again: 2.0356 G.
    """
    assert f"{multiply_adds(shapes_of('bn_inception'), IMAGE)[0] / 1e9:.2f}" == "2.03"
    se = shapes_of("se_bn_inception")
    assert f"{(multiply_adds(se, IMAGE)[0] + 2 * squeezed(se, 224)) / 1e9:.2f}" == "2.04"


def draw():
    """A state dict of Cadene's network, biases and all."""
    state = {}

    def conv(name, inputs, outputs, kernel):
        fan = inputs * kernel**2
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) * (2 / fan) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(outputs)
        state[f"{name}_bn.weight"] = torch.rand(outputs) + 0.5
        state[f"{name}_bn.bias"] = 0.1 * torch.randn(outputs)
        state[f"{name}_bn.running_mean"] = 0.1 * torch.randn(outputs)
        state[f"{name}_bn.running_var"] = torch.rand(outputs) + 0.5

    conv("conv1_7x7_s2", 3, 64, 7)
    conv("conv2_3x3_reduce", 64, 64, 1)
    conv("conv2_3x3", 64, 192, 3)
    inputs = 192
    for module, (one, reduce, three, double_reduce, double, pool) in MODULES.items():
        name = f"inception_{module}"
        if one:
            conv(f"{name}_1x1", inputs, one, 1)
        conv(f"{name}_3x3_reduce", inputs, reduce, 1)
        conv(f"{name}_3x3", reduce, three, 3)
        conv(f"{name}_double_3x3_reduce", inputs, double_reduce, 1)
        conv(f"{name}_double_3x3_1", double_reduce, double, 3)
        conv(f"{name}_double_3x3_2", double, double, 3)
        if pool:
            conv(f"{name}_pool_proj", inputs, pool, 1)
        inputs = one + three + double + (pool or inputs)
    state["last_linear.weight"] = torch.randn(10, inputs) / inputs**0.5
    state["last_linear.bias"] = torch.randn(10)
    return {name: value.double() for name, value in state.items()}


def written_out(state, x, training):
    """The logits, as Caffe computes them; the gradients reach the tensors of ``state``."""

    def conv(name, x, stride=1):
        weight = state[f"{name}.weight"]
        x = F.conv2d(x, weight, state[f"{name}.bias"], stride, weight.shape[2] // 2)
        mean, var = (state[f"{name}_bn.running_{key}"].clone() for key in ("mean", "var"))
        scale, shift = state[f"{name}_bn.weight"], state[f"{name}_bn.bias"]
        return F.relu(F.batch_norm(x, mean, var, scale, shift, training))

    def halved(x):
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = halved(conv("conv1_7x7_s2", x, 2))
    x = halved(conv("conv2_3x3", conv("conv2_3x3_reduce", x)))
    for module in MODULES:
        name = f"inception_{module}"
        stride = 2 if module in ("3c", "4e") else 1
        three = conv(f"{name}_3x3", conv(f"{name}_3x3_reduce", x), stride)
        double = conv(f"{name}_double_3x3_1", conv(f"{name}_double_3x3_reduce", x))
        double = conv(f"{name}_double_3x3_2", double, stride)
        if stride == 2:
            x = torch.cat((three, double, halved(x)), 1)
            continue
        pool = F.max_pool2d(x, 3, 1, 1) if module == "5b" else F.avg_pool2d(x, 3, 1, 1)
        pool = conv(f"{name}_pool_proj", pool)
        x = torch.cat((conv(f"{name}_1x1", x), three, double, pool), 1)
    return F.linear(x.mean((2, 3)), state["last_linear.weight"], state["last_linear.bias"])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_weights_of_cadene_load_and_agree(training):
    state = draw()
    model = create_model("bn_inception", num_classes=10).double().train(training)
    load_state(model, state)
    weights = {name: value.requires_grad_() for name, value in state.items() if "ning" not in name}
    image, again = (torch.randn(2, 3, 96, 96).double().requires_grad_() for _ in range(2))
    again.data.copy_(image.data)
    ours, wanted = model(image), written_out(state, again, training)
    torch.testing.assert_close(ours, wanted)
    ours.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(image.grad, again.grad)
    gradients = BNInception.translate({name: value.grad for name, value in weights.items()})
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, gradients[name], msg=name)


def test_translating_leaves_the_weights_that_came_as_they_were():
    state = draw()
    before = {name: value.clone() for name, value in state.items()}
    BNInception.translate(state)
    assert all(torch.equal(state[name], value) for name, value in before.items())
    own = create_model("se_bn_inception").state_dict()
    again = BNInception.translate(own)
    assert list(again) == list(own)
    assert all(again[name] is value for name, value in own.items())


@pytest.mark.parametrize("size", [(2, 4), (6, 6), (7, 8), (5, 1), (1, 1)])
def test_the_pool_is_caffes_at_even_sizes_and_fits_the_convolutions_at_all(size):
    x = torch.randn(2, 3, *size)
    y = CornerPool()(x)
    conv = F.conv2d(x, torch.ones(3, 3, 3, 3), stride=2, padding=1)
    assert y.shape == conv.shape
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            assert torch.equal(y[:, :, i, j], window.amax((2, 3)))
    if size[0] % 2 == size[1] % 2 == 0:
        assert torch.equal(y, F.max_pool2d(x, 3, 2, ceil_mode=True))
