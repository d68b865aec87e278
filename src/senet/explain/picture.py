"""One image on the page: what the blocks do to it, where, and how far to believe the maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from senet.explain.grad_cam import grad_cam
from senet.explain.image import Changed, one_image
from senet.explain.likeness import extremes
from senet.explain.road import Road, road
from senet.gates import BlockGates
from senet.graph.capture import as_written, evaluating

SIDE = 240
"""Longest side of an image on the page, in pixels."""

MARK = (200, 83, 10)
"""The colour of the maps over a picture, that of SE in the figures."""


@dataclass(frozen=True)
class ChannelMap:
    """Where a channel that the image raises or lowers is high.

    Attributes:
        channel: its number.
        raised: whether the image raises its gate; otherwise it lowers it.
        gate: the gate for this image.
        mean: the mean over the data set.
        over: its feature map over the picture, as a data URI.
        openers: images of the data set that open the channel most, by their positions in it.
    """

    channel: int
    raised: bool
    gate: float
    mean: float
    over: str
    openers: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """One image and what the blocks do to it.

    Attributes:
        file: its name.
        thumbnail: a small copy as a data URI.
        answer: the network's answer.
        probability: its probability.
        changed: what every block does, with the names of the answers without it.
        focus: path of the block that treats this image least like the others.
        maps: the channels that it raises and lowers most.
        cam: Grad-CAM over the picture, as a data URI; ``None`` where the last block's feature map
            has no space.
        road: what becomes of the answer as the pixels that Grad-CAM marks are removed, likewise.
    """

    file: str
    thumbnail: str
    answer: str
    probability: float
    changed: Sequence[tuple[Changed, str]]
    focus: str
    maps: tuple[ChannelMap, ...]
    cam: str | None
    road: Road | None


def picture(
    file: str,
    model: nn.Module,
    x: Tensor,
    pixels: Tensor,
    blocks: Mapping[str, BlockGates],
    answers: Sequence[str] = (),
) -> Picture:
    """Look at one image.

    Args:
        file: its name.
        model: the network.
        x: the image as the network takes it, ``[1, C, H, W]``.
        pixels: the same as uint8, ``[C, H, W]``.
        blocks: the gates of the data set, of :func:`senet.gates.record`, with examples.
        answers: names of the network's outputs.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import record
        >>> model, x = create_model("se_resnet8_cifar", num_classes=2), torch.randn(6, 3, 32, 32)
        >>> pixels = torch.zeros(3, 32, 32, dtype=torch.uint8)
        >>> found = picture("cat.jpg", model, x[:1], pixels, record(model, [x], examples=6))
        >>> found.answer in ("output 0", "output 1"), len(found.road.random)
        (True, 19)
    """

    def name(answer: int) -> str:
        return answers[answer] if answers else f"output {answer}"

    answer, probability, changed = one_image(model, x, blocks)
    focus = max(changed, key=lambda one: one.apart)
    u = _given(model, x, focus.name)
    maps = tuple(
        ChannelMap(c, raised, s, mean, _over(pixels, u[c]), _openers(blocks[focus.name], c))
        for raised, channels in ((True, focus.raised), (False, focus.lowered))
        for c, s, mean in channels
        if u.dim() == 3
    )

    @torch.no_grad()
    def asked(images: Tensor) -> Tensor:
        with evaluating(model), as_written(model):
            return model(images).float().softmax(1)[:, answer]

    cam = curves = None
    last = list(blocks)[-1]
    if _given(model, x, last)[0].numel() > 1:
        marks, _ = grad_cam(model, x, model.get_submodule(last), answer)
        cam, curves = _over(pixels, marks), road(asked, x, marks)
    return Picture(
        file,
        data_uri(pixels, SIDE),
        name(answer),
        probability,
        [(one, "" if one.instead is None else name(one.instead)) for one in changed],
        focus.name,
        maps,
        cam,
        curves,
    )


def _given(model: nn.Module, x: Tensor, path: str) -> Tensor:
    """Return the feature map that a block is given for one image, ``[C, h, w]``."""
    given: list[Tensor] = []

    def keep(block: nn.Module, args: tuple[Tensor, ...]) -> None:
        given.append(args[0][0].cpu().clone())

    hook = model.get_submodule(path).register_forward_pre_hook(keep)
    try:
        with torch.no_grad(), evaluating(model), as_written(model):
            model(x)
    finally:
        hook.remove()
    return given[-1]


def _openers(block: BlockGates, channel: int) -> tuple[int, ...]:
    if block.examples is None:
        return ()
    return tuple(block.examples.images[extremes(block, channel)[0]].tolist())


def data_uri(pixels: Tensor, side: int) -> str:
    """Return an image, uint8 ``[C, H, W]``, as a data URI, as small as the page shows it."""
    array = pixels.permute(1, 2, 0).numpy()
    return _encoded(Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array), side)


def _over(pixels: Tensor, marks: Tensor) -> str:
    """Return a map ``[h, w]`` as colour over the grey picture, from its lowest to its highest."""
    low, high = float(marks.min()), float(marks.max())
    share = ((marks.float() - low) / max(high - low, 1e-12)).cpu().numpy()
    grey = np.asarray(Image.fromarray(_rgb(pixels)).convert("L"), dtype=float)[..., None]
    size = (grey.shape[1], grey.shape[0])
    alpha = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.BILINEAR))[..., None]
    mixed = grey * (1 - 0.75 * alpha) + 0.75 * alpha * np.array(MARK)
    return _encoded(Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8)), SIDE)


def _rgb(pixels: Tensor) -> np.ndarray:
    return pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _encoded(image: Image.Image, side: int) -> str:
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "jpeg", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
