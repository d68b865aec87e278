"""Put other modules in the place of those that a network has: the primitive of such surgery.

Blocks are taken out of a network, or exchanged for others, in one walk over its modules. A function
of yours decides what to put where; the rest is done here, for modules that are used at several
places, watched by hooks, of another type, or on another device.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from senet.gates.find import is_attention
from senet.graph.report import Report, require_bare
from senet.graph.trace import UntraceableError
from senet.graph.words import taken_by
from senet.near import near
from senet.nn import BLOCKS
from senet.surgery.reading import Reading, hosting, joined, read
from senet.surgery.with_se import WithSE, take_se

Make = Callable[[str, nn.Module], nn.Module | None]


def replace(model: nn.Module, make: Make, *, inplace: bool = True) -> Report:
    """Put another module wherever ``make`` returns one.

    The network is walked from the outside in, and not into what was replaced. The new module gets
    the device, type and mode of the old one. A module that is used at several places is replaced at
    all of them by the same new one. A watched module is left alone: its hooks would be lost. All
    other modules, and their parameters, stay the same objects; an optimizer must be told about the
    new ones.

    Args:
        model: any network. An accelerated one stays accelerated.
        make: a function of a module's path, as in ``named_modules``, and the module, which returns
            what to put in its place, or ``None`` to keep it. If it raises a ``ValueError``, the
            module is kept, and the message is the reason in the report.
        inplace: change ``model`` itself; otherwise a copy, which is the report's ``model``.

    Returns:
        What was replaced, and what was left alone and why.

    Raises:
        ValueError: if the network is wrapped for parallel training, or ``make`` would replace the
            network itself.

    Example:
        >>> from senet import create_model
        >>> def smooth(path, module):
        ...     return nn.SiLU() if isinstance(module, nn.ReLU) else None
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> print(replace(model, smooth))
        replaced modules of Sequential: 1 changed, 0 left alone
          1  ReLU: SiLU
    """
    require_bare(model)
    if not inplace:
        model = copy.deepcopy(model)
    report = Report(f"replaced modules of {type(model).__name__}", model)
    if make("", model) is not None:
        raise ValueError(
            f"{type(model).__name__} is the network itself, and cannot be replaced within itself: "
            f"use the new module instead"
        )
    _Replacer(model, make, report).visit("", model)
    return report


class _Replacer:
    """One walk over a network."""

    def __init__(self, model: nn.Module, make: Make, report: Report) -> None:
        self.model, self.make, self.report = model, make, report
        self.made: dict[nn.Module, nn.Module | None] = {}

    def visit(self, path: str, module: nn.Module) -> None:
        for name, child in list(module._modules.items()):  # named_children skips what it has seen
            if child is None:
                continue
            at = joined(path, name)
            if child not in self.made:
                self.made[child] = self.instead(at, child)
                if self.made[child] is None:
                    self.visit(at, child)
            if self.made[child] is not None:
                setattr(module, name, self.made[child])

    def instead(self, path: str, module: nn.Module) -> nn.Module | None:
        """Return what to put in the place of ``module``, ready for it, or ``None``."""
        found = type(module).__name__
        try:
            new = self.make(path, module)
        except ValueError as error:
            self.report.add(path, found, why=str(error))
            return None
        if new is None or new is module:
            return None
        if _is_hooked(module):
            self.report.add(path, found, why="it is watched: remove its hooks first")
            return None
        suit(new, self.model, path)
        self.report.add(path, found, done=type(new).__name__)
        return new


def suit(new: nn.Module, model: nn.Module, path: str) -> None:
    """Bring ``new`` to the device, type and mode of what is at ``path``, or else around it.

    The type is that of matrices and convolutions: norms may have a wider one than feature maps.
    """
    new.train(model.get_submodule(path).training)
    while True:
        around = model.get_submodule(path).parameters()
        weight = next((p for p in around if p.dim() > 1 and p.is_floating_point()), None)
        if weight is not None:
            new.to(weight.device, weight.dtype)
            return
        if not path:
            return
        path = path.rpartition(".")[0]


def remove_se(model: nn.Module, *, inplace: bool = True) -> Report:
    """Take all channel attention out of ``model``: SE of any make, and its successors.

    What :func:`~senet.surgery.insert_se` put in leaves no trace. Elsewhere its place holds ``None``
    if the block around it checks whether it has SE, as timm's and ours do, and otherwise a module
    that does nothing. The network then computes something else: train it further. To take out
    blocks that do hardly anything, and keep what the network computes, see
    :func:`~senet.surgery.fold_gates`.

    Args:
        model: any network, changed in place unless ``inplace`` is false.
        inplace: change ``model`` itself; otherwise a copy, which is the report's ``model``.

    Raises:
        ValueError: if the network is wrapped for parallel training.

    Example:
        >>> from senet import create_model
        >>> report = remove_se(create_model("se_resnet8_cifar"))
        >>> len(report.changed), report.model.layer1[0].se is None
        (3, True)
    """
    report = replace(model, _nothing, inplace=inplace)
    for finding in report.changed:
        _close(report.model.get_submodule(finding.path.rpartition(".")[0]))
    report.title = f"removed SE from {type(model).__name__}"
    return report


def _is_hooked(module: nn.Module) -> bool:
    """Return whether ``module`` or one within it has hooks of its own."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(m, kind) for m in module.modules() for kind in kinds)


