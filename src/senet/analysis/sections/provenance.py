"""How a run was made, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from senet.analysis.sections import Section
from senet.analysis.subject import Subject
from senet.runs.read import Variation


def command(subject: Subject) -> list[str]:
    """Return the command that repeats the run, with every setting written out.

    It comes in pieces between which a line may end.
    """
    settings = dict(_recipe(subject))
    model, data = settings.pop("model"), settings.pop("data")
    pieces = [
        f"senet {'compare' if subject.twins else 'train'}",
        f"--model {model}",
        f"--data {shlex.quote(subject.any_run.config['data'].get('path') or data)}",
    ]
    if subject.variation:
        pieces.append(f"--vary {shlex.quote(_vary(subject.variation))}")
    if subject.twins:
        settings["seed"] = min(_seeds(subject))
        pieces.append(f"--seeds {subject.seed_count}")
    settings |= settings.pop("options", {})
    return pieces + [f"--set {shlex.quote(f'{k}={_setting(v)}')}" for k, v in settings.items()]


def _recipe(subject: Subject) -> Mapping[str, Any]:
    """Return the configuration of the trainings, with the options of any SE network."""
    if subject.variation:
        return subject.variation.config
    runs = subject.begun.get("se") or [subject.any_run]
    return runs[0].config["config"]


def _seeds(subject: Subject) -> set[int]:
    return {r.config["config"].get("seed", 0) for runs in subject.begun.values() for r in runs}


def _vary(variation: Variation) -> str:
    values = dict.fromkeys(network.value for network in variation.networks.values())
    return f"{variation.option}={','.join(v for v in values if v is not None)}"


def _setting(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def facts(subject: Subject) -> list[Section]:
    """Return how it was run: recipe, data, machine."""
    config = subject.any_run.config
    recipe = {k: v for k, v in _recipe(subject).items() if k not in ("model", "seed", "data")}
    if subject.variation:
        varied = subject.variation.option
        recipe["options"] = {k: v for k, v in recipe["options"].items() if k != varied}
    results = [r.result for runs in subject.finished.values() for r in runs if r.result is not None]
    seconds = sum(float(r.get("train_seconds") or 0) for r in results)
    run = {
        "network" + "s" * bool(subject.twins): ", ".join(subject.names.values()),
        "varied": _vary(subject.variation) if subject.variation else "",
        "seeds": ", ".join(map(str, sorted(_seeds(subject)))),
        "trained for": _duration(seconds) + (f" in {len(results)} runs" * (len(results) > 1)),
    }
    if not results:
        del run["trained for"]
    probes = [r["probe_val_accuracy"] for r in results if r.get("probe_val_accuracy") is not None]
    if probes:
        run["probe"] = ", ".join(
            f"{100 * share:.1f} % of the validation images" for share in probes
        )
        run["kept"] = ", ".join(r["kept"] for r in results)
    if diverged := [r["diverged"] for r in results if r.get("diverged")]:
        run["diverged"] = ", ".join(diverged)
    left_out = ("classes", "preprocessing", "record")
    data = {k: v for k, v in config["data"].items() if k not in left_out}
    data |= {"classes": ", ".join(subject.classes[:50]) + ", …" * (len(subject.classes) > 50)}
    data |= flat(config["data"].get("preprocessing") or {})
    return [
        {"name": "Run", "rows": list(flat(run).items())},
        {"name": "Data", "rows": list(flat(data).items())},
        {"name": "Recipe", "rows": list(flat(recipe).items())},
        {"name": "Machine", "rows": list(flat(config.get("environment") or {}).items())},
    ]


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return names and values as text; what is empty or too long to read is left out."""
    found = {}
    for key, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, float):
            value = f"{value:g}"
        if value not in (None, "") and len(str(value)) <= 600:
            found[key.replace("_", " ")] = str(value)
    return found


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
