"""The numbers of a page as tables: what it shows, and what it has no room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from senet.explain.ablation import Worth
from senet.explain.beside import beside
from senet.explain.blocks import histograms
from senet.explain.by_class import paper_blocks, shown_classes
from senet.figures import gates as drawn

if TYPE_CHECKING:
    from senet.explain.explanation import Explanation

Row = Sequence[object]
Table = tuple[Sequence[str], list[Row]]


def tables(found: Explanation) -> dict[str, Table]:
    """Return the tables of an explanation by their names, each as its columns and its rows."""
    gates = ("block", "class", "channel", "mean", "std")
    facts = (
        *("block", "channels", "mean", "variation", "open", "closed"),
        *("by_class", "by_class_drawn", "shuffled", "better_than_chance", "why"),
    )
    counts, edges = histograms(list(found.blocks.values()))
    bins = ["block", *(f"from_{edge:.3f}" for edge in edges[:-1])]
    histogram = [[name, *own] for name, own in zip(found.blocks, counts.tolist(), strict=True)]
    every: dict[str, Table] = {
        "gates": (gates, list(_gates(found))),
        "blocks": (facts, list(_facts(found))),
        "histogram": (bins, list(histogram)),
        "ablation": (_WORTH, [_worth(one) for one in found.worth]),
        "similarity": (("block", "class", "other", "r"), list(_similarity(found))),
        "specific": (_SPECIFIC, list(_specific(found))),
        "images": (_IMAGES, list(_images(found))),
        "road": (("image", "map", "removed", "probability"), list(_road(found))),
        "beside": (_BESIDE, list(_beside(found))),
        "gains": (_GAINS, list(_gains(found))),
        "answers": (_ANSWERS, list(_answers(found))),
    }
    return {name: table for name, table in every.items() if table[1]}


def _gates(found: Explanation) -> Iterator[Row]:
    """Yield every point of the figures by class; the mean over all images has an empty class."""
    blocks = paper_blocks(list(found.blocks.values()))
    for block in blocks:
        for k in shown_classes(blocks, drawn.COLOURS):
            pairs = zip(block.mean[k].tolist(), block.std[k].tolist(), strict=True)
            for channel, (mean, std) in enumerate(pairs):
                yield block.name, found.classes[k], channel, mean, std
        for channel, mean in enumerate(block.overall.tolist()):
            yield block.name, "", channel, mean, None


def _facts(found: Explanation) -> Iterator[Row]:
    for one in found.facts:
        yield (
            *(one.name, one.channels, one.mean, one.variation, one.open, one.closed),
            *(one.share, one.drawn, one.level, one.informed, one.why),
        )


_WORTH = (
    *("block", "replaced_by", "accuracy", "accuracy_low", "accuracy_high"),
    *("loss", "loss_low", "loss_high", "lost", "won", "p"),
)


def _worth(one: Worth) -> Row:
    accuracy, loss = one.accuracy, one.loss
    return (
        *(one.block or "all", one.form, accuracy.value, accuracy.low, accuracy.high),
        *(loss.value, loss.low, loss.high, one.lost, one.won, one.p),
    )


def _similarity(found: Explanation) -> Iterator[Row]:
    if like := found.likeness:
        for a, b, r in like.pairs():
            yield like.block, found.classes[a], found.classes[b], r


_SPECIFIC = ("block", "class", "channel", "mean_in_class", "mean", "distance")


def _specific(found: Explanation) -> Iterator[Row]:
    for one in found.specific:
        for channel in (*one.opened, *one.closed):
            yield one.block, found.classes[one.label], *channel


_IMAGES = (
    *("image", "answer", "probability", "block", "channel", "gate", "mean"),
    *("same_answer_with_gates_of_1", "answer_then", "probability_then"),
)


def _images(found: Explanation) -> Iterator[Row]:
    for picture in found.pictures:
        head = (picture.file, picture.answer, picture.probability)
        for one, then in picture.changed:
            for channel in (*one.raised, *one.lowered):
                yield *head, one.name, *channel, one.silenced, then, one.probability


def _road(found: Explanation) -> Iterator[Row]:
    for picture in found.pictures:
        if (road := picture.road) is not None:
            curves = {"grad_cam": road.most, "grad_cam_least_first": road.least}
            curves |= {f"random_{i}": own for i, own in enumerate(road.random)}
            for name, own in curves.items():
                for share, p in zip(road.shares.tolist(), own.tolist(), strict=True):
                    yield picture.file, name, share, p


_BESIDE = (
    *("block", "other_block", "correlation", "moved", "mean", "other_mean"),
    *("by_class_drawn", "other_by_class_drawn", "better_than_chance", "other_better_than_chance"),
)


def _beside(found: Explanation) -> Iterator[Row]:
    if found.other is None or not found.other.blocks:
        return
    mine, theirs = ({one.name: one for one in e.facts} for e in (found, found.other))
    for pair in beside(found.blocks, found.other.blocks):
        a, b = mine.get(pair.name or ""), theirs.get(pair.other or "")
        facts = ((e.mean, e.drawn, e.informed) if e else (None,) * 3 for e in (a, b))
        yield (
            pair.name,
            pair.other,
            pair.r,
            pair.moved,
            *(one for two in zip(*facts, strict=True) for one in two),
        )


_GAINS = (
    *("class", "images", "accuracy", "other_accuracy", "change", "change_low", "change_high"),
    *("only_this_right", "only_other_right", "p"),
)


def _gains(found: Explanation) -> Iterator[Row]:
    """Yield what is gained over the other network; all images have an empty class."""
    for one in found.gains:
        o, change = one.outcomes, one.change
        yield (
            "" if one.label is None else found.classes[one.label],
            *(o.images, o.se_right / o.images, o.plain_right / o.images),
            *(change.value, change.low, change.high, o.only_se, o.only_plain, one.p),
        )


_ANSWERS = ("image", "class", "answer", "other_answer")


def _answers(found: Explanation) -> Iterator[Row]:
    if found.gains and found.answers and found.other and found.other.answers:
        mine, theirs = found.answers, found.other.answers
        # The other one may have seen fewer images, if it was interrupted.
        for name, *numbers in zip(mine.names, mine.labels, mine.said, theirs.said, strict=False):
            yield name, *(found.classes[k] for k in numbers)
