"""The report of `accelerate`: what it found, what it changed, and what it left alone and why."""

from __future__ import annotations

from torch import nn

from senet.graph.report import Finding, Report


class Acceleration(Report):
    """The report of an accelerated network, which grows as the network is used.

    A network is captured when it is called, and again for another mode or kind of input and after
    an edit. The report of a graph is that of the capture with the most tails on the passes.

    Attributes:
        captures: the number of captures so far.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__("", model)
        self.captures = 0
        self._best: dict[tuple[int, str], list[Finding]] = {}
        self._entitle("its tails are found when it is called")

    @property
    def graphs(self) -> int:
        """The number of graphs: more than one if TorchDynamo cannot capture the network whole."""
        return len(self._best)

    def add_capture(self, code: int, findings: list[Finding]) -> None:
        """Add the tails of a capture of a code object, which several modules may share."""
        self.captures += 1
        graph = code, findings[0].path if findings else ""
        if _done(findings) >= _done(self._best.get(graph, [])):
            self._best[graph] = findings
        self.findings = [finding for best in self._best.values() for finding in best]
        self._entitle(f"{self.graphs} graph" + "s" * (self.graphs > 1))

    def stays_plain(self, why: str) -> None:
        """Note that the network is not captured at all."""
        self._entitle(f"it stays plain PyTorch: {why}")

    def _entitle(self, what: str) -> None:
        self.title = f"accelerated {type(self.model).__name__}, {what}"


def _done(findings: list[Finding]) -> int:
    return sum(bool(finding.done) for finding in findings)
