"""The report of an operation on a network: what it found, changed, and left alone and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True)
class Finding:
    """One place in a network.

    Attributes:
        path: the path of the module in ``named_modules``; empty for the network itself.
        found: what was found there.
        done: what was done with it; empty if it was left alone.
        why: the reason for leaving it alone; empty if something was done.
    """

    path: str
    found: str
    done: str = ""
    why: str = ""


@dataclass
class Report:
    """The findings of one operation, in the order of the network; ``str`` formats them.

    Attributes:
        title: what was done to which network.
        model: the network that was operated on.
        findings: one per place.
    """

    title: str
    model: nn.Module
    findings: list[Finding] = field(default_factory=list)

    def add(self, path: str, found: str, *, done: str = "", why: str = "") -> None:
        self.findings.append(Finding(path, found, done, why))

    @property
    def changed(self) -> list[Finding]:
        return [f for f in self.findings if f.done]

    @property
    def left_alone(self) -> list[Finding]:
        return [f for f in self.findings if not f.done]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.title}: {len(self.changed)} changed, {len(self.left_alone)} left alone"
        wide = max((len(f.path) for f in self.findings), default=0)
        for f in self.findings:
            outcome = f.done if f.done else f"left alone: {f.why}"
            yield f"  {f.path or '(the network)':{wide}}  {f.found}: {outcome}"


def require_bare(model: nn.Module) -> None:
    """Check that a network is not wrapped for parallel training.

    Raises:
        ValueError: if it is; the message names the wrapper and the remedy.
    """
    for path, module in model.named_modules():
        wrapper = type(module).__name__
        distributed = type(module).__module__.startswith("torch.distributed.fsdp")
        if wrapper in ("DataParallel", "DistributedDataParallel") or distributed:
            where = f" at {path}" if path else ""
            raise ValueError(
                f"the network is wrapped in {wrapper}{where}: operate on the network itself first, "
                f"then wrap it (`model.module` is the network inside)"
            )
