import io

import pytest
import torch
from rich.console import Console
from torch import nn

from senet.models import create_model, entry
from senet.models.summary import catalogue, count, image_ms, summarise, tables

# Table 1 of the paper (arXiv 1709.01507v4): output size, the layers in brackets, and how often.
CONV1 = ((112, 112), ("conv, 7×7, 64, stride 2",))
POOL = ("max pool, 3×3, stride 2",)
HEAD = ((1, 1), ("global average pool\n1000-d fc, softmax",))
TABLE_1 = {
    "resnet50": [
        ((56, 56), ("conv, 1×1, 64", "conv, 3×3, 64", "conv, 1×1, 256"), 3),
        ((28, 28), ("conv, 1×1, 128", "conv, 3×3, 128", "conv, 1×1, 512"), 4),
        ((14, 14), ("conv, 1×1, 256", "conv, 3×3, 256", "conv, 1×1, 1024"), 6),
        ((7, 7), ("conv, 1×1, 512", "conv, 3×3, 512", "conv, 1×1, 2048"), 3),
    ],
    "se_resnet50": [
        ((56, 56), ("conv, 1×1, 64", "conv, 3×3, 64", "conv, 1×1, 256", "fc, [16, 256]"), 3),
        ((28, 28), ("conv, 1×1, 128", "conv, 3×3, 128", "conv, 1×1, 512", "fc, [32, 512]"), 4),
        ((14, 14), ("conv, 1×1, 256", "conv, 3×3, 256", "conv, 1×1, 1024", "fc, [64, 1024]"), 6),
        ((7, 7), ("conv, 1×1, 512", "conv, 3×3, 512", "conv, 1×1, 2048", "fc, [128, 2048]"), 3),
    ],
    "se_resnext50_32x4d": [
        (
            (56, 56),
            ("conv, 1×1, 128", "conv, 3×3, 128, C = 32", "conv, 1×1, 256", "fc, [16, 256]"),
            3,
        ),
        (
            (28, 28),
            ("conv, 1×1, 256", "conv, 3×3, 256, C = 32", "conv, 1×1, 512", "fc, [32, 512]"),
            4,
        ),
        (
            (14, 14),
            ("conv, 1×1, 512", "conv, 3×3, 512, C = 32", "conv, 1×1, 1024", "fc, [64, 1024]"),
            6,
        ),
        (
            (7, 7),
            ("conv, 1×1, 1024", "conv, 3×3, 1024, C = 32", "conv, 1×1, 2048", "fc, [128, 2048]"),
            3,
        ),
    ],
}


def shapes_of(name, **options):
    """The network without weights: the summary looks at nothing but shapes."""
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize("name", TABLE_1)
def test_the_rows_are_those_of_table_1(name):
    stem, *stages, head = summarise(shapes_of(name), (3, 224, 224)).stages
    assert (stem.output, stem.opening, stem.blocks) == (*CONV1, ())
    assert (head.output, head.opening, head.blocks) == (*HEAD, ())
    assert [s.name for s in stages] == ["conv2_x", "conv3_x", "conv4_x", "conv5_x"]
    assert [s.opening for s in stages] == [POOL, (), (), ()]
    found = [(s.output, b.layers, b.repeats) for s in stages for b in s.blocks]
    assert found == TABLE_1[name]


def rows(name, size=32, **options):
    model = shapes_of(name, **options)
    summary = summarise(model, (model.architecture.in_channels, size, size))
    return [(s.output, b.layers, b.repeats) for s in summary.stages for b in s.blocks]


def test_basic_blocks():
    assert rows("se_resnet20_cifar") == [
        ((32, 32), ("conv, 3×3, 16", "conv, 3×3, 16", "fc, [1, 16]"), 3),
        ((16, 16), ("conv, 3×3, 32", "conv, 3×3, 32", "fc, [2, 32]"), 3),
        ((8, 8), ("conv, 3×3, 64", "conv, 3×3, 64", "fc, [4, 64]"), 3),
    ]


def test_preactivation_and_wide_blocks():
    assert rows("resnet164_cifar")[0] == (
        (32, 32),
        ("conv, 1×1, 16", "conv, 3×3, 16", "conv, 1×1, 64"),
        18,
    )
    assert rows("se_wide_resnet16_8_cifar")[-1] == (
        (8, 8),
        ("conv, 3×3, 512", "conv, 3×3, 512", "fc, [32, 512]"),
        2,
    )


def test_what_is_not_as_in_the_paper_is_said():
    options = {"reduction": 4, "squeeze": "max", "gate": "tanh"}
    first = rows("se_resnet8_cifar", in_channels=1, size=28, **options)[0]
    assert first[1][-1] == "fc, [4, 16], squeeze max, gate tanh"


@pytest.mark.parametrize(
    ("name", "depth"),
    [("resnet34", 34), ("se_resnet18", 18), ("se_resnet56_cifar", 56), ("resnet164_cifar", 164)],
)
def test_the_layers_are_as_many_as_the_name_says(name, depth):
    side = entry(name).preprocessing.size
    summary = summarise(shapes_of(name), (3, side, side))
    layers = [words for s in summary.stages for b in s.blocks for words in b.layers * b.repeats]
    assert sum(words.startswith("conv") for words in layers) + 2 == depth  # and stem and head
    assert (summary.parameters[1] > 0) == name.startswith("se_")
    assert (summary.multiply_adds[1] > 0) == name.startswith("se_")


def test_the_model_is_left_as_it_was():
    model = create_model("se_resnet8_cifar").train()
    summarise(model, (3, 32, 32))
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_images_that_do_not_fit_are_refused():
    model = create_model("se_resnet8_cifar")
    with pytest.raises(ValueError, match="takes images of 3 channels"):
        summarise(model, (1, 32, 32))
    small = create_model("resnet18", stem_pool="ceil")
    with pytest.raises(ValueError, match="images of 1×1 are too small"):
        summarise(small, (3, 1, 1))


def text(summaries, width, times=None):
    console = Console(width=width, file=io.StringIO())
    for table in tables(summaries, times, width):
        console.print(table)
    return console.file.getvalue()


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


class Probe(nn.Module):
    """Notes when it runs, and in which state."""

    calls: list = []  # noqa: RUF012 - of the class: a copy of the module must write here too

    def forward(self, x):
        self.calls.append((x.shape[2], self.training, torch.is_grad_enabled()))
        return x


def test_networks_are_timed_in_turn_in_evaluation():
    Probe.calls.clear()
    probe = Probe().train()
    times = image_ms([(probe, (3, 8, 8)), (probe, (3, 4, 4))], repeats=3)
    # Twice in each turn: the second counts.
    assert Probe.calls == ([(8, False, False)] * 2 + [(4, False, False)] * 2) * 3
    assert len(times) == 2
    assert min(times) > 0
    assert probe.training


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (672, "672"), (2016, "2.02 k"), (999_999, "1000 k"), (11_520_204_800, "11.5 G")],
)
def test_counts_have_three_digits(number, words):
    assert count(number) == words


def test_the_catalogue_has_every_network_once():
    names = ["se_resnet18", "resnet8_cifar", "resnet18", "se_resnet8_cifar", "resnet34"]
    found = list(catalogue(names))
    assert sum(table.row_count for table in found) == len(names)
    assert len(found) == 2  # two sizes of input
    cells = [cell for table in found for cell in table.columns[0].cells]
    expected = ["resnet18", "se_resnet18", "resnet34", "resnet8_cifar", "se_resnet8_cifar"]
    assert cells == expected
