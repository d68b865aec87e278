import io
import re

import pytest
from rich.console import Console

from senet.known import count
from senet.models import entry
from senet.models.describe.summary import summarise
from senet.models.describe.tables import tables
from tests.models.agreement import shapes_of


def text(summaries, width, times=None):
    file = io.StringIO()
    console = Console(width=width, file=file)
    for table in tables(summaries, times, width):
        console.print(table)
    return file.getvalue()


def test_networks_stand_side_by_side_where_the_terminal_is_wide_enough():
    names = ["resnet50", "se_resnet50", "se_resnext50_32x4d"]
    summaries = [summarise(shapes_of(name), (3, 224, 224)) for name in names]
    wide = text(summaries, 120)
    assert all(name in wide.splitlines()[1] for name in names)
    assert "⎣ fc, [16, 256]  ⎦" in wide
    assert "⎢ conv, 3×3, 64  ⎥ × 3" in wide
    assert "28,088,024" in wide
    assert "2,530,992 (9.01 %)" in wide
    narrow = text(summaries, 80)
    assert max(map(len, narrow.splitlines())) <= 80
    assert "…" not in narrow
    assert narrow.count("│ stage") == 2


def test_networks_of_other_inputs_say_their_sizes_themselves():
    summaries = [
        summarise(shapes_of("se_resnet8_cifar"), (3, 32, 32)),
        summarise(shapes_of("se_resnet18"), (3, 224, 224)),
    ]
    lines = text(summaries, 100, times=[1.0, 2.0]).splitlines()
    (row,) = [line for line in lines if line.startswith("│ conv2_x")]
    assert "32 × 32" in row
    assert "56 × 56" in row
    assert any("1.0 ms" in line and "2.0 ms" in line for line in lines)


def test_rows_are_in_the_order_of_every_network():
    names = ["resnet8_cifar", "senet154", "se_vgg16_bn", "mobilenet_v3_small"]
    sizes = [entry(name).preprocessing.size for name in names]
    summaries = [
        summarise(shapes_of(name), (3, size, size)) for name, size in zip(names, sizes, strict=True)
    ]
    for order in (summaries, summaries[::-1]):
        labels = re.findall(r"│ (\w+) +│ +\S", text(order, 200))
        rows = [label for label in labels if label not in ("stage", "parameters")]
        assert len(rows) == len(set(rows))
        for summary in order:
            own = [stage.name for stage in summary.stages]
            assert [row for row in rows if row in own] == own


def test_a_layer_alone_has_no_tall_brackets():
    lines = text([summarise(shapes_of("vgg16_bn"), (3, 224, 224))], 80).splitlines()
    assert any("│ [ conv, 3×3, 64 ] × 2" in line for line in lines)
    assert any("│ max pool, 2×2, stride 2 " in line for line in lines)


def test_modules_of_other_names_are_not_said_in_one_row():
    summaries = [
        summarise(shapes_of(name), (3, 224, 224))
        for name in ("resnet18", "se_resnet18", "vgg16_bn")
    ]
    assert "layer1" in text(summaries[:2], 120)
    assert "layer1" not in text(summaries, 120)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("se_resnet8_cifar", "fc, [1, 16]"),
        ("se_shake_shake_26_2x96d", "fc, [6, 96]"),
        ("regnety_016", "fc, [8, 48]"),
    ],
)
def test_se_is_in_colour(name, words):
    assert coloured(name)[0] == words
    assert not coloured(entry(name).twin)


def test_other_attention_is_in_colour():
    assert coloured("resnet8_cifar", attention="eca") == ["EfficientChannelAttention"] * 3
    assert not coloured("resnext50_32x4d")  # whose C = 32 is no attention


def coloured(name, **options):
    size = entry(name).preprocessing.size
    (table,) = tables([summarise(shapes_of(name, **options), (3, size, size))], None, 120)
    file = io.StringIO()
    Console(width=120, file=file, force_terminal=True, color_system="standard").print(table)
    return [word.strip() for word in re.findall("\x1b\\[36m(.*?)\x1b", file.getvalue())]


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (672, "672"), (2016, "2.02 k"), (999_999, "1000 k"), (11_520_204_800, "11.5 G")],
)
def test_counts_have_three_digits(number, words):
    assert count(number) == words
