"""The sections of the report: each a function of the subject, giving what the page shows.

A section that has nothing to say yet is ``None``, and the page leaves it out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from senet.analysis import figures, statistics
from senet.analysis.figures import percent
from senet.analysis.gates import BlockGates
from senet.analysis.images import TestImages
from senet.analysis.runs import Run
from senet.analysis.statistics import Estimate, interval, mcnemar, p_value, signed
from senet.analysis.subject import Subject

EXAMPLES = 12
"""Images a group."""
PAIRS = 8
"""Mistakes in the list of the most frequent ones."""

Section = dict[str, Any]


def verdict(subject: Subject) -> str:
    """The sentence at the top."""
    if not subject.seeds:
        return (
            "There is no result yet: "
            + ("no pair of runs has" if subject.two else "the run has not")
            + " finished. What there is so far is below."
        )
    if subject.two:
        return statistics.verdict(subject.comparison, subject.names["plain"], subject.names["se"])
    ((role, name),) = subject.names.items()
    right = subject.predictions(role)[0].right
    estimate = statistics.accuracy(int(right.sum()), len(right))
    return (
        f"{name} was right on {int(right.sum()):,} of the {len(right):,} test images: "
        f"{percent(estimate.value)}, with a 95 % interval of {_range(estimate)}."
    )


def tiles(subject: Subject) -> list[Section]:
    """The figures that matter first."""
    if not subject.seeds:
        return []
    found = [_accuracy_tile(subject, role, name) for role, name in subject.names.items()]
    if not subject.two:
        share = np.bincount(subject.labels).max() / len(subject.labels)
        always = f"always saying the most frequent class: {percent(share)}"
        return [*found, _tile("", "Classes", f"{len(subject.classes)}", "", always)]
    difference = subject.comparison.difference
    apart = "told apart" if subject.comparison.told_apart else "within noise"
    if subject.comparison.over_seeds is None:
        apart += f", McNemar {p_value(mcnemar(subject.comparison.outcomes[0]))}"
    sub = f"95 % interval {interval(difference)}: {apart}"
    found.append(_tile("", "Difference", signed(difference.value), "percentage points", sub))
    return found


def _accuracy_tile(subject: Subject, role: str, name: str) -> Section:
    estimates = _accuracies(subject, role)
    number, unit = percent(float(np.mean([e.value for e in estimates])), 1).split("\u202f")
    if len(estimates) == 1:
        return _tile(role, name, number, unit, f"95 % interval {_range(estimates[0])}")
    spread = statistics.over_seeds([e.value for e in estimates])
    sub = f"mean of {len(estimates)} seeds, standard deviation {100 * spread.std:.2f} points"
    return _tile(role, name, number, unit, sub)


def _tile(role: str, name: str, value: str, unit: str, sub: str) -> Section:
    return {"role": role, "name": name, "value": value, "unit": unit, "sub": sub}


def _accuracies(subject: Subject, role: str) -> list[Estimate]:
    return [
        statistics.accuracy(int(p.right.sum()), len(p.right)) for p in subject.predictions(role)
    ]


def results(subject: Subject) -> Section | None:
    """Accuracies with intervals, and the difference, as pictures and as a table."""
    if not subject.seeds:
        return None
    found = {role: _accuracies(subject, role) for role in subject.names}
    section: Section = {
        "images": f"{len(subject.labels):,}",
        "accuracies": figures.accuracies(dict(subject.names), found),
        "accuracies_caption": "Dots with 95 % intervals"
        + (", one a seed; diamonds are their means." if len(subject.seeds) > 1 else "."),
        "notes": [],
    }
    if subject.two:
        section |= _difference(subject, found)
    return section


def _difference(subject: Subject, found: Mapping[str, Sequence[Estimate]]) -> Section:
    outcomes = subject.comparison.outcomes
    each = [statistics.difference(o) for o in outcomes]
    rows = [(f"seed {s}", e, len(each) == 1) for s, e in zip(subject.seeds, each, strict=True)]
    table: list[Section] = [
        {
            "name": str(seed),
            "plain": f"{100 * plain.value:.2f}",
            "se": f"{100 * se.value:.2f}",
            "difference": signed(e.value, 2),
            "interval": interval(e),
            "p": p_value(mcnemar(o)).removeprefix("p").removeprefix(" = "),
            "total": False,
        }
        for seed, plain, se, e, o in zip(
            subject.seeds, found["plain"], found["se"], each, outcomes, strict=True
        )
    ]
    spread = subject.comparison.over_seeds
    if spread is not None:
        rows.append(("all seeds", spread.interval, True))
        means = {
            role: f"{100 * np.mean([e.value for e in found[role]]):.2f}" for role in subject.names
        }
        table.append(
            {
                "name": "mean",
                **means,
                "difference": signed(spread.mean, 2),
                "interval": interval(spread.interval),
                "p": "",
                "total": True,
            }
        )
    pooled = {
        name: sum(getattr(o, name) for o in outcomes) / len(outcomes)
        for name in ("both", "neither")
    }
    average = "on average " if len(outcomes) > 1 else ""
    return {
        "differences": figures.differences(rows),
        "differences_caption": "An interval that holds zero cannot tell the two apart."
        + (
            " The last row is Student's interval over the seeds: the spread from training to "
            "training."
            if spread is not None
            else ""
        ),
        "outcomes": figures.outcomes(subject.seeds, outcomes),
        "outcomes_caption": f"Both were {average}right on {pooled['both']:,.0f} images and both "
        f"wrong on {pooled['neither']:,.0f}; the others decide. If the networks were equally good, "
        "the border would lie in the pale middle in 95 of 100 draws: McNemar's test.",
        "table": table,
    }


def curves(subject: Subject) -> Section | None:
    """Loss and accuracy by epoch, of every run that has done an epoch."""
    begun = [(role, run) for role, runs in subject.begun.items() for run in runs if _epochs(run)]
    if not begun:
        return None

    def of(what: str) -> list[figures.Curve]:
        return [
            figures.Curve(
                role, run.metrics["epoch"], run.metrics[f"train_{what}"], run.metrics[f"val_{what}"]
            )
            for role, run in begun
        ]

    several = len(begun) > len(subject.names)
    recipe = subject.any_run.config["config"]
    harder = [n for n in ("mixup", "cutmix", "label_smoothing") if recipe.get(n)]
    caption = (
        "Training figures are means over the epoch, while the weights still move and on augmented "
        "images, so early on they lie below those of validation."
    )
    if harder:
        caption += f" The recipe has {' and '.join(harder)}, which raise the training loss."
    if several:
        caption += " Thin lines are seeds, bold lines their means."
    return {
        "loss": figures.curves("Loss", of("loss"), shares=False),
        "accuracy": figures.curves("Accuracy", of("accuracy"), shares=True),
        "validated": any(np.isfinite(run.metrics["val_loss"]).any() for _, run in begun),
        "caption": caption,
    }


def _epochs(run: Run) -> int:
    return len(run.metrics["epoch"])


# Key in cost.json, key of SE's share in it, name on the page, how a figure is written.
_COSTS = (
    ("parameters", "se_parameters", "Parameters", "count"),
    ("multiply_adds", "se_multiply_adds", "Multiply-adds an image", "count"),
    ("step_ms", None, "Time of a training step", "ms"),
    ("image_ms", None, "Time of an image in evaluation", "ms"),
)


def cost(subject: Subject) -> Section | None:
    """Parameters, multiply-adds and times, with SE's share."""
    costs = subject.cost
    if costs is None or any(name not in costs for name in subject.names.values()):
        return None
    pictures, rows = [], []
    for key, se_key, title, unit in _COSTS:
        values = {role: costs[name].get(key) for role, name in subject.names.items()}
        if any(value is None for value in values.values()):
            continue
        bars = []
        for role, name in subject.names.items():
            value = float(values[role] or 0)
            part = float(costs[name].get(se_key) or 0) if se_key else 0.0
            bars.append((role, name, value, part / value if value else 0.0, _amount(value, unit)))
        pictures.append({"name": title, "picture": figures.cost(title, bars)})
        if subject.two:
            plain, se = bars[0][2], bars[1][2]
            adds = _added(se / plain - 1) if plain else ""
            figure = "{:,.0f}".format if unit == "count" else lambda ms: _amount(ms, "ms")
            rows.append({"name": title, "plain": figure(plain), "se": figure(se), "adds": adds})
    if not pictures:
        return None
    return {
        "pictures": pictures,
        "rows": rows,
        "caption": "The dark end of a bar is the share of the SE blocks. Multiply-adds are those "
        "of convolutions and fully connected layers, as the paper counts. Times are medians, "
        "measured in turn on the machine named below, and vary with what else it does.",
    }


