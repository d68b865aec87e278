"""One training on the device: a step as one CUDA graph, and an evaluation.

This is not :func:`senet.training.fit.fit`, whose Lightning does all that a user needs. Here a step
of some hundred small kernels takes a few milliseconds, as long as Python and Lightning take to
launch them. So the step is captured once, including the selection of its images and the optimizer,
and Python only provides the image indices and the learning rate. Lightning's loop owns the step,
the optimizer and the loader, so none of the three could be captured. All else is the library's: the
network, the optimizer, the schedule, the order of the images and their augmentation. A test holds
both to the same losses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.graph import captured
from benchmarks.gpu.images import Images
from senet.training.begin import new_network
from senet.training.config import TrainConfig
from senet.training.module import Classifier
from senet.training.schedule import learning_rate


class Run:
    """A training, one epoch at a time.

    Args:
        config: configuration of the training; ``precision`` is ``"32"`` or ``"bf16-mixed"``.
        images: the images, on the device.

    Attributes:
        epoch: number of epochs done.
    """

    def __init__(self, config: TrainConfig, images: Images) -> None:
        self.config, self.images, self.device = config, images, images.train.device
        self.steps = len(images.labels) // config.batch_size
        source = images.source
        self.model = new_network(config, source)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        task = Classifier(self.model, len(source.classes), config, source.preprocessing, self.steps)
        self.epoch = 0
        self._chosen = torch.zeros(4, config.batch_size, dtype=torch.int64, device=self.device)
        self._sums = torch.zeros(2, device=self.device)
        self._lr = torch.zeros((), device=self.device)
        self._optimizer = task.configure_optimizers()
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr
        # Made at the start, so that a graph finds them.
        self._momentum = [torch.zeros_like(p) for p in self.model.parameters()]
        for p, buffer in zip(self.model.parameters(), self._momentum, strict=True):
            self._optimizer.state[p]["momentum_buffer"] = buffer
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._replay = self._captured()

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
