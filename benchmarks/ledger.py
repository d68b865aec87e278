"""A record that grows row by row: whatever ends a benchmark, its measurements are kept."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import record

Row = dict[str, Any]


class Ledger:
    """The rows of one table: those already in its record, and those to come.

    A key identifies a row. A row that was begun and never finished, because the machine was taken
    away or the program killed, stays marked as begun and is not retried by itself: otherwise work
    that is too long for the machine would be begun forever.

    Args:
        folder: the folder of the records.
        table: name of the table. The record is ``<date>-<device>-<table>.json``.
        environment: what the record says about where it was made; its date is the record's. A
            record that other code made on the same day is replaced, not extended.
        device: the device in the name of the record.
        earlier: take over the rows of all records of this table, of any day and device.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> ledger = Ledger(folder, "gpu-passes", {"date": "2026-01-02"}, "h100")
        >>> ledger.measure({"shape": "8"}, lambda: {"ms": 1.5})
        {'shape': '8', 'ms': 1.5}
        >>> again = Ledger(folder, "gpu-passes", ledger.environment, "h100")
        >>> again.path.name, {"shape": "8"} in again
        ('2026-01-02-h100-gpu-passes.json', True)
    """

    def __init__(
        self,
        folder: Path,
        table: str,
        environment: dict[str, Any],
        device: str,
        earlier: bool = False,
    ) -> None:
        self.table, self.environment = table, environment
        self.path = folder / f"{environment['date']}-{device}-{table}.json"
        self.rows: list[Row] = []
        for path in sorted(folder.glob(f"*-{table}.json")):
            found = json.loads(path.read_text())
            same = path == self.path and found["environment"].get("code") == environment.get("code")
            if earlier or same:
                rows = found["tables"][table]
                self.rows += [row for row in rows if row not in self.rows]

    def __contains__(self, key: Row) -> bool:
        return self.find(key) is not None

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def find(self, key: Row) -> Row | None:
        """Return the row of a key, or ``None``."""
        return next((row for row in self.rows if _is(row, key)), None)

    def put(self, row: Row, key: Row) -> None:
        """Write a row, replacing any row with its key."""
        self.rows = [r for r in self.rows if not _is(r, key)] + [row]
        self.write()

    def measure(self, key: Row, what: Callable[[], Row]) -> Row:
        """Measure a row and write it; meanwhile it is marked as begun.

        Running out of memory, or failing, is a result too: the row says so, unless the device
        itself is unusable afterwards.
        """
        self.put({**key, "begun": True}, key)
        row = {**key, **_outcome(what)}
        self.put(row, key)
        return row

    def forget_begun(self) -> None:
        """Allow rows that were begun and never finished to be retried."""
        self.rows = [row for row in self.rows if "begun" not in row]

    def write(self) -> None:
        record.keep(self.path, {self.table: self.rows}, self.environment)


def _outcome(what: Callable[[], Row]) -> Row:
    try:
        return what()
    except torch.OutOfMemoryError:
        found: Row = {"out_of_memory": True}
    except Exception as error:  # compilers raise anything
        said = next(iter(str(error).splitlines()), "")
        found = {"failed": f"{type(error).__name__}: {said}"}
    gc.collect()  # nothing out here refers to what the attempt made
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    return found


def _is(row: Row, key: Row) -> bool:
    missing: Hashable = object()
    return all(row.get(name, missing) == value for name, value in key.items())
