"""The base of every network of the registry: a stem, stages that halve the map, a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from senet.models import rename
from senet.models.form import Form
from senet.preprocessing import Preprocessing

if TYPE_CHECKING:
    from senet.models.architecture import Architecture


class Network(nn.Module):
    """A convolutional network for classification, in the parts that all families have.

    The children are registered in the order in which they run, and each takes the output of the
    one before it: ``nn.Sequential(*network.children())`` computes what the network computes. All
    activations and poolings are modules, so that hooks reach them.

    Attributes:
        architecture: what the network was made from; set by :func:`~senet.models.create_model`.
        preprocessing: the preprocessing of its images; set likewise, from the weights if any.
        classes: names of the outputs, where the weights name them.
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
        """Return the logits ``[B, num_classes]`` of images ``[B, in_channels, H, W]``."""
        return self.classify(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map, ``[B, channels, H', W']``, before pooling and the classifier."""
        x = self.stem(x)
        for name, stage in self.named_children():
            if name in self.stages:
                x = stage(x)
        return self.finish(x)

    def stem(self, x: Tensor) -> Tensor:
        """Return the map that the first stage takes, from the image."""
        raise NotImplementedError

    def finish(self, x: Tensor) -> Tensor:
        """Apply what comes between the last stage and the pooling: in most families nothing."""
        return x

    def classify(self, x: Tensor) -> Tensor:
        """Return the logits of the last map."""
        return self.fc(self.dropout(self.flatten(self.avgpool(x))))

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict of this architecture from another project under our names.

        A state dict that has our names already comes back as it is. Families whose published
        weights have other names override this, and call it for the names inside SE blocks.
        """
        return rename.translate(state)

    @classmethod
    def form_of(cls, state: Mapping[str, Tensor]) -> Form:
        """Return what a state dict, of any project, says about its network by names and shapes.

        Some projects' networks have the same tensors as ours but compute something else.

        Raises:
            ValueError: if the family does not have the network; the message gives the reason.
        """
        return Form()
