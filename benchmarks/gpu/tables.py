"""The tables of docs/results.md, from the newest records of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.evidence.summary import twins
from benchmarks.evidence.tables import pairs
from benchmarks.gpu import passes as passes_
from benchmarks.ledger import Row
from benchmarks.table import markdown, newest

PICTURE = Path(__file__).parent.parent.parent / "docs" / "results.svg"


def tests() -> str:
    rows, environment, name = newest("gpu-tests")
    counts = ("passed", "failed", "skipped")
    body = [(row["tests"], *(row.get(count, 0) for count in counts)) for row in rows]
    head = ("tests", *counts)
    return markdown(head, body) + source(environment, name)


def passes() -> str:
    rows, environment, name = newest("gpu-passes")
    forms = [form for form in passes_.MAPS if form != "copy"]
    body = []
    for row in rows:
        rates = row.get("GB/s")
        if rates is None:
            body.append((row["shape"], row["type"], _why(row), *("—" for _ in (1, *forms))))
            continue
        whole = rates["large copy"]
        shares = (f"{rates[form]:.0f} ({100 * rates[form] / whole:.0f} %)" for form in forms)
        body.append((row["shape"], row["type"], f"{whole:.0f}", f"{rates['copy']:.0f}", *shares))
    head = ("shape", "type", "large copy, GB/s", "copy of the map", *forms)
    return markdown(head, body) + source(environment, name)


def tails() -> str:
    rows, environment, name = newest("gpu-tails")
    body = []
    for row in rows:
        for graph in (False, True):
            body.append(_tail(row, ", graph" if graph else ""))
    head = (
        "", "shape", "type", "graphs", "SE, ours, ms", "SE, eager", "SE, compiled", "plain, ours",
        "over eager", "over compiled", "SE over plain",
    )  # fmt: skip
    return markdown(head, [line for line in body if line]) + source(environment, name)


def _tail(row: Row, graph: str) -> tuple[object, ...] | None:
    names = {"tail": "norm + SE + shortcut + ReLU", "unit": "norm + SiLU + SE"}
    about = (names[row["kind"]], row["shape"], row["type"], "yes" if graph else "no")
    if "ms" not in row:
        return None if graph else (*about[:3], _why(row), *("—" for _ in range(7)))
    forms = ("SE, ours", "SE, eager", "SE, compiled", "plain, ours")
    ms = [row["ms"].get(form + graph) for form in forms]
    if ms[0] is None:  # small scale on a CPU has no graphs
        return None
    ours, eager, compiled, plain = ms
    gains = (_times(eager, ours), _times(compiled, ours), _more(ours, plain))
    return (*about, *(_number(value, 3) for value in ms), *gains)


def networks() -> str:
    """Return a line per mode, with CUDA graphs and without; times are milliseconds."""
    rows, environment, name = newest("gpu-networks")
    cells = {(row["form"], row["mode"], row["graph"]): row for row in rows}
    body = [
        _network(cells, mode, graph)
        for mode, graph in dict.fromkeys((row["mode"], row["graph"]) for row in rows)
    ]
    head = (
        "mode", "graphs", "ours, ms", "plain twin", "SE over plain", "timm eager", "timm compiled",
        "over eager", "over compiled", "MiB: ours", "MiB: timm eager", "MiB: timm compiled",
    )  # fmt: skip
    return markdown(head, body) + source(environment, name)


def _network(cells: dict[tuple[Any, ...], Row], mode: str, graph: bool) -> tuple[object, ...]:
    forms = ("ours", "plain", "timm eager", "timm compiled")
    ours, plain, eager, compiled = (cells.get((form, mode, graph), {}) for form in forms)
    ms = ours.get("ms")
    return (
        mode, "yes" if graph else "no", _time(ours), _time(plain), _more(ms, plain.get("ms")),
        _time(eager), _time(compiled), _times(eager.get("ms"), ms), _times(compiled.get("ms"), ms),
        *(_number(row.get("peak_mib"), 0) for row in (ours, eager, compiled)),
    )  # fmt: skip


def trainings() -> str:
    rows, environment, name = newest("gpu-training")
    return pairs(twins(rows)) + source(environment, name)


def curves() -> str:
    """Write the picture, and return the lines that show it."""
    from benchmarks.evidence import picture

    rows, environment, name = newest("gpu-training")
    return picture.save(twins(rows), PICTURE) + source(environment, name)


def source(environment: dict[str, Any], name: str) -> str:
    e = environment
    forced = next((line for line in e.get("backends", ()) if line.startswith("forced")), "")
    return (
        f"\n{e['device']}, driver {e.get('driver') or 'none'}; torch {e['torch']}, CUDA "
        f"{e.get('cuda') or 'none'}, Triton {e.get('triton') or 'none'}; code {e['code']}, "
        f"{e['date']}. {forced and f'Backend {forced}. '}Record: `{name}`.\n"
    )


def _time(row: Row) -> str:
    return _number(row["ms"], 2) if "ms" in row else _why(row)


def _why(row: Row) -> str:
    """Return why a row has no time."""
    if row.get("out_of_memory"):
        return "out of memory"
    if "failed" in row:
        return "failed"
    return "cut off" if row.get("begun") else "—"


def _number(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:.{digits}f}"


def _times(slow: float | None, fast: float | None) -> str:
    return "—" if slow is None or fast is None else f"{slow / fast:.2f}×"


def _more(value: float | None, base: float | None) -> str:
    return "—" if value is None or base is None else f"{100 * (value / base - 1):+.1f} %"


TABLES: dict[str, Callable[[], str]] = {
    "gpu-tests": tests,
    "gpu-passes": passes,
    "gpu-tails": tails,
    "gpu-networks": networks,
    "gpu-training": trainings,
    "gpu-curves": curves,
}
