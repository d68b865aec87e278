"""Networks are plain PyTorch: whatever reads, traces, compiles, exports or watches them works."""

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad

from senet.models import create_model, entry, list_models

pytestmark = pytest.mark.slow

ATTENTION = ("se", "eca", "ese", "scse", "ge")
PLACEMENTS = ("standard", "pre", "post", "identity", "3x3")
VARIANTS = [
    *[("resnet8_cifar", {"attention": kind}) for kind in ATTENTION],
    ("resnet8_cifar", {"attention": "scse", "combine": "max"}),
    ("resnet8_cifar", {"attention": "ge", "extent": 2}),
    *[("se_resnet8_cifar", {"squeeze": squeeze}) for squeeze in ("max", "none")],
    *[("se_resnet8_cifar", {"gate": gate}) for gate in ("hardsigmoid", "scaled_sigmoid")],
    *[
        (name, {"layers": (2, 1), "widths": (16, 32), "placement": placement})
        for placement in PLACEMENTS
        for name in ("se_resnet18", "se_resnet50", "se_resnet164_cifar", "se_wide_resnet16_8_cifar")
    ],
    ("se_resnet18", {"layers": (1, 1), "widths": (16, 32), "stem": "deep", "stem_pool": "ceil"}),
    ("se_resnet164_cifar", {"layers": (1, 1), "widths": (16, 32), "stem": "deep"}),
    ("mobilenet_v3_small", {"padding": "same"}),
]


DEEPER = ("34", "101", "152", "32_cifar", "44", "56", "110")
"""Parts of the names of networks that only have more of the blocks of another one."""
SHALLOWEST = [name for name in list_models() if not any(depth in name for depth in DEEPER)]

FAMILIES = [
    *("se_resnet18", "se_resnet50", "se_resnet164_cifar", "se_wide_resnet16_8_cifar"),
    *("se_vgg16_bn", "se_mobilenet", "se_shufflenet_g3", "se_densenet121", "se_bn_inception"),
    *("se_shake_even_29_2x4x64d", "regnety_016", "mobilenet_v3_small", "efficientnet_b0"),
]
"""One network for every file and block."""


def small(name, **options):
    """Return the network, with few blocks where their number can be chosen, and images for it.

    Among the blocks are one whose shortcut is projected and one whose shortcut is not.
    """
    stages = len(entry(name).options().get("layers", ()))
    layers = {"layers": (2, *(1,) * (stages - 1))} if stages else {}
    side = 8 if entry(name).preprocessing.size == 32 else 80 if "inception" in name else 32
    model = create_model(name, num_classes=3, **{**layers, **options})
    return model, torch.randn(2, 3, side, side)


def forms(model, x):
    """Return what PyTorch's own readers make of a network."""
    yield "script", torch.jit.script(model)
    yield "trace", torch.jit.trace(model, x, check_trace=False)
    yield "fx", torch.fx.symbolic_trace(model)


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in SHALLOWEST), *VARIANTS], ids=str
)
@torch.no_grad()
def test_torchscript_tracing_fx_and_the_chain_of_the_children_compute_the_same(name, options):
    model, x = small(name, **options)
    wanted = model.eval()(x)
    for form, other in (*forms(model, x), ("children", nn.Sequential(*model.children()))):
        torch.testing.assert_close(other(x), wanted, msg=lambda text, form=form: f"{form}: {text}")
    *body, classifier = model.children()
    torch.testing.assert_close(classifier(nn.Sequential(*body)(x).flatten(1)), wanted)


@torch.no_grad()
def test_a_scripted_network_is_saved_and_loaded():
    model, x = small("se_resnet18")
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model.eval()), file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(x), model(x))


@pytest.mark.parametrize("name", ["se_resnet18", "se_densenet121", "mobilenet_v3_small"])
@torch.no_grad()
def test_every_feature_pyramid_does_too(name):
    backbone, x = small(name, features=(1, 2, 3, 4))
    wanted = backbone.eval()(x)
    for _, other in forms(backbone, x):
        for a, b in zip(other(x), wanted, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("se_resnet8_cifar", {}),
        ("se_shake_shake_26_2x96d", {"widths": (16, 32, 64)}),
        ("efficientnet_b0", {"drop_path": 0.5, "dropout": 0.3}),
    ],
    ids=str,
)
def test_in_training_too(name, options):
    """They agree with the same random numbers, and have the same gradients."""
    model, x = small(name, **options)
    found = []
    for other in (model, torch.jit.script(model), torch.fx.symbolic_trace(model.train())):
        torch.manual_seed(1)
        other.zero_grad()
        y = other(x)
        y.square().mean().backward()
        found.append(
            [y, model.fc.weight.grad.clone(), model.get_parameter(FIRST[name]).grad.clone()]
        )
    for values in found[1:]:
        for value, wanted in zip(values, found[0], strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-3, atol=1e-4)


