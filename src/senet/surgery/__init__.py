"""Operations on anybody's network: faster SE, SE put in, changed, taken out, folded away."""

from senet.surgery.accelerate import accelerate
from senet.surgery.fold import FoldedBlock, FoldReport, fold_gates
from senet.surgery.insert import insert_se
from senet.surgery.replace import remove_se, replace, replace_se
from senet.surgery.report import Finding, Report

__all__ = [
    "Finding",
    "FoldReport",
    "FoldedBlock",
    "Report",
    "accelerate",
    "fold_gates",
    "insert_se",
    "remove_se",
    "replace",
    "replace_se",
]
