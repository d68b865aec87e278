"""Everything that determines a training, in one frozen record that is checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from senet.near import near
from senet.preprocessing import require_asked

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step", "onecycle")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
NORMS = ("auto", "frozen", "train")
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training, completely: the same configuration gives the same run.

    Attributes:
        model: a network of ``senet models``.
        options: options of the network, as ``create_model`` takes them.
        data: the bundled data set, a folder of class folders, or a data set of the hub.
        limit: the most images of each split, as many of each class; ``None`` for all.
        size: side in pixels of the network's input; ``None`` for what suits the data or the
            weights (photos: 224).
        crop: share of the resized shorter side that validation and test see, in the middle;
            ``None`` for what suits the data or the weights.
        epochs: passes over the training images; with ``weights`` possibly 0, for the probe alone.
        batch_size: images per step. The last, smaller batch of an epoch is left out; with
            fewer images than this, they all make one batch.
        optimizer: ``"sgd"`` (with Nesterov momentum) or ``"adamw"``.
        lr: the highest learning rate of the schedule.
        momentum: momentum of SGD; AdamW keeps its default betas.
        weight_decay: applied to every parameter, norms and biases too, as the paper does.
        schedule: ``"cosine"``, ``"step"`` or ``"onecycle"``; see ``learning_rate``.
        milestones: epochs at which ``"step"`` multiplies the learning rate by ``gamma``.
        gamma: see ``milestones``.
        warmup: epochs, possibly fractional, over which the learning rate first rises linearly.
        label_smoothing: share of the target that is spread over all classes.
        crop_padding: random crops of the image padded by this many pixels; 0 for none.
        crop_scale: random crops of an area between this share and all of the image, and of an
            aspect ratio between 3:4 and 4:3, resized to the network's input; 1 for none.
        flip: mirror half of the images, left to right.
        mixup: α of MixUp (arXiv 1710.09412), 0 for none.
        cutmix: α of CutMix (arXiv 1905.04899), 0 for none. With both, each batch takes one.
        ema: decay of the moving average of the weights that is evaluated and kept, 0 for none.
        precision: ``"32"``, ``"bf16-mixed"`` or, on a GPU, ``"16-mixed"``.
        seed: seed of the initial weights, the order of the images, and their augmentation.
        workers: processes that decode images; ``None`` for a suitable number.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``; a training uses one device.
        weights: weights to fine-tune: a file, a published set, a URL or a repository of the Hugging
            Face hub, as ``find_weights`` takes them. Rows of their classifier go to the classes of
            the same name; other classes get new rows.
        preprocessing: how the images of these weights are taken, where their file does not say it:
            ``"mean=…,std=…,size=…"`` or ``"timm:NAME"``; ``None`` for what it says, or a guess.
        balance: whether images of rare classes count more in the loss, so that each class counts
            the same.
        probe: with weights, whether to begin with the linear classifier that suits the features of
            their network best, and to keep it if the training ends below it on validation.
        views: how often the probe sees each training image: whole, then in random crops.
        norms: with weights, whether batch norms keep their statistics, ``"frozen"``, or follow the
            batches, ``"train"``; ``"auto"`` decides as :func:`senet.training.norms.frozen` says.
        stage_decay: learning rate of each stage as a share of that of the stage after it; the
            classifier has ``lr``.
        freeze: parts of the network that are not trained: names of modules, or patterns of them.
        shrink: for photos on a slow disk, keep copies whose shorter side has so many pixels in the
            cache, and read those; ``None`` to read the photos. Random crops of little area need
            copies larger than the network's input.
        accelerate: whether the network runs its tails on the fast passes, see
            :func:`senet.accelerate`: the same results up to rounding, in less time.

    Raises:
        ValueError: if a value is out of range; the message names the field, its value and its
            range.

    Example:
        >>> config = TrainConfig(model="se_resnet20_cifar", epochs=3)
        >>> TrainConfig.from_dict(config.to_dict()) == config
        True
        >>> TrainConfig(momentum=1.5)
        Traceback (most recent call last):
        ValueError: momentum must be a number in [0, 1), got 1.5
    """

    model: str = "se_resnet20_cifar"
    options: Mapping[str, Any] = field(default_factory=dict)
    data: str = "fashion-mnist"
    limit: int | None = None
    size: int | None = None
    crop: float | None = None
    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup: float = 0.0
    label_smoothing: float = 0.0
    crop_padding: int = 0
    crop_scale: float = 1.0
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    precision: str = "32"
    seed: int = 0
    workers: int | None = None
    device: str = "auto"
    weights: str | None = None
    preprocessing: str | None = None
    balance: bool = False
    probe: bool = True
    views: int = 1
    norms: str = "auto"
    stage_decay: float = 1.0
    freeze: tuple[str, ...] = ()
    shrink: int | None = None
    accelerate: bool = True

    def __post_init__(self) -> None:
        # JSON returns lists; tuples throughout keep configurations comparable.
        object.__setattr__(self, "options", {k: _tuples(v) for k, v in self.options.items()})
        object.__setattr__(self, "milestones", tuple(self.milestones))
        object.__setattr__(self, "freeze", tuple(map(str, self.freeze)))
        for name, (kind, low, high, span) in _RANGES.items():
            _check_number(name, getattr(self, name), kind, low, high, span)
        for name, known in _CHOICES.items():
            _check_choice(name, getattr(self, name), known)
        if self.crop is not None:
            _check_number("crop", self.crop, float, 0, 1, "(]")
        for name, least in ("limit", 1), ("size", 1), ("shrink", 1), ("workers", 0):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), int, least, _INF, "[)")
        for name in ("flip", "balance", "probe", "accelerate"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        self._check_together()

    def _check_together(self) -> None:
        """Check what depends on more than one field."""
        if self.preprocessing is not None:
            if self.weights is None:
                raise ValueError(
                    "preprocessing says how the images of weights are taken: name weights, or "
                    "leave it out"
                )
            require_asked(self.preprocessing)
        if not self.epochs and not (self.weights and self.probe):
            raise ValueError(
                "epochs=0 leaves nothing to do but the probe of weights: name weights, or train at "
                "least one epoch"
            )
        if self.epochs and self.warmup >= self.epochs:
            raise ValueError(
                f"warmup must be shorter than the training: warmup={self.warmup}, "
                f"epochs={self.epochs}"
            )
        inside = all(isinstance(m, int) and m > 0 for m in self.milestones)
        if not inside or sorted(set(self.milestones)) != list(self.milestones):
            raise ValueError(f"milestones must be rising epochs from 1, got {self.milestones}")
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError(
                "milestones are the epochs of schedule='step' and of no other: "
                f"schedule={self.schedule!r}, milestones={self.milestones}"
            )
        if self.crop_padding and self.crop_scale < 1:
            raise ValueError(
                "crop_padding and crop_scale are two kinds of random crop: choose one, got "
                f"crop_padding={self.crop_padding}, crop_scale={self.crop_scale}"
            )
        if self.precision == "16-mixed" and self.device == "cpu":
            raise ValueError(
                "precision='16-mixed' needs a GPU, got device='cpu': take 'bf16-mixed'"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as a dict that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Return the configuration that :meth:`to_dict` turned into a dict.

        Raises:
            ValueError: for an unknown field, with similar names, or a value out of range.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"a training has no field {name!r}.{near(name, known)}")
        return cls(**values)

    def differences(self, other: TrainConfig) -> list[str]:
        """Return the fields in which two trainings differ, as ``lr: 0.1, not 0.2``.

        The device, acceleration and the number of decoding processes do not count: a run may be
        resumed elsewhere.

        Example:
            >>> TrainConfig(lr=0.1).differences(TrainConfig(lr=0.2, device="cpu"))
            ['lr: 0.1, not 0.2']
        """
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{name}: {mine[name]!r}, not {theirs[name]!r}"
            for name in mine
            if name not in ("accelerate", "device", "workers") and mine[name] != theirs[name]
        ]


