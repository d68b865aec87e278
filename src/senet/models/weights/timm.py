"""timm's names of networks, and the ``config.json`` beside its weights on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from senet.models.architecture import Architecture
from senet.models.registry import entry
from senet.models.weights.record import Record
from senet.preprocessing import INTERPOLATIONS, Preprocessing

_CAFFE = {"stem_pool": "ceil"}  # ported from the authors' Caffe networks
_CAFFE_BASIC = {"stem_pool": "ceil", "branch_relu": True}
_CAFFE_RESNET = {"stem_pool": "ceil", "stride_on": "1x1"}
_TENSORFLOW = {"padding": "same", "eps": 1e-3}  # ported from TensorFlow

# timm's name: our name, and the options that make it the same network.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
    **{name: (name, {}) for name in ("resnext50_32x4d", "resnext101_32x4d")},
    "resnext101_32x8d": ("resnext101_32x4d", {"width_per_group": 8}),
    "resnext101_64x4d": ("resnext101_32x4d", {"groups": 64}),
    "wide_resnet50_2": ("resnet50", {"width_per_group": 128}),
    "wide_resnet101_2": ("resnet101", {"width_per_group": 128}),
    # timm's gates have a multiple of eight channels inside, even where a sixteenth is less.
    **{f"seresnet{n}": (f"se_resnet{n}", {"reduction": (8, 16, 16, 16)}) for n in (18, 34)},
    **{f"seresnet{n}": (f"se_resnet{n}", {}) for n in (50, 101, 152)},
    **{f"seresnext{n}_32x4d": (f"se_resnext{n}_32x4d", {}) for n in (50, 101)},
    "seresnext101_32x8d": ("se_resnext101_32x4d", {"width_per_group": 8}),
    "seresnext101_64x4d": ("se_resnext101_32x4d", {"groups": 64}),
    "senet154": ("senet154", {"stem_pool": "padded"}),
    **{f"legacy_seresnet{n}": (f"se_resnet{n}", _CAFFE_BASIC) for n in (18, 34)},
    **{f"legacy_seresnet{n}": (f"se_resnet{n}", _CAFFE_RESNET) for n in (50, 101, 152)},
    "legacy_seresnext26_32x4d": ("se_resnext50_32x4d", {**_CAFFE, "layers": (2, 2, 2, 2)}),
    **{f"legacy_seresnext{n}_32x4d": (f"se_resnext{n}_32x4d", _CAFFE) for n in (50, 101)},
    "legacy_senet154": ("senet154", {}),
    "densenet121": ("densenet121", {}),
    "vgg16_bn": ("vgg16_bn", {}),
    "mobilenetv1_100": ("mobilenet", {"activation": "relu6"}),
    **{f"mobilenetv3_{size}_100": (f"mobilenet_v3_{size}", {}) for size in ("small", "large")},
    **{
        f"tf_mobilenetv3_{size}_100": (f"mobilenet_v3_{size}", _TENSORFLOW)
        for size in ("small", "large")
    },
    "efficientnet_b0": ("efficientnet_b0", {}),
    "tf_efficientnet_b0": ("efficientnet_b0", _TENSORFLOW),
    **{name: (name, {}) for name in ("regnety_016", "inception_v3", "inception_resnet_v2")},
}


# Of what was ported from TensorFlow; the rest has ImageNet's mean and deviation.
_CENTRED = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def named_timm(name: str, num_classes: int) -> Record | None:
    """Return the record of weights whose file only names timm's network; ``None`` if unknown here.

    Example:
        >>> named_timm("tf_mobilenetv3_small_100", 1000).preprocessing.mean
        (0.5, 0.5, 0.5)
    """
    name = name.removeprefix("timm").strip(" :/").partition(".")[0]
    if name not in NETWORKS:
        return None
    ours, options = NETWORKS[name]
    preprocessing = entry(ours).preprocessing
    if name.startswith("tf_"):
        preprocessing = replace(preprocessing, **_CENTRED)
    return Record(Architecture(ours, num_classes, preprocessing.channels, options), preprocessing)


def read_timm(config: Mapping[str, Any]) -> Record | None:
    """Return the record that a ``config.json`` of timm holds; ``None`` for any other file.

    Args:
        config: content of the file, in timm's present form or its first, which was flat.

    Returns:
        The record. Its architecture has timm's own name where we do not have the network.

    Raises:
        ValueError: if the network takes images that are not square, or that are resized in a
            way that we do not have.

    Example:
        >>> record = read_timm({
        ...     "architecture": "seresnet50",
        ...     "num_classes": 1000,
        ...     "pretrained_cfg": {
        ...         "input_size": [3, 224, 224], "crop_pct": 0.95, "interpolation": "bicubic",
        ...         "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        ...     },
        ... })
        >>> record.architecture.name, record.preprocessing.crop
        ('se_resnet50', 0.95)
    """
    name = config.get("architecture")
    given = config.get("pretrained_cfg", config)
    if not isinstance(name, str) or "mean" not in given:
        return None
    channels, height, width = given.get("input_size", (3, 224, 224))
    if height != width:
        raise ValueError(f"{name} takes images of {height}×{width}; senet's are square")
    interpolation = given.get("interpolation", "bicubic")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"{name} resizes its images by {interpolation!r}; senet has {INTERPOLATIONS}"
        )
    classes = config.get("num_classes", given.get("num_classes", 1000))
    names = config.get("label_names") or given.get("label_names") or ()
    if isinstance(names, Mapping):  # by their numbers, as text
        names = [names[number] for number in sorted(names, key=int)]
    ours, options = NETWORKS.get(name, (name, {}))
    return Record(
        Architecture(ours, classes, channels, options),
        Preprocessing(
            height, given["mean"], given["std"], given.get("crop_pct", 0.875), interpolation
        ),
        tuple(names) if len(names) == classes else (),
    )
