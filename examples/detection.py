"""An SE network as the backbone of a detector: torchvision's Faster R-CNN with a feature pyramid.

It needs torchvision with its compiled operators: ``pip install torchvision``, then
``python examples/detection.py``. It trains for a few steps on random images with one object of one
class, to show that all of it trains; replace them with your own images and boxes.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

import senet


class Backbone(nn.Module):
    """The maps of an SE network, made equally wide by a feature pyramid (arXiv 1612.03144)."""

    def __init__(self, name: str, width: int = 256) -> None:
        super().__init__()
        from torchvision.ops.feature_pyramid_network import (
            FeaturePyramidNetwork,
            LastLevelMaxPool,
        )

        self.body = senet.create_model(name, features=(1, 2, 3, 4))
        self.fpn = FeaturePyramidNetwork(list(self.body.channels), width, LastLevelMaxPool())
        self.out_channels = width

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = OrderedDict((str(level), m) for level, m in enumerate(self.body(x)))
        return self.fpn(maps)


def detector(name: str, classes: int) -> nn.Module:
    """Return a Faster R-CNN on ``name``; ``classes`` counts the background as one."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    return FasterRCNN(
        Backbone(name), classes, rpn_anchor_generator=anchors, min_size=256, max_size=256
    )


def main() -> None:
    torch.manual_seed(0)
    model = detector("se_resnet50", classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
    images = [torch.rand(3, 256, 256) for _ in range(2)]
    targets = [
        {"boxes": torch.tensor([[32.0, 48.0, 160.0, 200.0]]), "labels": torch.tensor([1])}
        for _ in images
    ]
    for step in range(5):
        losses = model(images, targets)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
