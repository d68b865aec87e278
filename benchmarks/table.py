"""Tables from the records, as the documents show them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import record


def newest(table: str) -> tuple[Any, dict[str, Any], str]:
    """Return a table, the environment it was measured in, and the name of its record."""
    for path in sorted(record.RESULTS.glob("*.json"), reverse=True):
        found = json.loads(path.read_text())
        if table in found["tables"]:
            return found["tables"][table], found["environment"], path.name
    raise FileNotFoundError(
        f"no record in {record.RESULTS} has a table {table!r}: `make bench` makes those for a CPU, "
        "`make gpu-evidence` those for a GPU"
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"