def _added(share: float) -> str:
    """What SE adds: ``+16.0 %``, and of less than one per cent the first digit: ``+0.007 %``."""
    text = f"{100 * share:+.1f}" if abs(share) >= 0.01 or not share else f"{100 * share:+.1g}"
    return text.replace("-", "−") + "\u202f%"


def _amount(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{value:#.3g}".rstrip(".") + " ms"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:#.3g}".rstrip(".") + f" {letter}"
    return f"{value:g}"


def classes(subject: Subject) -> Section | None:
    """Accuracy of every class."""
    if not subject.seeds:
        return None
    counts = subject.confusion
    images = next(iter(counts.values())).sum(1)
    seen = images > 0
    shares = {role: c.diagonal() / np.maximum(images, 1) for role, c in counts.items()}
    low = min(0.9, float(np.floor(min(s[seen].min() for s in shares.values()) * 10) / 10))
    rows = []
    for k in np.flatnonzero(seen):
        row: Section = {role: f"{100 * shares[role][k]:.1f}" for role in shares}
        row |= {
            "name": subject.classes[k],
            "images": f"{images[k]:,.0f}",
            "dots": figures.dots({role: float(shares[role][k]) for role in shares}, low),
        }
        if subject.two:
            row["difference"] = signed(shares["se"][k] - shares["plain"][k])
        rows.append(row)
    usual = statistics.accuracy(
        round(float(np.median(images[seen]) * np.mean([s[seen].mean() for s in shares.values()]))),
        round(float(np.median(images[seen]))),
    )
    caption = (
        f"With about {np.median(images[seen]):,.0f} images a class, the accuracy of one class and "
        f"network is known to about ±{50 * (usual.high - usual.low):.1f} points"
    )
    caption += ": look at single differences with that in mind." if subject.two else "."
    if len(subject.seeds) > 1:
        caption += f" Means of {len(subject.seeds)} seeds."
    return {"rows": rows, "axis": f"{100 * low:.0f}", "caption": caption}


def confusion(subject: Subject) -> Section | None:
    """The confusion matrices, their difference, and the most frequent mistakes."""
    if not subject.seeds:
        return None
    counts, names = subject.confusion, subject.classes
    panels = []
    if len(names) <= figures.LARGEST_MATRIX:
        most = max(_largest_mistake(c) for c in counts.values())
        for role, matrix in counts.items():
            panels.append(
                {
                    "name": subject.names[role],
                    "picture": figures.confusion(matrix, names, role, most),
                    "caption": "",
                }
            )
        if subject.two:
            panels.append(
                {
                    "name": "The change, in images",
                    "picture": figures.confusion_difference(counts["plain"], counts["se"], names),
                    "caption": "Orange speaks for SE (more right, or fewer mistakes), blue for the "
                    "plain network.",
                }
            )
    caption = "Rows are what it is, columns what it was said to be. Mistakes are shaded by their "
    caption += "share of the class; the diagonal is what was right."
    if len(subject.seeds) > 1:
        caption += f" Counts are means of {len(subject.seeds)} seeds, rounded."
    if not panels:
        caption = f"A matrix of {len(names)} classes is too fine to see, so it is left out."
    return {"panels": panels, "pairs": _pairs(subject), "caption": caption}


def _largest_mistake(counts: np.ndarray) -> float:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    return max(float(shares.max()), 1e-9)


def _pairs(subject: Subject) -> list[Section]:
    total = sum(subject.confusion.values())
    assert isinstance(total, np.ndarray)
    total = total.copy()
    np.fill_diagonal(total, 0)
    order = np.argsort(total, axis=None, kind="stable")[::-1][:PAIRS]
    places = [divmod(int(at), len(subject.classes)) for at in order if total.flat[at] > 0]
    return [
        {
            "true": subject.classes[i],
            "said": subject.classes[j],
            **{role: f"{c[i, j]:.0f}" for role, c in subject.confusion.items()},
        }
        for i, j in places
    ]


def gates(subject: Subject, blocks: Sequence[BlockGates], images: int) -> Section:
    """What the gates of the SE network do: Figures 6 and 7 of the paper, and a row a block."""
    names, seen = subject.classes, torch.nonzero(blocks[0].images).flatten().tolist()
    step = max(1.0, len(seen) / figures.CLASS_COLOURS)
    shown = [seen[int(i * step)] for i in range(min(len(seen), figures.CLASS_COLOURS))]
    last = [b for b, after in zip(blocks, [*blocks[1:], None], strict=True)
            if after is None or after.stage != b.stage]  # fmt: skip
    colours = {k: c for c, k in enumerate(shown)}
    two = _farthest(last[-1], shown)
    seeds = f" (seed {subject.seeds[0]})" if len(subject.seeds) > 1 else ""
    caption = (
        f"Mean gate of every channel over {images:,} test images{seeds}, in the last block of "
        "every stage, by class; the dark line is the mean over all classes. Channels stand in the "
        "order of that mean. All pictures share one axis. As Figure 6 of the paper."
    )
    if len(shown) < len(seen):
        caption += f" {len(shown)} of the {len(seen)} classes have a line, evenly spaced."
    section: Section = {
        "shown": [(k, names[k]) for k in shown],
        "story": _gate_story(last),
        "panels": _named(last, figures.gate_panels(last, shown, names)),
        "caption": caption,
        "bands": [],
        "rows": [_gate_row(b) for b in blocks],
        "table_caption": "Open and closed are shares of all gates, over images and channels. "
        "Decided by class is the variance between the classes' means over all variance: 0 % where "
        "a gate does not know the class, 100 % where nothing but the class moves it.",
    }
    if len(two) == 2:
        coloured = [(colours[k], k) for k in two]
        section |= {
            "two": [{"colour": colours[k], "name": names[k]} for k in two],
            "bands": _named(last, figures.gate_bands(last, coloured, names)),
            "bands_caption": "Mean gate ± one standard deviation over the images of the class, as "
            "Figure 7 of the paper: the two of the classes above whose gates lie farthest apart in "
            "the last block. Where the bands part, the gate tells the classes from one another; "
            "their width is how much it answers to the single image.",
        }
    return section


def _gate_story(last: Sequence[BlockGates]) -> str:
    first, final = last[0], last[-1]
    text = (
        "Every gate is a number: 0 shuts its channel off, 1 lets it pass unchanged. In the paper's "
        "ImageNet network the early gates are much alike for all classes and the later ones "
        "differ from class to class. Here the class decides "
        f"{percent(first.class_dependence, 0)} of the variance of the gates at the end of the "
        "first stage"
    )
    if len(last) > 1:
        text += f" and {percent(final.class_dependence, 0)} at the end of the last"
    text += f"; the mean gate there is {float(final.overall.mean()):.2f}."
    if final.open > 0.5:
        text += (
            f" {percent(final.open, 0)} of the gates of the last block stand open, so that block "
            "does little: the paper saw the same, and left it out to save parameters."
        )
    return text


def _gate_row(block: BlockGates) -> Section:
    return {
        "name": block_name(block.name),
        "channels": block.mean.shape[1],
        "mean": f"{float(block.overall.mean()):.2f}",
        "open": percent(block.open),
        "closed": percent(block.closed),
        "dependence": percent(block.class_dependence, 0),
    }


def _farthest(block: BlockGates, shown: Sequence[int]) -> list[int]:
    """The two classes whose mean gates lie farthest apart."""
    if len(shown) < 2:
        return []
    means = block.mean[list(shown)]
    at = int(torch.cdist(means, means).argmax())
    return sorted((shown[at // len(shown)], shown[at % len(shown)]))


def _named(blocks: Sequence[BlockGates], pictures: Sequence[figures.Picture]) -> list[Section]:
    return [
        {"name": block_name(b.name), "picture": p} for b, p in zip(blocks, pictures, strict=True)
    ]


def block_name(name: str) -> str:
    """Where a block is, in words.

    Example:
        >>> block_name("layer2.0.se"), block_name("features.3.attention")
        ('Stage 2, block 1', 'features.3.attention')
    """
    found = re.fullmatch(r"layer(\d+)\.(\d+)\.se", name)
    return f"Stage {found[1]}, block {int(found[2]) + 1}" if found else name


def examples(subject: Subject, images: TestImages) -> Section:
    """Test images on which just one network was right; of a single network, its worst mistakes."""
    said = {role: subject.predictions(role)[0] for role in subject.names}
    right = {role: p.right for role, p in said.items()}
    seed = f" of seed {subject.seeds[0]}" if len(subject.seeds) > 1 else ""

    def show(index: int) -> Section:
        uri, small = images.thumbnail(index)
        return {
            "index": index,
            "uri": uri,
            "small": small,
            "true": subject.classes[subject.labels[index]],
            "said": {role: says(role, index) for role in said},
        }

    def says(role: str, index: int) -> str:
        who = {"se": "SE ", "plain": "plain "}[role] * subject.two
        name = "✓" if right[role][index] else subject.classes[said[role].predicted[index]]
        return f"{who}{name} {percent(float(said[role].confidence[index]), 0)}"

    if not subject.two:
        ((role, answers),) = said.items()
        wrong = np.flatnonzero(~right[role])
        surest = wrong[np.argsort(-answers.confidence[wrong], kind="stable")][: 2 * EXAMPLES]
        return {
            "groups": [{"name": f"{len(surest)} of {len(wrong):,}",
                        "images": [show(int(i)) for i in surest]}],
            "caption": "Bold is what the data say it is; below, what the network said, with the "
            "probability it gave. Some of these may be mistakes of the data.",
        }  # fmt: skip
    groups = []
    for one, other in (("se", "plain"), ("plain", "se")):
        found = np.flatnonzero(right[one] & ~right[other])
        chosen = found[np.linspace(0, len(found) - 1, min(EXAMPLES, len(found))).astype(int)]
        name = "SE right, plain wrong" if one == "se" else "Plain right, SE wrong"
        groups.append({"name": f"{name}: {len(chosen)} of {len(found):,}",
                       "images": [show(int(i)) for i in chosen]})  # fmt: skip
    return {
        "groups": groups,
        "caption": f"Bold is what it is; below, what each network{seed} said, with the probability "
        "it gave; ✓ is what it is. The images are spread evenly over the test set, not chosen.",
    }


def command(subject: Subject) -> list[str]:
    """The command that does it again: every setting is written out, whatever the defaults.

    In pieces between which a line may end.
    """
    runs = [run for role in ("se", "plain") for run in subject.begun.get(role, [])]
    settings = dict(runs[0].config["config"])
    model, data = settings.pop("model"), settings.pop("data")
    pieces = [
        f"senet {'compare' if subject.two else 'train'}",
        f"--model {model}",
        f"--data {shlex.quote(runs[0].config['data'].get('path') or data)}",
    ]
    if subject.two:
        settings["seed"] = min(run.config["config"]["seed"] for run in runs)
        pieces.append(f"--seeds {subject.seed_count}")
    settings |= settings.pop("options", {})
    return pieces + [f"--set {shlex.quote(f'{k}={_setting(v)}')}" for k, v in settings.items()]


def _setting(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def facts(subject: Subject) -> list[Section]:
    """How it was run: recipe, data, machine."""
    config = subject.any_run.config
    recipe = {k: v for k, v in config["config"].items() if k not in ("model", "seed", "data")}
    if subject.begun.get("se"):  # the plain twin has no options of SE blocks
        recipe["options"] = subject.begun["se"][0].config["config"].get("options")
    seeds = {run.config["config"].get("seed") for runs in subject.begun.values() for run in runs}
    results = [r.result for runs in subject.finished.values() for r in runs if r.result is not None]
    seconds = sum(float(r.get("train_seconds") or 0) for r in results)
    run = {
        "network" + "s" * subject.two: ", ".join(subject.names.values()),
        "seeds": ", ".join(map(str, sorted(s for s in seeds if s is not None))),
        "trained for": _duration(seconds) + (f" in {len(results)} runs" * (len(results) > 1)),
    }
    if not results:
        del run["trained for"]
    left_out = ("classes", "preprocessing", "record")
    data = {k: v for k, v in config["data"].items() if k not in left_out}
    data |= {"classes": ", ".join(subject.classes[:50]) + ", …" * (len(subject.classes) > 50)}
    data |= _flat(config["data"].get("preprocessing") or {})
    return [
        {"name": "Run", "rows": list(_flat(run).items())},
        {"name": "Data", "rows": list(_flat(data).items())},
        {"name": "Recipe", "rows": list(_flat(recipe).items())},
        {"name": "Machine", "rows": list(_flat(config.get("environment") or {}).items())},
    ]


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Names and values to read; what is empty, off or too long to read is left out."""
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


def _range(estimate: Estimate) -> str:
    return f"{percent(estimate.low)} to {percent(estimate.high)}"
