"""Write the tables of the documents from the records: ``python -m benchmarks.document``.

A table goes between ``<!-- table: NAME -->`` and ``<!-- end -->``; it is made from the newest
record that has it, or counted from the networks. None of our figures is typed by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.evidence import tables as evidence
from benchmarks.gpu import tables as gpu
from benchmarks.table import markdown, newest
from senet.models import create_model, entry
from senet.models.describe.cost import multiply_adds, parameters
from senet.nn import ChannelAttention

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def source(environment: dict[str, Any], name: str) -> str:
    e = environment
    return (
        f"\n{e['device']}; torch {e['torch']}, {e['threads']} threads, allocator {e['allocator']}, "
        f"{e['date']}, load before {e['load_before']:.1f}; medians, in turn in one run. "
        f"Record: `{name}`.\n"
    )


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _times(slow: float, fast: float) -> str:
    """Return how many times faster ``fast`` is."""
    return f"{slow / fast:.2f}×"


def tails() -> str:
    rows, environment, name = newest("tails")
    forms = ("SE fused", "SE eager", "SE compiled", "plain fused", "plain eager")
    head = (
        "shape",
        *forms,
        "over eager",
        "over compiled",
        "over plain fused",
        "bfloat16 over float32",
    )
    body = []
    for row in rows:
        ms = row["ms"]
        fused = ms["SE fused"]
        gains = [_times(ms[form], fused) for form in ("SE eager", "SE compiled")]
        gains += [_times(ms["plain fused"], fused), _times(fused, ms["SE fused, bfloat16"])]
        body.append((row["shape"], *(_ms(ms[form]) for form in forms), *gains))
    return markdown(head, body) + source(environment, name)


def shared() -> str:
    by_setting, environment, name = newest("shared")
    surroundings = tuple(next(iter(by_setting.values())))
    body = [
        (setting, *(_ms(ms[surrounding]) for surrounding in surroundings))
        for setting, ms in by_setting.items()
    ]
    return markdown(("threads wait", *surroundings), body) + source(environment, name)


def pointwise() -> str:
    rows, environment, name = newest("pointwise")
    forms = tuple(rows[0]["us"])
    body = [
        (
            *(row["type"], row["shape"], *(f"{row['us'][form]:.0f}" for form in forms)),
            _times(row["us"]["ours, SE inside"], row["us"]["oneDNN"]),
        )
        for row in rows
    ]
    head = ("type", "shape", *forms, "SE inside over oneDNN without SE")
    return markdown(head, body) + source(environment, name)


def gates() -> str:
    rows, environment, name = newest("gates")
    plain = rows[0]["ms"]
    body = [(row["gate"], _ms(row["ms"]), _times(row["ms"], plain)) for row in rows]
    return markdown(("gate", "ms", "of none"), body) + source(environment, name)


def networks() -> str:
    tables, environment, name = newest("networks")
    parts = []
    for title, times in tables.items():
        ours = next(iter(times.values()))
        unit = "MiB" if title.endswith("MiB") else "ms"
        rows = [(form, _ms(value), _times(value, ours)) for form, value in times.items()]
        parts.append(f"{title}:\n\n" + markdown(("form", unit, "of the first"), rows))
    return "\n".join(parts) + source(environment, name)


def small() -> str:
    rows, environment, name = newest("small")
    columns = [(p, m) for p in ("SE", "plain") for m in ("training", "inference")]
    body = [
        (
            f"{row['numbers']:,}",
            *(
                f"{row['us'][f'{p}, {m}, passes']:.0f} / {row['us'][f'{p}, {m}, modules']:.0f}"
                for p, m in columns
            ),
        )
        for row in rows
    ]
    head = ("numbers of the map", *(f"{p}, {m}" for p, m in columns))
    return markdown(head, body) + source(environment, name)


def shares() -> str:
    forms, environment, name = newest("shares")
    groups = next(iter(forms.values()))
    body = [
        (form, _ms(sum(ms.values())), *(f"{100 * ms[g] / sum(ms.values()):.1f} %" for g in groups))
        for form, ms in forms.items()
    ]
    return markdown(("training step", "ms", *groups), body) + source(environment, name)


def exports() -> str:
    rows, environment, name = newest("exports")
    body = [
        (
            row["network"],
            f"{row['size']} × {row['size']}",
            f"{row['export, s']:.1f}",
            *(f"{row['ms'][form]:.2f}" for form in ("as it is", "exported")),
            *("never" if row[k] is None else f"{row[k]:,}" for k in ("images", "positions")),
        )
        for row in rows
    ]
    times = ("export, s", "an image as it is, ms", "exported, ms")
    head = ("network", "size", *times, "images until it pays", "their positions")
    return markdown(head, body) + source(environment, name)


def pieces() -> str:
    rows, environment, name = newest("pieces")
    body = [(row["numbers"], _ms(row["ms"])) for row in rows]
    return markdown(("numbers of the largest map", "16 images, ms"), body) + source(
        environment, name
    )


def early() -> str:
    rows, environment, name = newest("early")
    body = [
        (
            row["shape"],
            f"{row['BN/C']:.2g}",
            *(f"{row['ms'][k]:.3f}" for k in ("after", "before")),
            _times(row["ms"]["after"], row["ms"]["before"]),
        )
        for row in rows
    ]
    head = ("shape", "B·N / C", "squeeze after, ms", "squeeze before, ms", "gain")
    return markdown(head, body) + source(environment, name)


def surgery() -> str:
    rows, environment, name = newest("surgery")
    body = []
    for row in rows:
        default, kept = row["default"], row.get("keeps memory")
        difference = f"{default['difference']:.0e}"
        cells = [default["network"], default["changed"], default["left alone"], difference]
        for ms in (default["training"], kept and kept["training"], default["inference"]):
            if ms:
                before, after = ms["as it is"], ms["accelerated"]
                cells.append(f"{_ms(before)} → {_ms(after)}, {_times(before, after)}")
            else:
                cells.append("")
        body.append(cells)
    head = ("network", "places changed", "left alone", "largest difference")
    speeds = ("training step, ms", "with memory kept", "inference, ms")
    return markdown((*head, *speeds), body) + source(environment, name)


def blocks() -> str:
    rows, environment, name = newest("blocks")
    body = []
    for row in rows:
        cells = [row["block"], row["input"], row["tails"]]
        for ms in (row["training"], row["inference"]):
            before, after = ms["as it is"], ms["accelerated"]
            cells.append(f"{_ms(before)} → {_ms(after)}, {_times(before, after)}")
        body.append(cells)
    head = ("block", "input", "tails on the passes", "training, ms", "inference, ms")
    return markdown(head, body) + source(environment, name)


def insertion() -> str:
    rows, environment, name = newest("insertion")
    body = []
    for row in rows:
        seen = [row.get(key) for key in ("largest_change_of_a_logit", "gates_off_1")]
        body.append(
            (
                row["network"],
                f"{row['lr']:g}",
                row["form"],
                f"{row['added_parameters']:,}",
                *("" if value is None else f"{value:.2g}" for value in seen),
                " → ".join(f"{100 * row[when]['accuracy']:.2f}" for when in ("before", "after")),
                row["steps"],
                f"{row['seconds']:.0f}",
            )
        )
    head = (
        "network",
        "learning rate",
        "form",
        "parameters added",
        "largest change of a logit at the start, 1,000 images",
        "mean of abs(s − 1) after",
        "test accuracy, %",
        "steps",
        "seconds",
    )
    where = f"\n{environment['device']}, {environment['date']}. Record: `{name}`.\n"
    return markdown(head, body) + where


def crops() -> str:
    rows, environment, name = newest("photos-crops")
    draws = sorted({row["draw"] for row in rows})
    found = {(row["crop"], row["draw"]): row["val"] for row in rows}
    body = [
        (f"{crop:g}", *(f"{100 * found[crop, draw]:.1f}" for draw in draws))
        for crop in sorted({row["crop"] for row in rows})
    ]
    head = ("`--set crop=`", *(f"validation of draw {draw}, %" for draw in draws))
    where = f"\n{environment['device']}, {environment['date']}. Record: `{name}`.\n"
    return markdown(head, body) + where


def photos() -> str:
    rows, environment, name = newest("photos-figures")
    body = [
        (
            f"fine-tuned, {row['epochs']} epochs, seed {row['seed']}" if row["epochs"] else "probe",
            *(f"{100 * row[what]:.1f}" for what in ("val", "test")),
            f"{row['seconds']:.0f}",
        )
        for row in rows
    ]
    where = (
        f"\n{environment['device']}, {environment['threads']} threads, {environment['date']}. "
        f"Record: `{name}`.\n"
    )
    return markdown(("what", "validation, %", "test, %", "seconds"), body) + where


# In older and newer records.
_PASSES = ("moments", "affine", "grad_moments", "grad_scale", "grad_affine")


def passes() -> str:
    rows, environment, name = newest("passes")
    forms = ("copy", *(form for form in _PASSES if form in rows[0]["GB/s"]))
    body = [
        (row["shape"], row["type"], row["layout"], *(f"{row['GB/s'][f]:.0f}" for f in forms))
        for row in rows
        if row["shape"].startswith("16") and row["type"] != "float16"
    ]
    head = ("shape", "type", "layout", *(f"{f}, GB/s" for f in forms))
    return markdown(head, body) + source(environment, name)


def study(name: str) -> str:
    rows, environment, record = newest(name)
    body = [
        (
            row["setting"],
            row["seeds"],
            f"{100 * row['val']:.1f} ± {100 * row['val deviation']:.1f}",
            f"{100 * row['test']:.1f} ± {100 * row['test deviation']:.1f}",
        )
        for row in rows
    ]
    head = ("setting", "seeds", "validation, %", "test, %")
    where = f"\n{environment['device']}, {environment['date']}. Record: `{record}`.\n"
    return markdown(head, body) + where


# Tables 2 and 3 of arXiv 1709.01507v4: billions of multiply-adds, plain and with SE.
PAPER: dict[str, tuple[float, float, dict[str, Any]]] = {
    "resnet50": (3.86, 3.87, {"stride_on": "1x1"}),
    "resnet101": (7.58, 7.60, {"stride_on": "1x1"}),
    "resnet152": (11.30, 11.32, {"stride_on": "1x1"}),
    "resnext50_32x4d": (4.24, 4.25, {}),
    "resnext101_32x4d": (7.99, 8.00, {}),
    "vgg16_bn": (15.47, 15.48, {}),
    "bn_inception": (2.03, 2.04, {}),
    "inception_resnet_v2": (11.75, 11.76, {}),
    "mobilenet": (0.569, 0.572, {}),
    "shufflenet_g3": (0.140, 0.142, {}),
}


def counts() -> str:
    """Return the table of counts, computed at the call: nothing here is measured."""
    body = []
    for name, (plain, se, options) in PAPER.items():
        twin = entry(name).twin
        side = entry(name).preprocessing.size
        networks = {}
        for n in (name, twin):
            with torch.device("meta"):
                networks[n] = create_model(n, **options)
        ours = {n: multiply_adds(m, (3, side, side))[0] for n, m in networks.items()}
        squeezed = ours[twin] + _squeezed(networks[twin], side)
        digits = 2 if plain > 1 else 3
        body.append(
            (
                name,
                f"{parameters(networks[name])[0]:,}",
                f"{parameters(networks[twin])[0]:,}",
                f"{plain:.{digits}f} → {se:.{digits}f}",
                f"{ours[name] / 1e9:.{digits}f} → {squeezed / 1e9:.{digits}f}",
                f"{ours[twin] / 1e9:.{digits}f}",
            )
        )
    head = (
        "network",
        "parameters",
        "with SE",
        "multiply-adds in the paper, G",
        "here, the squeeze's additions counted",
        "with SE, without them",
    )
    return markdown(head, body)


def _squeezed(model: nn.Module, side: int) -> int:
    """Return how many numbers the squeezes of a network add up."""
    numbers: list[int] = []
    for block in model.modules():
        if isinstance(block, ChannelAttention):
            block.register_forward_pre_hook(lambda _, maps: numbers.append(maps[0].numel()))
    model.eval()(torch.empty(1, 3, side, side, device="meta"))
    return sum(numbers)


TABLES: dict[str, Callable[[], str]] = {
    "shared": shared,
    "pointwise": pointwise,
    "gates": gates,
    "tails": tails,
    "networks": networks,
    "passes": passes,
    "small": small,
    "shares": shares,
    "exports": exports,
    "pieces": pieces,
    "early": early,
    "surgery": surgery,
    "blocks": blocks,
    "insertion": insertion,
    "photos-crops": crops,
    "photos-figures": photos,
    "counts": counts,
    "gate": lambda: study("gate"),
    "rate": lambda: study("rate"),
    "size": lambda: study("size"),
    **evidence.TABLES,
    **gpu.TABLES,
}


def _renewed(found: re.Match[str]) -> str:
    """Return a block with its new table, or unchanged if nothing has been recorded yet."""
    try:
        return found[1] + TABLES[found[2]]() + found[3]
    except FileNotFoundError as missing:
        print(missing)
        return found[0]


def main() -> None:
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        made = BLOCK.sub(_renewed, text)
        if made != text:
            path.write_text(made, encoding="utf-8")
            print(f"{path.name}: tables renewed")


if __name__ == "__main__":
    main()
