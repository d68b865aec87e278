"""A training step and a validation step, as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from senet.data import transforms
from senet.fuse.accelerate import accelerate
from senet.preprocessing import Preprocessing
from senet.training.balance import mean_loss
from senet.training.config import TrainConfig
from senet.training.groups import groups
from senet.training.record import EpochRecord
from senet.training.schedule import learning_rate

# Reading a number from a GPU makes it wait, so its losses are checked only this often; on the CPU
# they are checked at every step.
_STEPS_BETWEEN_LOOKS = 50


class NotFiniteError(ArithmeticError):
    """The loss of a step, or a weight after it, is infinite or not a number."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what} at step {step}")
        self.what, self.step = what, step


class Classifier(LightningModule):
    """A Lightning module that trains an image classifier as a configuration says.

    Nothing random depends on the state of a generator: what happens to the batch of step t depends
    on the seed and t alone. So twins get the same batches, and a resumed run continues as if it had
    never stopped.

    Args:
        module: maps ``[B, C, H, W]`` to logits ``[B, K]``. Its weights are under ``module.`` in a
            checkpoint, a prefix that :func:`senet.models.weights.file.read_state` removes.
        classes: K, the number of classes.
        config: configuration of the training.
        preprocessing: preprocessing of the images.
        steps: optimizer steps per epoch.
        at_rest: modules of the network that stay in evaluation mode, such as frozen norms.
        class_weights: how much an image of each class counts in the loss, ``[K]``.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        module: nn.Module,
        classes: int,
        config: TrainConfig,
        preprocessing: Preprocessing,
        steps: int,
        at_rest: Iterable[nn.Module] = (),
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        if config.accelerate:
            accelerate(module)
        self.module = module
        self.at_rest = tuple(at_rest)  # a tuple: they are registered below `module` already
        # Not kept: a checkpoint holds the network and nothing else.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.classes = classes
        self.config = config
        self.preprocessing = preprocessing
        self.steps = steps
        self.record = EpochRecord(steps)
        self.validation: dict[str, float] = {}
        self._validation_sums = torch.zeros(3)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        config = self.config
        parameters = groups(self.module, config.stage_decay)
        if config.optimizer == "adamw":
            return torch.optim.AdamW(
                parameters, config.lr, weight_decay=config.weight_decay, fused=True
            )
        return torch.optim.SGD(
            parameters,
            config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=True,
        )

    # --- training ---------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        for module in self.at_rest:
            module.eval()
        self.record.to(self.device)
        self.record.start_clock()

    def on_train_epoch_start(self) -> None:
        self.record.clear()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        rate = learning_rate(self.config, self.global_step, self.steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate * group.get("scale", 1.0)  # older checkpoints have no shares
        self._seed_global(
            transforms.generator(self.config.seed, self.global_step, 1).initial_seed()
        )

    def _seed_global(self, seed: int) -> None:
        """Seed networks that draw random numbers themselves: dropout, stochastic depth.

        ``torch.manual_seed`` will not do: while the GPU is not in use, it queues every call.
        """
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, targets = self.augmented(*batch, self.global_step)
        logits = self.module(images)
        loss = mean_loss(logits, targets, self.class_weights, self.config.label_smoothing)
        labels = targets if targets.dim() == 1 else targets.argmax(1)
        self.record.add(loss.detach(), (logits.detach().argmax(1) == labels).sum(), len(labels))
        look = self.device.type == "cpu" or self.record.done % _STEPS_BETWEEN_LOOKS == 0
        if look and not loss.isfinite():
            self._require_finite_losses()
        return loss

    def augmented(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch as the network sees it in training, random by ``step`` and the seed.

        Args:
            images: uint8 ``[B, C, H, W]``.
            labels: int64 ``[B]``.
            step: from 0, counted over the whole training.

        Returns:
            normalised images, and labels ``[B]``, or ``[B, K]`` if images were mixed.
        """
        config, generator = self.config, transforms.generator(self.config.seed, step)
        if config.crop_padding:
            images = transforms.random_crop(images, config.crop_padding, generator)
        if config.flip:
            images = transforms.random_flip(images, generator)
        images = self.normalised(images)
        mixes = [(transforms.mixup, config.mixup), (transforms.cutmix, config.cutmix)]
        mixes = [(mix, alpha) for mix, alpha in mixes if alpha]
        if not mixes:
            return images, labels
        mix, alpha = mixes[int(torch.randint(len(mixes), (), generator=generator))]
        return mix(images, labels, self.classes, alpha, generator)

    def normalised(self, images: Tensor) -> Tensor:
        mean, std = self.preprocessing.mean, self.preprocessing.std
        return transforms.normalise(images, mean, std, channels_last=True)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.record.tick()

    def on_train_epoch_end(self) -> None:
        row = self.row()
        self.log_dict({k: row[k] for k in ("train_loss", "train_accuracy", "lr", "step_ms")})

    def row(self) -> dict[str, Any]:
        """Return the figures of the epoch, by the columns of ``metrics.csv``.

        Raises:
            NotFiniteError: if a loss is infinite or not a number.
        """
        self._require_finite_losses()
        return {
            "epoch": self.current_epoch + 1,
            "step": self.global_step,
            "lr": learning_rate(self.config, self.global_step - 1, self.steps),
            "train_loss": self.record.loss,
            "train_accuracy": self.record.accuracy,
            "val_loss": self.validation.get("val_loss", ""),
            "val_accuracy": self.validation.get("val_accuracy", ""),
            "seconds": self.record.seconds,
            "step_ms": self.record.step_ms,
        }

    # --- validation -------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        self._validation_sums = torch.zeros(3, device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self.module(self.normalised(images))
        loss = F.cross_entropy(logits, labels, reduction="sum")
        hits = (logits.argmax(1) == labels).sum()
        self._validation_sums += torch.stack([loss, hits, torch.full_like(hits, len(labels))])

    def on_validation_epoch_end(self) -> None:
        loss, hits, images = self._validation_sums.tolist()
        if not math.isfinite(loss):
            raise NotFiniteError(f"the validation loss is {loss}", self.global_step - 1)
        self.validation = {"val_loss": loss / images, "val_accuracy": hits / images}
        self.log_dict(self.validation)

    # --- checkpoints ------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._require_finite_losses()
        self._require_finite_weights()
        checkpoint["epoch_record"] = self.record.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.record.load_state_dict(checkpoint["epoch_record"])

    def _require_finite_losses(self) -> None:
        at = self.record.first_not_finite
        if at is not None:
            step = self.current_epoch * self.steps + at
            raise NotFiniteError(f"the loss is {self.record.losses[at].item()}", step)

    def _require_finite_weights(self) -> None:
        """Refuse weights spoilt by the last step of an epoch, which no later loss has shown."""
        finite = [p.isfinite().all() for p in self.parameters()]
        if not torch.stack(finite).all():
            raise NotFiniteError("a weight is not finite", self.global_step - 1)
