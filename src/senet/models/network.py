"""The base of every network of the registry: a stem, stages that halve the map, a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from senet.models import dialects
from senet.preprocessing import Preprocessing

if TYPE_CHECKING:
    from senet.models.registry import Architecture


class Network(nn.Module):
    """A convolutional network for classification, in the parts that all families have.

    Its children are registered in the order in which they run, and each takes what the one before
    it has made: ``nn.Sequential(*network.children())`` computes what the network computes. All
    activations and poolings are modules, so that hooks reach them.

    Attributes:
        architecture: set by :func:`~senet.models.create_model`.
        preprocessing: what its images are to look like; set likewise, by the weights if there are.
        classes: names of the outputs, where the weights tell them.
        stages: names of the children that the stem's map goes through, one after the other.
        fc: the linear classifier, the last child.
    """

    if TYPE_CHECKING:  # TorchScript would try to read these
        architecture: Architecture
        preprocessing: Preprocessing
        classes: tuple[str, ...]
        stages: tuple[str, ...]
    __constants__ = ("stages",)
    classes = ()

    def make_head(self, channels: int, num_classes: int, dropout: float = 0.0) -> None:
        """Register the usual head: global average pooling, dropout, a linear layer."""
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to logits ``[B, num_classes]``."""
        return self.classify(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map, ``[B, channels, H', W']``, before pooling and the classifier."""
        x = self.stem(x)
        for name, stage in self.named_children():
            if name in self.stages:
                x = stage(x)
        return self.finish(x)

    def stem(self, x: Tensor) -> Tensor:
        """From the image to the map that the first stage takes."""
        raise NotImplementedError

    def finish(self, x: Tensor) -> Tensor:
        """What comes between the last stage and the pooling: in most families nothing."""
        return x

    def classify(self, x: Tensor) -> Tensor:
        """From the last map to the logits."""
        return self.fc(self.dropout(self.flatten(self.avgpool(x))))

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of this architecture from another project, with the names of this one.

        One that has these names already comes back as it is. Families whose published weights have
        other names say here which, and call this for the names inside SE blocks.
        """
        return dialects.translate(state)

    @classmethod
    def form_of(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """The options that a state dict of another project needs, where its names tell.

        Some projects' networks have the tensors of ours and compute something else with them.
        """
        return {}
