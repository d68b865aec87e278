"""Networks that differ in one option: what is varied, how accurate each is, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from senet.analysis import variation as family
from senet.analysis.figures import intervals, tradeoff
from senet.analysis.figures.tradeoff import Point
from senet.analysis.sections import Section
from senet.analysis.statistics import p_value
from senet.analysis.subject import Subject
from senet.analysis.variation import Row
from senet.paired import interval, mcnemar, signed

MEANINGS = {
    "reduction": "Between its two layers an SE block has C/r channels, where C is the number of "
    "channels of the feature map and r the reduction. The smaller r is, the more the block can "
    "compute, and the more parameters it has. One number per stage is written 4+8+16.",
    "placement": "The block is at the end of the residual branch (standard), before the branch "
    "(pre), after the addition (post), on the shortcut (identity), or within the branch, after its "
    "3×3 convolution (3x3): Figure 5 of the paper.",
    "squeeze": "Each channel is squeezed to its mean (avg), to its maximum (max), or not at all "
    "(none): then every position is gated by itself.",
    "gate": "The gate is the function after the two layers, by whose output the channels are "
    "multiplied.",
    "gate_bias": "The bias sets where the gates begin: with 0 a sigmoid gate is half open, with 2 "
    "it is at 0.88.",
    "se_bias": "The two layers of a block have biases (true) or not (false).",
    "se_stages": "Only these stages of the network have SE blocks. The stem is stage 1, so stage 2 "
    "is the first with residual blocks. Several are written 2+3; none makes no choice: all.",
    "attention": "The blocks are squeeze-and-excitation (se) or one of its descendants: efficient "
    "channel attention (eca), effective SE (ese), concurrent SE (scse), gather-excite (ge).",
}
"""What an option does, for the options of SE blocks."""


def about(subject: Subject) -> Section:
    """Return what is varied, in words."""
    variation = subject.variation
    assert variation is not None
    first, plain = next(iter(subject.twins.items()))
    return {
        "option": variation.option,
        "taken": list(dict.fromkeys(variation.networks[n].value for n in subject.twins)),
        "se": variation.networks[first].model,
        "plain": variation.networks[plain].model,
        "one_plain": family.one_plain(subject),
        "meaning": MEANINGS.get(variation.option, ""),
    }


def verdict(subject: Subject) -> str:
    """Return the sentence at the top."""
    return _held(family.verdict(subject))


def results(subject: Subject) -> Section | None:
    """Return the table, accuracy against parameters and time, and the differences to plain."""
    if not subject.seeds:
        return None
    found = family.rows(subject)
    seeds = len(subject.seeds)
    costed = all(row.cost for row in found)
    whiskers = (
        "Whiskers are 95 % intervals over the choice of test images."
        if seeds == 1
        else f"Small dots are single trainings, large marks the means of {seeds} seeds, whiskers "
        "one standard deviation over them."
    )
    return {
        "images": f"{len(subject.labels):,}",
        "figures": _tradeoffs(found) if costed else [],
        "figures_caption": f"{whiskers} Squares are plain. Marks of nearly the same cost are "
        "drawn side by side. Axes do not begin at zero.",
        "differences": intervals.differences(
            [
                (row.label, row.comparison.difference, row.comparison.told_apart)
                for row in found
                if row.comparison is not None
            ]
        ),
        "differences_caption": "Whiskers are 95 % intervals"
        + (" over seeds." if seeds > 1 else " for paired answers.")
        + " Large dots differ from plain by more than noise.",
        "costed": costed,
        "unequal": any(row.balanced is not None for row in found),
        "spread": "95 % interval" if seeds == 1 else "std",
        "rows": [_row(row, costed) for row in found],
        "seeds": seeds,
        "caption": _caption(subject, costed),
    }


def _tradeoffs(found: Sequence[Row]) -> list[Section]:
    most = max(row.cost["parameters"] for row in found)
    unit, word = next(
        (u, w) for u, w in ((1e6, "parameters, millions"), (1e3, "parameters, thousands"),
                            (1, "parameters")) if most >= u
    )  # fmt: skip
    return [
        {"name": name, "figure": tradeoff.tradeoff(axis, unit, [_point(row, key) for row in found])}
        for name, axis, key, unit in (
            ("Accuracy against parameters", word, "parameters", unit),
            ("Accuracy against time", "time of a training step, ms", "step_ms", 1),
        )
    ]


def _point(row: Row, key: str) -> Point:
    return Point(row.label, row.plain, float(row.cost[key]), row.spread, row.accuracies)


def _row(row: Row, costed: bool) -> Section:
    shown: Section = {
        "name": row.label,
        "role": "plain" if row.plain else "se",
        "accuracy": f"{100 * row.accuracy:.2f}",
        "balanced": "" if row.balanced is None else f"{100 * row.balanced:.2f}",
        "spread": _spread(row),
        "difference": "",
        "interval": "",
        "p": "",
    }
    if row.comparison is not None:
        shown["difference"] = signed(row.comparison.difference.value, 2)
        shown["interval"] = interval(row.comparison.difference)
        if row.right is not None:
            p = p_value(mcnemar(row.comparison.outcomes[0]))
            shown["p"] = p.removeprefix("p").removeprefix(" = ")
    if costed:
        cost = row.cost
        shown |= {
            "parameters": f"{cost['parameters']:,.0f}",
            "se_parameters": f"{cost['se_parameters']:,.0f}" if cost["se_parameters"] else "–",
            "multiply_adds": f"{cost['multiply_adds']:,.0f}",
            "step_ms": f"{cost['step_ms']:.1f}",
            "image_ms": f"{cost['image_ms']:#.3g}".rstrip("."),
        }
    return shown


def _spread(row: Row) -> str:
    low, high = row.spread.low, row.spread.high
    if row.right is not None:
        return f"{100 * low:.1f} … {100 * high:.1f}"
    return f"± {50 * (high - low):.2f}"


def _caption(subject: Subject, costed: bool) -> str:
    count = len(subject.twins)
    text = (
        "Differences are from the plain network"
        + ("" if family.one_plain(subject) else " of the same value")
        + ", in percentage points, each with its 95 % interval."
    )
    if count > 1:
        text += (
            f" There are {count} intervals: if SE made no difference at all, at least one would "
            f"still exclude zero in up to {family.chance(count)} of experiments."
        )
    if costed:
        text += (
            " Multiply-adds are those of convolutions and fully connected layers on one image. "
            "Times are medians, measured in turn on the machine named below, and vary with its "
            "other load."
        )
    return _held(text)


def _held(text: str) -> str:
    """Return a text in which no line ends before a percent sign."""
    return text.replace(" %", "\u202f%")
