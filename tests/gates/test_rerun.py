"""A network that runs again from a block on returns what it would if it ran anew."""

import pytest
import torch
from torch import nn

from senet import SqueezeExcitation, accelerate, create_model
from senet.gates import Rerun, blocks_of, replacing


def ones(u):
    return u.new_ones(u.shape[:2])


def drawn(model):
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 1, 0.3)
    return model.eval()


class InPlace(nn.Module):
    """What the stem returned is overwritten before the block; the act is not idempotent."""

    def __init__(self):
        super().__init__()
        self.stem, self.unit = nn.Conv2d(3, 8, 1), nn.Sequential(SqueezeExcitation(8, 2))

    def forward(self, x):
        return self.unit(self.stem(x).mul_(2).add_(1))


class Twice(nn.Module):
    """The stem runs twice, and returns different maps."""

    def __init__(self):
        super().__init__()
        self.stem, self.se = nn.Conv2d(8, 8, 1), SqueezeExcitation(8, 2)

    def forward(self, x):
        return self.se(self.stem(self.stem(x.repeat(1, 3, 1, 1)[:, :8])))


@pytest.mark.parametrize("model", [InPlace(), Twice(), create_model("se_resnet20_cifar")])
@pytest.mark.parametrize("fast", [False, True])
def test_a_rerun_is_the_whole_run(model, fast):
    model, x = drawn(model), torch.randn(3, 3, 32, 32)
    blocks = blocks_of(model)
    with torch.no_grad():
        y = model(x)
        if fast:
            accelerate(model)
            model(x)
        ran = Rerun(model, blocks, x)
        assert torch.equal(ran.y, y)
        assert torch.equal(ran.replaced({}), y)
        for paths in [[path] for path in blocks] + [list(blocks)]:
            gates = dict.fromkeys(paths, ones)
            with replacing(model, gates):
                expected = model(x)
            assert torch.equal(ran.replaced(gates), expected)
        assert all("forward" not in vars(module) for module in model.modules())


def test_what_came_before_the_block_does_not_run_again():
    model = drawn(create_model("se_resnet8_cifar"))
    with torch.no_grad():
        ran = Rerun(model, blocks_of(model), torch.randn(2, 3, 32, 32))
        ran_again = []
        for path, module in model.named_modules():
            if isinstance(module, nn.Conv2d) and path.startswith("layer") and ".se" not in path:
                module.register_forward_hook(lambda *_, path=path: ran_again.append(path))
        ran.replaced({"layer2.0.se": ones})
    assert ran_again
    assert all(path.startswith(("layer2.0", "layer3")) for path in ran_again)


def test_in_inference_mode_everything_runs_again():
    model, x = drawn(create_model("se_resnet8_cifar")), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        ran = Rerun(model, blocks_of(model), x)
        with replacing(model, {"layer2.0.se": ones}):
            expected = model(x)
        assert torch.equal(ran.replaced({"layer2.0.se": ones}), expected)


def test_gates_are_those_of_the_blocks():
    model, x = drawn(create_model("se_resnet8_cifar")), torch.randn(3, 3, 32, 32)
    seen = {}
    for path, block in blocks_of(model).items():
        block.gate.register_forward_hook(lambda m, a, s, path=path: seen.update({path: s}))
    with torch.no_grad():
        ran = Rerun(model, blocks_of(model), x)
    assert all(torch.equal(ran.gates[path], s.flatten(1)) for path, s in seen.items())
