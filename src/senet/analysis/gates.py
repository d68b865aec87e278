"""What the gates do: s of every SE block, by class, as section 6.4 of the paper looks at it.

Figure 6 of the paper is the mean gate a channel and class; Figure 7 adds the standard deviation
within a class. Where the classes' means part, the block has learned what a class needs; where they
coincide, it treats all images alike; where gates stand at 1, it does nothing and could be removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from senet.gates.statistics import BlockGates, GateSums
from senet.nn import ChannelAttention


@contextmanager
def recording(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it, every forward pass of ``model`` leaves the gates of its SE blocks in the result.

    The result maps a block's name to s of the latest batch, ``[B, C]``. A block that gates every
    position by itself (``squeeze="none"``) leaves its mean over positions. The hooks are gone when
    the context ends, also by an error.

    Raises:
        ValueError: if the network has no SE block.

    Example:
        >>> from senet import create_model
        >>> model = create_model("se_resnet8_cifar").eval()
        >>> with recording(model) as gates:
        ...     _ = model(torch.randn(4, 3, 32, 32))
        >>> {name: tuple(s.shape) for name, s in gates.items()}
        {'layer1.0.se': (4, 16), 'layer2.0.se': (4, 32), 'layer3.0.se': (4, 64)}
    """
    blocks = {n: m for n, m in model.named_modules() if isinstance(m, ChannelAttention)}
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no SE block, so there are no gates to record")
    latest: dict[str, Tensor] = {}

    def keep(name: str, _gate: nn.Module, _inputs: tuple[Tensor], s: Tensor) -> None:
        latest[name] = s.detach() if s.dim() == 2 else s.detach().flatten(2).mean(2)

    # A hook on the gate itself: its output is s, whatever the block does with it afterwards.
    hooks = [
        block.gate.register_forward_hook(partial(keep, name)) for name, block in blocks.items()
    ]
    try:
        yield latest
    finally:
        for hook in hooks:
            hook.remove()


def by_class(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], classes: int
) -> list[BlockGates]:
    """Run the images through ``model`` and gather the gates of every SE block by class.

    Args:
        model: a network with SE; it is used in evaluation mode and left in the mode it was in.
        batches: images as the network takes them, ``[B, channels, H, W]``, with their labels
            ``[B]``.
        classes: number of classes.

    Returns:
        One :class:`BlockGates` a block, in the order of the network.

    Raises:
        ValueError: if the network has no SE block, or there are no images.
    """
    sums: dict[str, GateSums] = {}
    mode = model.training
    model.eval()
    try:
        with recording(model) as gates, torch.inference_mode():
            for images, labels in batches:
                model(images)
                for name, s in gates.items():
                    if name not in sums:
                        sums[name] = GateSums(classes, s.shape[1])
                    sums[name].add(s.cpu(), labels.cpu())
    finally:
        model.train(mode)
    if not sums:
        raise ValueError("no images: the gates of a network are seen on images only")
    return [found.result(name) for name, found in sums.items()]
