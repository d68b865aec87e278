"""Run a network again with other gates, from the first of them on: what came before is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from senet.gates.record import recording
from senet.gates.replacing import replacing


class Rerun:
    """A network that has run on a batch, and runs again with other gates at some blocks.

    The modules that contain blocks and the children of the network keep what they returned. In a
    rerun those that had finished before the first changed block return it again: of a residual
    network, its stem and all units before that of the block.

    Args:
        model: any network with SE, in evaluation mode; its weights must stay as they are.
        blocks: its blocks, by their paths.
        x: the batch.

    Attributes:
        y: what the network returned.
        gates: the gates of every block that the batch ran through, ``[B, C]``.

    Example:
        >>> from senet import create_model
        >>> from senet.gates import blocks_of
        >>> model = create_model("se_resnet8_cifar").eval()
        >>> with torch.no_grad():
        ...     ran = Rerun(model, blocks_of(model), torch.randn(2, 3, 32, 32))
        ...     y = ran.replaced({"layer2.0.se": lambda u: torch.ones(u.shape[:2])})
        >>> y.shape == ran.y.shape
        True
    """

    def __init__(self, model: nn.Module, blocks: Mapping[str, nn.Module], x: Tensor) -> None:
        self.model, self.x = model, x
        kept = {path: model.get_submodule(path) for path in _units(model, blocks)}
        returned: list[tuple[str, Any, int | None]] = []
        self._began: dict[str, int] = {}  # how many modules had returned when a block began
        with recording(model, blocks) as seen, ExitStack() as hooks:
            for path, block in blocks.items():
                hook = _begins(path, self._began, returned)
                hooks.callback(block.register_forward_pre_hook(hook).remove)
            for path, module in kept.items():
                hooks.callback(module.register_forward_hook(_returns(path, returned)).remove)
            self.y = model(x)
        self.gates = {path: one.s for path, one in seen.items()}
        paths = [path for path, _, _ in returned]
        # What a module that ran twice returned, or what was overwritten afterwards, is not what it
        # would return now.
        self._returned = [
            (model.get_submodule(path), y)
            if version is not None and version == _version(y) and paths.count(path) == 1
            else None
            for path, y, version in returned
        ]

    def replaced(self, gates: Mapping[str, Callable[[Tensor], Tensor]]) -> Tensor:
        """Return what the network returns with other gates: see :func:`.replacing`."""
        first = min((self._began.get(path, 0) for path in gates), default=0)
        finished = [one for one in self._returned[:first] if one is not None]
        with replacing(self.model, gates), ExitStack() as stack:
            for module, y in finished:
                stack.enter_context(_returning(module, y))
            return self.model(self.x)


def _units(model: nn.Module, blocks: Mapping[str, nn.Module]) -> list[str]:
    """Return the paths of the modules whose results are worth keeping."""
    within = {path.rsplit(".", n)[0] for path in blocks for n in range(1, path.count(".") + 1)}
    children = {name for name, _ in model.named_children()} - set(blocks)
    return [path for path in within | children if _can_return(model.get_submodule(path))]


def _can_return(module: nn.Module) -> bool:
    """Whether a module can be made to return something: hooks of others would run on it again."""
    return not module._forward_hooks and not isinstance(module, torch.jit.ScriptModule)


def _begins(path: str, began: dict[str, int], returned: list[Any]) -> Callable[..., None]:
    def hook(block: nn.Module, args: Any) -> None:
        began.setdefault(path, len(returned))

    return hook


def _returns(path: str, returned: list[Any]) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, y: Any) -> None:
        returned.append((path, y, _version(y)))

    return hook


def _version(y: Any) -> int | None:
    """Return how often a tensor has been overwritten; ``None`` where nobody counts that."""
    return y._version if isinstance(y, Tensor) and not y.is_inference() else None


@contextmanager
def _returning(module: nn.Module, y: Tensor) -> Iterator[None]:
    """Have a module return ``y`` within the context, whatever it is given."""
    before = vars(module).get("forward")
    module.forward = lambda *args, **kwargs: y
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before
