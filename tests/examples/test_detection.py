"""The detector: the backbone always, all of it if torchvision has its compiled operators."""

import runpy

import pytest
import torch

from examples.detection import Backbone


def test_the_backbone_gives_one_width_at_five_scales(world):
    backbone = Backbone("se_resnet18", width=32)
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(m.shape) for m in maps.values()] == [
        (1, 32, 64 // s, 96 // s) for s in (4, 8, 16, 32)
    ] + [(1, 32, 1, 2)]
    sum(m.sum() for m in maps.values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_the_detector_trains(world, capsys):
    if not world.torchvision.extension._has_ops():
        pytest.skip("torchvision's compiled operators are missing beside this build of torch")
    runpy.run_path("examples/detection.py", run_name="__main__")
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[-1] < losses[0]
