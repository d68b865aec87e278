"""One training on the device: a step as one CUDA graph, a checkpoint, an evaluation.

This is not :func:`senet.training.fit.fit`, whose Lightning does all that a user needs. Here a step
of some hundred small kernels takes a few milliseconds, as long as Python and Lightning take to
launch them, and several trainings share one device, their steps in turn. So the step is captured
once, including the selection of its images and the optimizer, and Python only provides the image
indices and the learning rate. Lightning's loop owns the step, the optimizer and the loader, so none
of the three could be captured. Both engines share all they can: configuration, schedule, batches,
networks, and the format of the weights. A test holds both to the same losses.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.clock import in_turn
from benchmarks.gpu.graph import captured
from benchmarks.gpu.images import Images
from senet import accelerate, create_model
from senet.files import write_bytes
from senet.training.config import TrainConfig
from senet.training.schedule import learning_rate


class Run:
    """A training, one epoch at a time.

    Args:
        config: configuration of the training; ``precision`` is ``"32"`` or ``"bf16-mixed"``.
        images: the images, on the device.

    Attributes:
        epoch: number of epochs done.
        curve: a row for each epoch after which the network was evaluated.
        seconds: time of training; a share of the time in which several trained together.
        step_ms: time of a step with the device to itself; 0 if it was not measured.
    """

    def __init__(self, config: TrainConfig, images: Images) -> None:
        self.config, self.images, self.device = config, images, images.train.device
        torch.manual_seed(config.seed)
        self.model = create_model(
            config.model,
            num_classes=len(images.classes),
            in_channels=images.train.shape[-1],
            **config.options,
        ).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        accelerate(self.model)
        self.epoch, self.seconds, self.step_ms = 0, 0.0, 0.0
        self.curve: list[dict[str, float]] = []
        self._chosen = torch.zeros(4, config.batch_size, dtype=torch.int64, device=self.device)
        self._sums = torch.zeros(2, device=self.device)
        self._lr = torch.zeros((), device=self.device)
        self._optimizer = torch.optim.SGD(
            self.model.parameters(),
            self._lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=True,
        )
        # Made at the start, so that a graph finds them, and a checkpoint only has to be copied in.
        self._momentum = [torch.zeros_like(p) for p in self.model.parameters()]
        for p, buffer in zip(self.model.parameters(), self._momentum, strict=True):
            self._optimizer.state[p]["momentum_buffer"] = buffer
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._replay = self._captured()

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return len(self.images.labels) // self.config.batch_size

    @property
    def finished(self) -> bool:
        return self.epoch >= self.config.epochs

    # --- training ---------------------------------------------------------------------------------

    def advance(self, step: int, chosen: Tensor) -> None:
        """Launch a step of the epoch on its own stream; nothing waits for it.

        Args:
            step: the step, from 0.
            chosen: its batch, see :meth:`Images.batch`.
        """
        at = self.epoch * self.steps + step
        with torch.cuda.stream(self._stream):
            self._chosen.copy_(chosen)
            self._lr.fill_(learning_rate(self.config, at, self.steps))
            self._replay()

    def end_epoch(self) -> dict[str, float]:
        """Count the epoch, once all its steps are done, and return its mean loss and accuracy."""
        loss, hits = (self._sums / self.steps).tolist()
        self._sums.zero_()
        self.epoch += 1
        accuracy = hits / self.config.batch_size
        return {"epoch": self.epoch, "train_loss": loss, "train_accuracy": accuracy}

    def _step(self) -> None:
        x, labels = self.images.batch(self._chosen)
        self._optimizer.zero_grad(set_to_none=True)
        half = self.config.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits = self.model(x)
            loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        loss.backward()
        self._optimizer.step()
        hits = (logits.detach().argmax(1) == labels).sum()
        self._sums += torch.stack([loss.detach().float(), hits.float()])

    def _captured(self) -> Callable[[], None]:
        """Return the step to replay; whatever the trial runs changed is restored."""
        torch.backends.cudnn.benchmark = True  # sizes never change
        before = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._chosen[0] = torch.arange(self.config.batch_size) % len(self.images.labels)
        replay = captured(self._step, self.device)
        if self.device.type == "cuda":
            self.step_ms = in_turn({"": replay}, self.device, rounds=5, many=20)[""]
        self.model.load_state_dict(before)
        for value in (*self._momentum, self._sums):
            value.zero_()
        return replay

    # --- evaluation -------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self) -> Tensor:
        """Return the logits of the test images, ``[m, K]``, always computed in float32."""
        self.model.eval()
        logits = torch.cat([self.model(x) for x in self.images.test.split(1000)])
        self.model.train()
        return logits

    # --- checkpoints ------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write everything that the next epochs depend on, whole or not at all."""
        buffer = io.BytesIO()
        state = {
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "step_ms": self.step_ms,
            "curve": self.curve,
            "model": self.model.state_dict(),
            "momentum": self._momentum,
        }
        torch.save(state, buffer)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getbuffer())

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint as if the training had never stopped."""
        self.model.load_state_dict(state["model"])
        for buffer, value in zip(self._momentum, state["momentum"], strict=True):
            buffer.copy_(value)
        self.epoch, self.curve, self.seconds = state["epoch"], state["curve"], state["seconds"]


def read(path: Path, config: TrainConfig) -> dict[str, Any] | None:
    """Return the checkpoint of a training, or ``None`` if there is none.

    Raises:
        ValueError: if it belongs to another training.
    """
    if not path.is_file():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    begun = TrainConfig.from_dict(state["config"])
    if differences := begun.differences(replace(config, precision=begun.precision)):
        raise ValueError(
            f"{path} belongs to another training: {'; '.join(differences)}. Name another --folder"
        )
    return state
