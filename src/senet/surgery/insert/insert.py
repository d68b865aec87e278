"""Put squeeze-and-excitation into a network that was made, and perhaps trained, without."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from senet.graph.report import Report, require_bare
from senet.near import near
from senet.nn import SqueezeExcitation
from senet.surgery.insert.places import Place, Where, find
from senet.surgery.replace import suit
from senet.surgery.with_se import put_se


def insert_se(
    model: nn.Module,
    reduction: int = 16,
    where: Where = "auto",
    start: str = "identity",
    *,
    inplace: bool = True,
) -> Report:
    """Put SE into ``model`` where the paper puts it, by default without changing what it computes.

    SE goes to the end of residual branches, before the addition and before a layer scale; on what
    each dense layer adds; after the concatenation of Inception modules; on the wide map of inverted
    residuals; and into the empty place ``se`` of blocks that keep one, as timm's and ours do. The
    network is read, not run, and what cannot be read is left alone with the reason;
    :mod:`senet.surgery.insert.places` has the rules.

    Nothing is rewritten. A block is put into the empty place, or becomes a child ``se`` of the
    module whose output it rescales, whose class is swapped for one that derives from the old:
    old keys of the state dict stay, new ones are ``<path>.se.fc1.weight`` and so on. Parameters,
    hooks, mode, device and type stay as they are; a hook on such a module sees its rescaled
    output. Anything that makes new modules from old ones (conversion to SyncBatchNorm,
    quantisation, folding of norms) has to be done before.

    An optimizer that was made before does not know the new parameters, and continues to train the
    old ones: add a parameter group, or make a new optimizer.

    Args:
        model: any network. An accelerated one stays accelerated; elsewhere
            :func:`~senet.accelerate` makes the new SE (nearly) free.
        reduction: r of the paper: SE of C channels has C // r in its middle.
        where: ``"auto"``; a name or shell pattern of paths as ``named_modules`` gives them, such as
            ``"layer4.*.bn3"``, or several of them; or a function of path and module that says
            whether the output of that module gets SE.
        start: ``"identity"`` for gates 2σ whose last layer is zero, so that they are exactly 1:
            outputs stay as they were, to the bit where the same kernels run, and training moves the
            gates from there. ``"paper"`` for the usual gates, near 0.5, to train from the
            beginning.
        inplace: change ``model`` itself; otherwise a copy, which is the report's ``model``.

    Returns:
        For every place the channels and the new parameters, or why it was left alone. Blocks that
        have channel attention, of any make, are left alone, so that a second insertion changes
        nothing.

    Raises:
        ValueError: if the network is wrapped for parallel training, or an argument is invalid.

    Example:
        >>> from senet import create_model
        >>> print(insert_se(create_model("resnet8_cifar")))
        inserted SE into ResNet, 791 new parameters: 3 changed, 0 left alone
          layer1.0  place in BasicBlock, 16 channels: SE, 49 parameters
          layer2.0  place in BasicBlock, 32 channels: SE, 162 parameters
          layer3.0  place in BasicBlock, 64 channels: SE, 580 parameters
    """
    require_bare(model)
    if start not in STARTS:
        raise ValueError(
            f"start must be one of {tuple(STARTS)}, got {start!r}.{near(start, STARTS)}"
        )
    if not inplace:
        model = copy.deepcopy(model)
    report, parameters = Report("", model), 0
    for place in find(model, where):
        found = f"{place.found}, {place.channels} channels" if place.channels else place.found
        try:
            se = None if place.why else STARTS[start](place.channels, reduction)
        except ValueError as error:  # a reduction that leaves no channel
            report.add(place.path, found, why=str(error))
            continue
        if se is None:
            report.add(place.path, found, why=place.why)
            continue
        _put(model, place, se)
        new = sum(p.numel() for p in se.parameters())
        report.add(place.path, found, done=f"SE, {new:,} parameters")
        parameters += new
    report.title = f"inserted SE into {type(model).__name__}, {parameters:,} new parameters"
    return report


def _identity(channels: int, reduction: int) -> SqueezeExcitation:
    """Return SE whose gates are 2 σ(0) = 1; its last layer learns first, then both do.

    This needs hidden units that are active, and a feature map at the end of a trained branch is
    rarely like the noise that the usual start is made for: in the CIFAR ResNets of the benchmark 5
    to 30 % of the hidden units were inactive on all images, in some blocks every one. Before a last
    layer of zeros nothing could activate them, so they start well above the corner of the ReLU.
    """
    se = SqueezeExcitation(channels, reduction, gate="scaled_sigmoid")
    assert se.fc1.bias is not None
    nn.init.ones_(se.fc1.bias)
    nn.init.zeros_(se.fc2.weight)
    return se


STARTS: dict[str, Callable[[int, int], SqueezeExcitation]] = {
    "identity": _identity,
    "paper": SqueezeExcitation,
}


def _put(model: nn.Module, place: Place, se: SqueezeExcitation) -> None:
    module = model.get_submodule(place.path)
    suit(se, model, place.path)
    if place.own:
        module.se = se
    else:
        put_se(module, se, place.last)
