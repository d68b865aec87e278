"""Images that can no longer be read during a training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from senet.counted import counted
from senet.data.layout import SHOWN
from senet.data.loaders import unreadable


class NameVanished(Callback):
    """A callback that names, after every epoch, the images that could not be read.

    Others took their places; see :func:`senet.data.loader`. Each is named once.
    """

    def __init__(self) -> None:
        self.named: set[str] = set()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loaders: list[Any] = [trainer.train_dataloader, trainer.val_dataloaders]
        found = {name: why for one in loaders if one for name, why in unreadable(one).items()}
        new = {name: why for name, why in found.items() if name not in self.named}
        self.named |= set(new)
        if new:
            count = f"{len(self.named):,} so far; others take their places"
            warnings.warn(about_unreadable(new, count), stacklevel=2)


def about_unreadable(found: dict[str, str], note: str) -> str:
    """Return a message that counts and names images that could not be read.

    Example:
        >>> print(about_unreadable({"cat/1.jpg": "there is no such file"}, "it does not count"))
        1 image could not be read (it does not count):
          cat/1.jpg: there is no such file
    """
    lines: Iterable[str] = (f"  {name}: {why}" for name, why in list(found.items())[:SHOWN])
    more = [f"  ... and {len(found) - SHOWN:,} more"] if len(found) > SHOWN else []
    return "\n".join([f"{counted(len(found), 'image')} could not be read ({note}):", *lines, *more])
