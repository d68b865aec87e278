"""The base of every network of the registry: a stem, stages that halve the map, a classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from senet.models import rename
from senet.models.form import Form
from senet.models.initialise import draw_seed, initialise
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
        fc: the linear classifier, the last child; an identity in a network without classes.
        checkpointing: whether training keeps only the input of each block, and computes the block
            again in the backward pass.

    Code that was written for timm runs: ``num_classes=0``, ``num_features``, ``forward_head``,
    ``get_classifier``, ``reset_classifier``, ``group_matcher``, ``no_weight_decay`` and
    ``set_grad_checkpointing`` are what they are there.

    Example:
        >>> from senet import create_model
        >>> model = create_model("se_resnet8_cifar", num_classes=0)
        >>> model(torch.randn(2, 3, 32, 32)).shape, model.num_features
        (torch.Size([2, 64]), 64)
        >>> model.reset_classifier(5)
        >>> model(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    if TYPE_CHECKING:  # TorchScript would try to read these
        architecture: Architecture
        preprocessing: Preprocessing
        classes: tuple[str, ...]
        stages: tuple[str, ...]
    __constants__ = ("stages",)
    __jit_unused_properties__ = ("num_features", "num_classes")
    classes = ()
    checkpointing = False
    _features = 0  # of a network without a classifier, which can no longer be asked

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
                if torch.jit.is_scripting():  # TorchScript reads no further
                    x = stage(x)
                elif self.checkpointing and self.training:
                    for block in _blocks(stage).values():
                        x = checkpoint(block, x, use_reentrant=False)
                else:
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
        return self.fc(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """Return the features ``[B, num_features]`` of the last map, the input of ``fc``."""
        return self.dropout(self.flatten(self.avgpool(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of the last map, or with ``pre_logits`` the features before them."""
        return self.embed(x) if pre_logits else self.classify(x)

    # --- the classifier ---------------------------------------------------------------------------

    @property
    def num_classes(self) -> int:
        """The outputs of the classifier; 0 for a network that returns features."""
        return self.fc.out_features if isinstance(self.fc, nn.Linear) else 0

    @property
    def num_features(self) -> int:
        """The features of an image, which the classifier takes."""
        return self.fc.in_features if isinstance(self.fc, nn.Linear) else self._features

    def get_classifier(self) -> nn.Module:
        """Return the linear classifier, or the identity in its place."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one, or with 0 classes by none.

        Args:
            num_classes: outputs of the new classifier.
            global_pool: for timm's signature; only its ``"avg"`` is what these networks have.

        Raises:
            ValueError: for less than 0 classes, or another pooling.
        """
        if num_classes < 0:
            raise ValueError(f"num_classes must be at least 0 (no classifier), got {num_classes}")
        if global_pool not in (None, "avg"):
            raise ValueError(
                f"global_pool={global_pool!r}: these networks pool by averaging; leave it out, and "
                "for maps call forward_features"
            )
        like = next(self.parameters())
        self._features = self.num_features
        self.fc = nn.Identity()
        if num_classes:
            self.fc = nn.Linear(self._features, num_classes)
            initialise(self.fc, draw_seed())
            self.fc.to(like.device, like.dtype)
        self.classes = ()
        if hasattr(self, "architecture"):
            self.architecture = replace(self.architecture, num_classes=num_classes)

    # --- training ---------------------------------------------------------------------------------

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return the depths of the parameters, as timm's layer decay takes them.

        Args:
            coarse: count stages rather than blocks.

        Returns:
            patterns of names: ``stem``, and ``blocks`` with the number of each. What fits none of
            them, the classifier, comes last.
        """
        children = dict(self.named_children())
        before = list(children)[: list(children).index(self.stages[0])]
        parts = [
            f"{name}.{part}" if part else name
            for name in self.stages
            for part in ([""] if coarse else _blocks(children[name]))
        ]
        depths = [(rf"^{re.escape(part)}\.", (depth,)) for depth, part in enumerate(parts)]
        return {"stem": rf"^(?:{'|'.join(before)})\.", "blocks": depths}

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters that must not decay: none."""
        return set()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Have training keep less: each block is computed again in the backward pass.

        Batch norms see each batch twice then, as in timm, so their statistics move faster.
        """
        self.checkpointing = enable

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


def _blocks(stage: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a stage that run one after the other, by their names in it."""
    chain = type(stage).forward is nn.Sequential.forward
    return dict(stage.named_children()) if chain else {"": stage}
