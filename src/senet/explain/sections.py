"""What the sections of the page show, as values for their templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from senet.explain.ablation import FORMS, Worth
from senet.explain.answers import Answers, Gain
from senet.explain.beside import beside
from senet.explain.blocks import BlockFacts
from senet.explain.by_class import shown_classes
from senet.explain.figures import FORM_COLOURS
from senet.explain.likeness import Specific, extremes
from senet.explain.messages import both
from senet.explain.picture import Picture
from senet.figures import gates as drawn
from senet.paired import CONFIDENCE, Estimate, interval, signed, with_sign

if TYPE_CHECKING:
    from senet.explain.explanation import Explanation

PAIRS = 10
"""Pairs of classes that the page names, the most alike and the least alike; and classes that gain
and lose, and images of them."""


def percent(share: float | None) -> str:
    """Return a share in percent, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def block_rows(found: Explanation) -> list[dict[str, Any]]:
    """Return the rows of the table of the blocks."""
    return [
        {
            "name": one.name,
            "says": says(one),
            "numbers": [
                f"{one.channels:,}",
                f"{one.mean:.3f}",
                f"{one.variation:.3f}",
                *map(percent, (one.open, one.closed, one.share, one.drawn, one.level)),
            ],
        }
        for one in found.facts
    ]


def says(one: BlockFacts | None) -> Markup:
    """Return whether gates tell classes apart, in words."""
    known = {True: "says_yes", False: "says_no", None: "says_unknown"}
    return both(known[one.informed if one else None])


def ablation(found: Explanation) -> dict[str, Any] | None:
    """Return the exact ablation: a sentence, a legend, and the rows of its table."""
    if found.ablation is None:
        return None
    of = found.ablation
    return {
        "own": of.own,
        "n": of.images,
        "sentence": _squeeze_worth(found),
        "forms": [(FORM_COLOURS[form], both(f"form_{form}")) for form in FORMS],
        "rows": [_worth_row(one) for one in found.worth],
        "sampled": of.images < found.images,
    }


def _squeeze_worth(found: Explanation) -> Markup:
    assert found.ablation is not None
    of, all_at_mean = found.ablation, _all_at_mean(found)
    intact = float(of.intact_right.mean())
    change = all_at_mean.accuracy
    return both(
        "squeeze_own" if of.own else "squeeze_worth",
        right=percent(intact + change.value),
        n=of.images,
        intact=percent(intact),
        change=signed(change.value),
        ends=interval(change),
    )


def _all_at_mean(found: Explanation) -> Worth:
    return next(one for one in found.worth if not one.block and one.form == "mean")


def _worth_row(one: Worth) -> dict[str, Any]:
    def ends(change: Estimate, scale: float, digits: int) -> str:
        value, low, high = (
            with_sign(scale * end, digits) for end in (change.value, change.low, change.high)
        )
        return f"{value} ({low} … {high})"

    return {
        "block": one.block or both("all_at_once"),
        "form": both(f"form_{one.form}"),
        "numbers": [
            ends(one.accuracy, 100, 1),
            ends(one.loss, 1, 3),
            f"{one.lost:,}",
            f"{one.won:,}",
            _p(one.p),
        ],
    }


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def classes(found: Explanation) -> dict[str, Any] | None:
    """Return the similarity of classes and the channels of each shown class."""
    like, block = found.likeness, found.clearest
    if like is None or block is None or block.examples is None:
        return None
    named = [(found.classes[a], found.classes[b], with_sign(r, 2)) for a, b, r in like.pairs()]
    shown = shown_classes([block], drawn.COLOURS)
    return {
        "block": like.block,
        "alike": named[:PAIRS],
        "apart": named[::-1][: min(PAIRS, max(len(named) - PAIRS, 0))],
        "drawn": len(block.examples.s),
        "looked": found.look is not None,
        "specific": [_specific(found, one) for one in found.specific if one.label in shown],
    }


def _specific(found: Explanation, one: Specific) -> dict[str, Any]:
    block = found.blocks[one.block]
    assert block.examples is not None
    first = (*one.opened, *one.closed)[:1]
    opening, closing = extremes(block, first[0][0]) if first else ([], [])
    positions = block.examples.images
    return {
        "label": found.classes[one.label],
        "first": first[0][0] if first else "–",
        "opened": [_channel(*channel) for channel in one.opened],
        "closed": [_channel(*channel) for channel in one.closed],
        "openers": images(found, positions[opening].tolist()),
        "closers": images(found, positions[closing].tolist()),
    }


def _channel(channel: int, own: float, mean: float, distance: float) -> str:
    far = f"{abs(distance):.1f} σ" if abs(distance) < 1e3 else "∞ σ"
    return f"{channel}: {own:.3f} ({mean:.3f}), {far}"


def images(found: Explanation, positions: Sequence[int]) -> list[tuple[str, str]]:
    """Return images of the data set as data URIs, each with the name of its class."""
    first = next(iter(found.blocks.values())).examples
    if found.look is None or first is None:
        return []
    labels = dict(zip(first.images.tolist(), first.labels.tolist(), strict=True))
    looked = ((found.look(at), found.classes[labels[at]]) for at in positions)
    return [one for one in looked if one[0]]


