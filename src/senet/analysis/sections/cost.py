"""What SE costs: parameters, multiply-adds, time."""

from __future__ import annotations

from senet.analysis.figures import bars
from senet.analysis.sections import Section
from senet.analysis.subject import Subject

# Key in cost.json, key of SE's part, name on the page, unit.
_COSTS = (
    ("parameters", "se_parameters", "Parameters", "count"),
    ("multiply_adds", "se_multiply_adds", "Multiply-adds per image", "count"),
    ("step_ms", None, "Time per training step", "ms"),
    ("image_ms", None, "Time per image in evaluation", "ms"),
)


def cost(subject: Subject) -> Section | None:
    """Return parameters, multiply-adds and times, with SE's share."""
    costs = subject.cost
    if costs is None or any(name not in costs for name in subject.names.values()):
        return None
    figures, rows = [], []
    for key, se_key, title, unit in _COSTS:
        values = {role: costs[name].get(key) for role, name in subject.names.items()}
        if any(value is None for value in values.values()):
            continue
        drawn = []
        for role, name in subject.names.items():
            value = float(values[role] or 0)
            part = float(costs[name].get(se_key) or 0) if se_key else 0.0
            drawn.append((role, name, value, part / value if value else 0.0, _amount(value, unit)))
        figures.append({"name": title, "figure": bars.cost(title, drawn)})
        if subject.two:
            plain, se = drawn[0][2], drawn[1][2]
            adds = _added(se / plain - 1) if plain else ""
            write = "{:,.0f}".format if unit == "count" else lambda ms: _amount(ms, "ms")
            rows.append({"name": title, "plain": write(plain), "se": write(se), "adds": adds})
    if not figures:
        return None
    return {
        "figures": figures,
        "rows": rows,
        "caption": "The shaded end of a bar is the share of the SE blocks. Multiply-adds are those "
        "of convolutions and fully connected layers, as the paper counts. Times are medians, "
        "measured in turn on the machine named below, and vary with its other load.",
    }


def _added(share: float) -> str:
    """Return what SE adds: ``+16.0 %``; below one per cent, to one digit: ``+0.007 %``."""
    text = f"{100 * share:+.1f}" if abs(share) >= 0.01 or not share else f"{100 * share:+.1g}"
    return text.replace("-", "−") + "\u202f%"


def _amount(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{value:#.3g}".rstrip(".") + " ms"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:#.3g}".rstrip(".") + f" {letter}"
    return f"{value:g}"
