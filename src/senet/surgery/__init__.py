"""Operations that change anybody's network: SE put in, exchanged, taken out, folded away."""

from senet.graph.report import Finding, Report
from senet.surgery.fold.fold import FoldedBlock, FoldReport, fold_gates
from senet.surgery.insert.insert import insert_se
from senet.surgery.replace import remove_se, replace, replace_se

__all__ = [
    "Finding",
    "FoldReport",
    "FoldedBlock",
    "Report",
    "fold_gates",
    "insert_se",
    "remove_se",
    "replace",
    "replace_se",
]
