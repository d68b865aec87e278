"""The tables of docs/results.md, from the newest records of a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu import passes as passes_
from benchmarks.gpu.networks import OURS
from benchmarks.gpu.summary import Twins, twins
from benchmarks.ledger import Row
from benchmarks.table import markdown, newest

PICTURE = Path(__file__).parent.parent.parent / "docs" / "results.svg"

# Test errors in per cent, plain and with SE: tables 4 and 5 of arXiv 1709.01507v4.
PAPER = {
    ("cifar10", "se_resnet110_cifar"): (6.37, 5.21),
    ("cifar100", "se_resnet110_cifar"): (26.88, 23.85),
}


def tests() -> str:
    rows, environment, name = newest("gpu-tests")
    counts = ("passed", "failed", "skipped")
    body = [(f"`{row['file']}`", *(row.get(count, 0) for count in counts)) for row in rows]
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
    """Return a line per network, mode, batch size and use of graphs; times are milliseconds."""
    rows, environment, name = newest("gpu-networks")
    cells = {(r["network"], r["form"], r["mode"], r["batch"], r["graph"]): r for r in rows}
    body = []
    for network, mode, batch in dict.fromkeys((r["network"], r["mode"], r["batch"]) for r in rows):
        for form in ("ours", "accelerated"):
            for graph in (False, True):
                if (network, form, mode, batch, graph) in cells:
                    body.append(_network(cells, network, form, mode, batch, graph))
    head = (
        "network", "mode", "batch", "graphs", "ours, ms", "plain twin", "SE over plain",
        "timm eager", "timm compiled", "timm max-autotune", "over eager", "over compiled",
        "MiB: ours", "MiB: timm eager", "MiB: timm compiled",
    )  # fmt: skip
    return markdown(head, body) + source(environment, name)


def _network(
    cells: dict[tuple[Any, ...], Row], network: str, form: str, mode: str, batch: int, graph: bool
) -> tuple[object, ...]:
    def row(form: str, graph: bool = graph) -> Row:
        return cells.get((network, form, mode, batch, graph), {})

    ours, plain, eager = row(form), row("plain"), row("timm eager", False)
    compiled, tuned = row("timm compiled"), row("timm max-autotune", True)
    ms = ours.get("ms")
    named = OURS.get(network, network) if form == "ours" else f"accelerate({network})"
    return (
        named, mode, batch, "yes" if graph else "no", _time(ours), _time(plain),
        _more(ms, plain.get("ms")), _time(eager), _time(compiled), _time(tuned),
        _times(eager.get("ms"), ms), _times(compiled.get("ms"), ms),
        *(_number(r.get("peak_mib"), 0) for r in (ours, eager, compiled)),
    )  # fmt: skip


def trainings() -> str:
    rows, environment, name = newest("gpu-training")
    body = [_training(pair) for pair in twins(rows)]
    if not body:
        raise FileNotFoundError(f"{name} has no pair of finished trainings yet")
    head = (
        "data", "network with SE", "recipe", "seeds", "plain, test error %", "SE, test error %",
        "gain", "95 % interval", "plain in the paper", "SE in the paper",
        "seconds a training: plain", "seconds: SE", "ms a step, alone: plain", "ms: SE", "device",
    )  # fmt: skip
    said = [f"* {pair.data}, {pair.recipe}: {pair.verdict()}" for pair in twins(rows)]
    return markdown(head, body) + "\n" + "\n".join(said) + "\n" + source(environment, name)


def _training(pair: Twins) -> tuple[object, ...]:
    comparison = pair.comparison()
    gain = comparison.difference
    paper = PAPER.get((pair.data, pair.se), ("—", "—"))
    errors = []
    for se in (False, True):
        mean, deviation = pair.spread(se, "test_accuracy")
        spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.2f}"
        errors.append(f"{100 * (1 - mean):.2f}{spread}")
    costs = [
        f"{pair.spread(se, figure)[0]:.{digits}f}"
        for figure, digits in (("seconds", 0), ("step_ms", 2))
        for se in (False, True)
    ]
    devices, precisions = (
        ", ".join(sorted({row[fact] for both in pair.pairs for row in both}))
        for fact in ("device", "precision")
    )
    return (
        pair.data, pair.se, f"{pair.recipe}, {precisions}", len(pair.pairs), *errors,
        f"{100 * gain.value:+.2f}", f"{100 * gain.low:+.2f} … {100 * gain.high:+.2f}",
        *paper, *costs, devices,
    )  # fmt: skip


def curves() -> str:
    """Write the picture, and return the lines that show it."""
    from benchmarks.gpu import picture

    rows, environment, name = newest("gpu-training")
    found = twins(rows)
    if not found:
        raise FileNotFoundError(f"{name} has no pair of finished trainings yet")
    picture.save(picture.curves(found), PICTURE)
    shown = f"![Test error by epoch, with SE and without]({PICTURE.name})\n\n"
    said = "Plain networks in blue, those with SE in orange; thin lines are seeds, bold ones means."
    return f"{shown}{said}\n" + source(environment, name)


def source(environment: dict[str, Any], name: str) -> str:
    e = environment
    return (
        f"\n{e['device']}, driver {e.get('driver') or 'none'}; torch {e['torch']}, CUDA "
        f"{e.get('cuda') or 'none'}, Triton {e.get('triton') or 'none'}; code {e['code']}, "
        f"{e['date']}. Record: `{name}`.\n"
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