def picture(found: Explanation, number: int) -> dict[str, Any]:
    """Return what the page shows of a single image, by its number."""
    one = found.pictures[number]
    apart = next(each.apart for each, _ in one.changed if each.name == one.focus)
    maps = [
        {
            "caption": both(
                "map_raised" if each.raised else "map_lowered",
                channel=each.channel,
                gate=each.gate,
                mean=each.mean,
            ),
            "over": each.over,
            "openers": images(found, each.openers),
        }
        for each in one.maps
    ]
    figure = f"road-{number}"
    return {"of": one, "apart": apart, "maps": maps, "road": _road(one), "figure": figure}


def _road(one: Picture) -> dict[str, Any] | None:
    if one.road is None:
        return None
    road = one.road
    curves = {
        "road_most": road.most,
        "road_least": road.least,
        "road_random": road.random.mean(0),
    }
    return {
        "n": len(road.random),
        "says": both(
            "believed" if road.believed else "disbelieved",
            n=len(road.random),
            most=float(road.most.mean()),
            random=float(road.random.mean()),
        ),
        "shares": [f"{100 * share:.0f} %" for share in road.shares],
        "rows": [(both(key), [f"{p:.3f}" for p in own]) for key, own in curves.items()],
    }


def other(found: Explanation) -> dict[str, Any] | None:
    """Return what the page shows of a second network."""
    if found.other is None:
        return None
    return {
        "name": found.other.name,
        "plain": not found.other.blocks,
        "gains": _gains(found),
        "rows": _pairs(found, found.other) if found.other.blocks else [],
        "worth": _other_worth(found.other),
    }


def _pairs(found: Explanation, other: Explanation) -> list[dict[str, Any]]:
    """Return the blocks of two networks, side by side."""
    mine, theirs = ({one.name: one for one in each.facts} for each in (found, other))
    rows = []
    for pair in beside(found.blocks, other.blocks):
        a, b = mine.get(pair.name or ""), theirs.get(pair.other or "")
        same = pair.name == pair.other
        rows.append(
            {
                "name": pair.name if same else f"{pair.name or '–'} / {pair.other or '–'}",
                "says": (says(a), says(b)),
                "numbers": [
                    _two("mean", a, b, lambda mean: "–" if mean is None else f"{mean:.3f}"),
                    _two("drawn", a, b, percent),
                    "–" if pair.r is None else f"{pair.r:.3f}",
                    "–" if pair.moved is None else f"{pair.moved:.3f}",
                ],
            }
        )
    return rows


def _gains(found: Explanation) -> dict[str, Any] | None:
    """Return what the network gains over the other: a sentence, rows by class, and images."""
    if not found.gains or found.other is None:
        return None
    (everything, *classes), names = found.gains, found.classes
    o, change = everything.outcomes, everything.change
    apart = not change.holds_zero and everything.p < 1 - CONFIDENCE
    sentence = both(
        "gains_apart" if apart else "gains_alike",
        name=found.name,
        other=found.other.name,
        n=o.images,
        right=percent(o.se_right / o.images),
        theirs=percent(o.plain_right / o.images),
        change=signed(change.value),
        ends=interval(change),
        p=_p(everything.p),
    )
    shown = classes if len(classes) <= 2 * PAIRS else [*classes[:PAIRS], *classes[-PAIRS:]]
    return {
        "sentence": sentence,
        "all": len(classes),
        "shown": len(shown),
        "rows": [
            (both("all") if one.label is None else names[one.label], _gain_row(one))
            for one in (everything, *shown)
        ],
        "images": [
            ("gains_won", "answer_there", _disputed(found, found.answers, found.other.answers)),
            ("gains_lost", "answer_here", _disputed(found, found.other.answers, found.answers)),
        ],
    }


def _gain_row(gain: Gain) -> list[str]:
    o, change = gain.outcomes, gain.change
    return [
        f"{o.images:,}",
        percent(o.se_right / o.images),
        percent(o.plain_right / o.images),
        f"{signed(change.value)} ({interval(change)})",
        f"{o.only_se:,}",
        f"{o.only_plain:,}",
        _p(gain.p),
    ]


def _disputed(
    found: Explanation, right: Answers | None, wrong: Answers | None
) -> list[tuple[str, str, str]]:
    """Return the first images that one network answers rightly and the other wrongly.

    Each is a data URI, the name of its class, and the wrong answer.
    """
    assert right is not None
    assert wrong is not None
    n = min(len(right.labels), len(wrong.labels))
    at = np.flatnonzero(right.right[:n] & ~wrong.right[:n])[:PAIRS].tolist()
    look = found.look or (lambda position: "")
    names = found.classes
    return [(look(i), names[right.labels[i]], names[wrong.said[i]]) for i in at]


def _two(name: str, a: BlockFacts | None, b: BlockFacts | None, form: Any) -> str:
    return " / ".join(form(getattr(one, name) if one else None) for one in (a, b))


def _other_worth(other: Explanation) -> Mapping[str, str] | None:
    if other.ablation is None:
        return None
    change = _all_at_mean(other).accuracy
    return {"change": signed(change.value), "ends": interval(change)}