def _nothing(path: str, module: nn.Module) -> nn.Module | None:
    return nn.Identity() if is_attention(module) else None


def _close(block: nn.Module) -> None:
    """Remove a module ``se`` that does nothing from ``block``, if the block can do without it."""
    if type(getattr(block, "se", None)) is not nn.Identity:
        return
    if isinstance(block, WithSE):
        take_se(block)
        return
    try:
        read(hosting(block, None))
    except UntraceableError:
        return
    block.se = None  # type: ignore[assignment]


def replace_se(
    model: nn.Module,
    by: str | Callable[[int], nn.Module] = "eca",
    *,
    inplace: bool = True,
    **options: Any,
) -> Report:
    """Put another kind of channel attention in the place of what ``model`` has.

    Args:
        model: any network, changed in place unless ``inplace`` is false.
        by: ``"se"``, ``"eca"``, ``"ese"``, ``"scse"`` or ``"ge"``; or a function that makes a block
            for a number of channels.
        inplace: change ``model`` itself; otherwise a copy, which is the report's ``model``.
        options: options of the blocks, such as ``reduction``.

    Returns:
        What was replaced. The new blocks are not trained.

    Raises:
        ValueError: if the network is wrapped for parallel training, or there is no such kind.

    Example:
        >>> from senet import create_model
        >>> print(replace_se(create_model("se_resnet8_cifar"), by="eca"))
        replaced SE of ResNet: 3 changed, 0 left alone
          layer1.0.se  SqueezeExcitation: EfficientChannelAttention
          layer2.0.se  SqueezeExcitation: EfficientChannelAttention
          layer3.0.se  SqueezeExcitation: EfficientChannelAttention
    """
    require_bare(model)
    if isinstance(by, str) and by not in BLOCKS:
        raise ValueError(f"no attention {by!r}.{near(by, BLOCKS)} There are: {', '.join(BLOCKS)}.")
    make = BLOCKS[by] if isinstance(by, str) else by
    if not inplace:
        model = copy.deepcopy(model)

    def instead(path: str, module: nn.Module) -> nn.Module | None:
        return make(_channels(reading, path), **options) if path in reading.attention else None

    reading = Reading(model)
    report = replace(model, instead)
    report.title = f"replaced SE of {type(model).__name__}"
    return report


def _channels(reading: Reading, path: str) -> int:
    """Return the channels of the block at ``path``, from its first layer or what is around it."""
    for layer in reading.attention[path].modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            return taken_by(layer)
    owner = path.rpartition(".")[0]
    inside = isinstance(reading.modules[owner], WithSE)
    channels = reading.channels(owner if inside else path)
    if channels is None:
        raise ValueError("the number of its channels is not known")
    return channels