FIRST = {
    "se_resnet8_cifar": "conv1.weight",
    "se_shake_shake_26_2x96d": "conv1.conv.weight",
    "efficientnet_b0": "conv1.conv.weight",
}


@pytest.mark.parametrize(
    ("name", "training"),
    [*((name, True) for name in FAMILIES), *((name, False) for name in FAMILIES[:3])],
)
def test_torch_compile_sees_one_graph(name, training):
    torch._dynamo.reset()  # it would count the earlier networks too
    model, x = small(name)
    compiled = torch.compile(model.train(training), backend="eager", fullgraph=True)
    torch.manual_seed(1)
    y = compiled(x)
    torch.manual_seed(1)
    torch.testing.assert_close(y, model(x), rtol=1e-3, atol=1e-3)


def test_functional_call_and_its_gradients():
    model = create_model("se_resnet8_cifar").eval()
    x, state = torch.randn(2, 3, 16, 16), dict(model.named_parameters())
    torch.testing.assert_close(functional_call(model, state, x), model(x))
    gradients = grad(lambda p: functional_call(model, p, x).square().sum())(state)
    model(x).square().sum().backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-3, atol=1e-4)


def test_gradients_of_gradients():
    """A Hessian-vector product is compared with the difference of two gradients."""
    model = create_model("se_resnet8_cifar").double().eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    v = torch.randn_like(x)

    def slope(x):
        x = x.detach().requires_grad_()
        return x, *torch.autograd.grad(model(x).square().sum(), x, create_graph=True)

    at, first = slope(x)
    (product,) = torch.autograd.grad(first, at, v)
    step = 1e-6
    wanted = (slope(x + step * v)[1] - slope(x - step * v)[1]) / (2 * step)
    torch.testing.assert_close(product, wanted, rtol=1e-4, atol=1e-6)


def test_a_network_exports_as_plain_pytorch():
    model = create_model("se_resnet8_cifar").eval()
    x = torch.randn(2, 3, 32, 32)
    program = torch.export.export(model, (x,))
    assert not any("senet" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


# --- children and what watches them ---------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_every_module_of_every_network_is_called_once(name):
    with torch.device("meta"):
        model, x = small(name)
    calls = Counter()
    for path, module in model.named_modules():
        module.register_forward_hook(lambda *_, path=path: calls.update([path]))
    model.eval()(x)
    assert calls == Counter(path for path, _ in model.named_modules())


@pytest.mark.parametrize("path", ["relu", "layer1.0.relu1", "layer1.0.relu2", "layer2.0.bn2"])
def test_gradients_can_be_changed_at_every_activation(path):
    """Guided backpropagation is a hook on the gradients of every ReLU."""
    model, x = small("se_resnet18")
    x.requires_grad_()
    (plain,) = torch.autograd.grad(model.eval()(x).sum(), x)
    model.get_submodule(path).register_full_backward_hook(lambda m, into, out: (3 * into[0],))
    (guided,) = torch.autograd.grad(model(x).sum(), x)
    assert not torch.allclose(plain, guided)


def test_a_hook_on_every_submodule_of_a_block_has_its_effect():
    model, x = small("se_resnet18")
    model.eval()
    wanted = model(x)
    block = model.layer1[0]
    for path in [path for path, _ in block.named_modules() if path]:
        hook = block.get_submodule(path).register_forward_hook(lambda m, i, y: 0.5 * y - 0.1)
        assert not torch.allclose(model(x), wanted), path
        hook.remove()
    torch.testing.assert_close(model(x), wanted)


# --- what stays as it was -------------------------------------------------------------------------

INITIAL = json.loads((Path(__file__).parent / "initial_weights.json").read_text())


@pytest.mark.parametrize("name", INITIAL)
def test_initial_weights_of_a_seed_and_their_names_are_those_of_version_0_1(name):
    torch.manual_seed(0)
    assert digest(create_model(name).state_dict()) == INITIAL[name]


def digest(state):
    """Return a digest of names, shapes and values, in the order of the names."""
    found = hashlib.sha256()
    for key, value in sorted(state.items()):
        found.update(f"{key} {tuple(value.shape)}".encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()[:16]
