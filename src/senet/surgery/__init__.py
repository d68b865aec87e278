"""Operations on anybody's network: faster SE, SE put in, SE folded away."""

from senet.surgery.accelerate import accelerate
from senet.surgery.fold import FoldedBlock, FoldReport, fold_gates
from senet.surgery.report import Finding, Report

__all__ = ["Finding", "FoldReport", "FoldedBlock", "Report", "accelerate", "fold_gates"]