_INF = math.inf
# field: type, least and greatest value, and whether these belong to the range.
_RANGES: dict[str, tuple[type, float, float, str]] = {
    "epochs": (int, 0, _INF, "[)"),
    "batch_size": (int, 1, _INF, "[)"),
    "lr": (float, 0, _INF, "()"),
    "momentum": (float, 0, 1, "[)"),
    "weight_decay": (float, 0, _INF, "[)"),
    "gamma": (float, 0, 1, "()"),
    "warmup": (float, 0, _INF, "[)"),
    "label_smoothing": (float, 0, 1, "[)"),
    "crop_padding": (int, 0, _INF, "[)"),
    "crop_scale": (float, 0, 1, "(]"),
    "mixup": (float, 0, _INF, "[)"),
    "cutmix": (float, 0, _INF, "[)"),
    "ema": (float, 0, 1, "[)"),
    "views": (int, 1, _INF, "[)"),
    "stage_decay": (float, 0, 1, "(]"),
    "seed": (int, 0, 2**31, "[)"),
}
_CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "device": DEVICES,
    "norms": NORMS,
}


def _check_number(name: str, value: object, kind: type, low: float, high: float, span: str) -> None:
    what = "a whole number" if kind is int else "a number"
    allowed = int if kind is int else (int, float)
    right = isinstance(value, allowed) and not isinstance(value, bool)
    if right:
        assert isinstance(value, (int, float))
        above = low <= value if span[0] == "[" else low < value
        below = value <= high if span[1] == "]" else value < high
        right = above and below
    if not right:
        bounds = f"in {span[0]}{low}, {high}{span[1]}"
        if high == _INF:
            bounds = f"of at least {low}" if span[0] == "[" else f"greater than {low}"
        raise ValueError(f"{name} must be {what} {bounds}, got {value!r}")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {known}, got {value!r}.{near(str(value), known)}")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
