"""Features of images: what a frozen network says of them before its classifier."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from senet.data import Source, Split, transforms
from senet.data.batches import Batches
from senet.device import find_device
from senet.fuse.worth import fast_for
from senet.models import Network
from senet.runs.features import Features
from senet.training.config import TrainConfig

_FIRST_LINE_AFTER = 10.0  # seconds; the wait then doubles from line to line


def split_features(
    model: Network,
    split: Split,
    source: Source,
    config: TrainConfig,
    place: Path,
    views: int = 1,
    tell: Callable[[str], None] | None = None,
) -> Features:
    """Return the features of a split, from ``place`` if they are there, or else kept there.

    Images that can no longer be read are left out.

    Args:
        model: the network; it is left as it was.
        split: the images.
        source: what they belong to, for the preprocessing.
        config: says how many images to work at a time, where, and how large random crops are.
        place: the file that keeps them.
        views: how often each image is seen: whole, and then in random crops, half of them mirrored.
        tell: prints a line about the progress of what takes long.
    """
    key = _key(model, split, source, config, views)
    if found := Features.read(place, key):
        return found
    device = find_device(config.device)
    body = _body(model, views * len(split), source.preprocessing.size, device)
    say = _progress(views * len(split), tell)
    parts: list[tuple[np.ndarray, Tensor]] = []
    for view in range(views):
        batches = Batches(
            split,
            source.preprocessing,
            config.batch_size,
            device,
            config.workers,
            crop=_crop(source, config) if view else None,
            epoch=view,
            seed=config.seed,
        )
        seen = []
        with torch.inference_mode():
            for images, _ in batches:
                seen.append(body(images.flip(-1) if view % 2 else images).float().cpu())
                say(len(images))
        left = np.setdiff1d(np.arange(len(split)), batches.bad)
        parts.append((split.labels[left], torch.cat(seen)[left]))
    labels, features = zip(*parts, strict=True)
    made = Features(np.concatenate(labels), torch.cat(features).numpy(), key)
    made.write(place)
    return made


def _body(model: Network, images: int, size: int, device: torch.device) -> nn.Module:
    """Return the network without its classifier, in the form that is the fastest for so many."""
    body: nn.Module = copy.deepcopy(model).eval()
    body.reset_classifier(0)
    body = body.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    example = torch.zeros(2, model.architecture.in_channels, size, size, device=device)
    return fast_for(body, images, example)


def _crop(source: Source, config: TrainConfig) -> transforms.RandomResizedCrop:
    p = source.preprocessing
    return transforms.RandomResizedCrop(
        p.size, (config.crop_scale, 1.0), interpolation=p.interpolation
    )


def _key(model: Network, split: Split, source: Source, config: TrainConfig, views: int) -> str:
    """Return a digest of everything that the features depend on."""
    digest = hashlib.sha256(repr((source.preprocessing, views)).encode())
    if views > 1:
        digest.update(repr((config.seed, config.crop_scale)).encode())
    for name, value in model.state_dict().items():
        if not name.startswith("fc."):
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(repr((split.keys(), split.digests)).encode())
    return digest.hexdigest()


def _progress(images: int, tell: Callable[[str], None] | None) -> Callable[[int], None]:
    begun = time.monotonic()
    done, following = 0, begun + _FIRST_LINE_AFTER

    def say(more: int) -> None:
        nonlocal done, following
        done += more
        now = time.monotonic()
        if tell and now >= following and done < images:
            left = (now - begun) / done * (images - done)
            tell(f"features of {done:,} of {images:,} images, {left:.0f} s to go")
            following = now + 2 * (following - begun)

    return say
