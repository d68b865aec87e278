"""The base of every network of the registry: a stem, stages that halve the map, a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from senet.models import dialects
from senet.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from senet.models.registry import Architecture


class Network(nn.Module):
    """A convolutional network for classification, in the parts that all families have.

    Attributes:
        architecture: set by :func:`~senet.models.create_model`.
        preprocessing: what its images are to look like; set likewise, by the weights if there are.
        classes: names of the outputs, where the weights tell them.
        stages: names of the modules that the stem's map goes through, one after the other.
        fc: the linear classifier.
        dropout: share of the pooled features that training drops before it.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    stages: tuple[str, ...]
    fc: nn.Linear
    dropout: float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to logits ``[B, num_classes]``."""
        return self.classify(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map, ``[B, channels, H', W']``, before pooling and the classifier."""
        x = self.stem(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.finish(x)

    def stem(self, x: Tensor) -> Tensor:
        """From the image to the map that the first stage takes."""
        raise NotImplementedError

    def finish(self, x: Tensor) -> Tensor:
        """What comes between the last stage and the pooling: in most families nothing."""
        return x

    def classify(self, x: Tensor) -> Tensor:
        """From the last map to the logits: global average pooling, dropout, a linear layer."""
        return self.fc(F.dropout(x.mean((2, 3)), self.dropout, self.training))

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of this architecture from another project, with the names of this one.

        One that has these names already comes back as it is. Families whose published weights have
        other names say here which, and call this for the names inside SE blocks.
        """
        return dialects.translate(state)
