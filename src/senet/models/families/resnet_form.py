"""The form of a residual network, read from the names and shapes of a state dict.

Shapes show the stem, the shortcuts, and the reduction and biases of SE. They do not show a stride
or a pooling: here the project tells, which is known by its names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from senet.models.form import Form

_LAYER0 = re.compile(r"(^|\.)layer0\.")
_SE_MODULE = re.compile(r"\.se_module\.")
_SE = re.compile(r"layer(\d+)\.\d+\.se\.fc1\.weight$")
_SHORTCUT = re.compile(r"layer\d+\.0\.downsample\.1\.weight$")


def form_of(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Form:
    """Return the form of the residual network with this state dict.

    Args:
        ours: the state dict under our names.
        theirs: the same under the names of its project.

    Raises:
        ValueError: if it belongs to a residual network of a form that we do not have.
    """
    if "layer1.0.conv1.weight" not in ours or "conv1.weight" not in ours:
        return Form()
    if any(_SHORTCUT.match(name) and value.dim() == 4 for name, value in ours.items()):
        raise ValueError(
            "its shortcuts average before they project (a ResNet-D), and those of senet's networks "
            "do not"
        )
    basic = "layer1.0.conv3.weight" not in ours
    options = {**_stem(ours), **_shortcut(ours), **_norm(ours), **_se(ours)}
    unclear: dict[str, tuple[Any, ...]] = {}
    if any(_LAYER0.search(name) for name in theirs):
        options |= _of_caffe(ours, basic)
    elif any(_SE_MODULE.search(name) for name in theirs):
        # The blocks are named as in the ports of Caffe networks, the stem as in torchvision.
        if options["stem"] != "cifar":  # which does not pool
            unclear["stem_pool"] = ("padded", "ceil")
        if basic:
            unclear["branch_relu"] = (False, True)
        elif not _grouped(ours):
            unclear["stride_on"] = ("3x3", "1x1")
    return Form(options, ours["conv1.weight"].shape[1], unclear)


def _of_caffe(ours: Mapping[str, Tensor], basic: bool) -> dict[str, Any]:
    """Return the options of the ports of the authors' Caffe networks, Cadene's and timm's.

    Only the SE-ResNets, whose 3×3 convolutions have no groups, have the stride on the first 1×1.
    Networks of basic blocks exist in timm alone, which ends their branches with a ReLU.
    """
    if basic:
        return {"stem_pool": "ceil", "branch_relu": True}
    return {"stem_pool": "ceil", "stride_on": "3x3" if _grouped(ours) else "1x1"}


def _grouped(ours: Mapping[str, Tensor]) -> bool:
    outputs, inputs = ours["layer1.0.conv2.weight"].shape[:2]
    return outputs != inputs


def _stem(ours: Mapping[str, Tensor]) -> dict[str, Any]:
    if "conv3.weight" in ours:
        return {"stem": "deep"}
    return {"stem": "cifar" if ours["conv1.weight"].shape[-1] == 3 else "imagenet"}


def _shortcut(ours: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the kind of shortcut where the map is halved; nothing where nothing is halved."""
    if "layer2.0.conv1.weight" not in ours:
        return {}
    names = ("layer2.0.downsample.0.weight", "layer2.0.downsample.weight")  # pre-activation: bare
    conv = next((ours[name] for name in names if name in ours), None)
    if conv is None:
        return {"shortcut": "pad"}
    return {"shortcut": "projection3x3" if conv.shape[-1] == 3 else "projection"}


def _norm(ours: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the kind of norms; those that are frozen look like others."""
    if "layer1.0.bn1.weight" not in ours:
        return {"norm_layer": "none"}
    return {"norm_layer": "batch" if "layer1.0.bn1.running_var" in ours else "group"}


def _se(ours: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the reduction and the biases of the SE blocks; nothing where there are none."""
    layers = {name: value for name, value in ours.items() if _SE.match(name)}
    if not layers:
        return {}
    biases = {name.replace("weight", "bias") in ours for name in layers}
    if len(biases) > 1:
        raise ValueError("some of its SE blocks have biases, and others do not")
    shapes: dict[int, set[tuple[int, int]]] = {}
    for name, value in layers.items():
        found = _SE.match(name)
        assert found is not None
        shapes.setdefault(int(found[1]), set()).add((value.shape[1], value.shape[0]))
    return {"reduction": _reduction(shapes), "se_bias": biases.pop()}


def _reduction(shapes: Mapping[int, set[tuple[int, int]]]) -> int | tuple[int, ...]:
    """Return r of all stages, or one r for each, from the C and R = C // r of their SE blocks."""
    everywhere = set().union(*shapes.values())
    if r := _common(everywhere):
        return r
    each = {stage: _common(seen) for stage, seen in shapes.items()}
    for stage, r in each.items():
        if r is None:
            blocks = ", ".join(f"{inner} of {outer}" for outer, inner in sorted(shapes[stage]))
            raise ValueError(
                f"the SE blocks of layer{stage} have {blocks} channels inside, which no whole "
                "reduction gives"
            )
    return tuple(each.get(stage) or 16 for stage in range(1, max(each) + 1))


def _common(shapes: set[tuple[int, int]]) -> int | None:
    """Return the largest r with C // r = R for all of these (C, R), or ``None``."""
    r = min(outer // inner for outer, inner in shapes)
    return r if r and all(outer // r == inner for outer, inner in shapes) else None
