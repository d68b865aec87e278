"""What holds for every network of the registry, whatever its family."""

import pytest
import torch

from senet.models import create_model, entry, list_models
from senet.models.describe.summary import summarise

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [n for n in list_models() if entry(n).has_se])
def test_a_twin_differs_in_its_se_blocks_alone(name):
    torch.manual_seed(3)
    se = create_model(name).state_dict()
    torch.manual_seed(3)
    plain = create_model(entry(name).plain).state_dict()
    assert {k for k in se if ".se." not in k} == set(plain)
    for key, value in plain.items():
        assert torch.equal(value, se[key]), key


@pytest.mark.parametrize("name", list_models("*"))
def test_every_network_runs_forward_and_backward_on_two_sizes(name):
    if any(depth in name for depth in ("101", "152", "154", "110", "164")):
        pytest.skip("the same classes as the shallower networks, only longer")
    model = create_model(name, num_classes=3, in_channels=1)
    sizes = (16, 23) if entry(name).preprocessing.size == 32 else (80, 91)
    for size in sizes:
        logits = model(torch.randn(2, 1, size, size))
        assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", list_models())
def test_every_network_is_a_backbone(name):
    with torch.device("meta"):
        network = create_model(name)
        levels = range(len(network.stages) + 1)
        backbone = create_model(name, features=levels)
        side = entry(name).preprocessing.size
        image = torch.empty(1, 3, side, side)
        maps = backbone(image)
        last = network.stem(image)
        for stage in network.stages:
            last = network.get_submodule(stage)(last)
    assert maps[-1].shape == last.shape
    assert [m.shape[1] for m in maps] == list(backbone.channels)
    assert list(backbone.strides) == sorted(backbone.strides)
    assert backbone.strides[-1] > 1


@pytest.mark.parametrize("name", list_models())
def test_every_network_can_be_summarised(name):
    with torch.device("meta"):
        model = create_model(name)
    side = entry(name).preprocessing.size
    summary = summarise(model, (3, side, side))
    assert summary.parameters[0] == sum(p.numel() for p in model.parameters())
    assert (summary.parameters[1] > 0) == entry(name).has_se
    assert len(summary.stages) >= len(model.stages)
