"""Tables at any width: what is left out, and what is never cut."""

import pytest
from rich.cells import cell_len

from senet.cli.show import Column, name, number, prose, show_details, show_table

ADDRESS = "https://example.org/a/rather/long/address/of/weights-0a1b2c3d.pth"
COLUMNS = [
    name("set"),
    number("top-1"),
    number("size", drop=1),
    name("licence", drop=2),
    name("source", drop=3),
]
ROWS = [
    ["se_resnet50.timm_a1_in1k", "81.1 %", "224", "apache-2.0", ADDRESS],
    ["resnet18.v1", "69.8 %", "32", "mit", "owner/name"],
]


def printed(capsys, columns, rows, width, monkeypatch, **more):
    monkeypatch.setenv("COLUMNS", str(width))
    left_out = show_table(columns, rows, **more)
    return capsys.readouterr().out.splitlines(), left_out


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (160, []),
        (121, []),
        (100, ["source"]),
        (80, ["source"]),
        (52, ["source"]),
        (45, ["licence", "source"]),
        (35, ["size", "licence", "source"]),
        (10, ["size", "licence", "source"]),
    ],
)
def test_the_least_important_column_goes_first(capsys, monkeypatch, width, left_out):
    lines, gone = printed(capsys, COLUMNS, ROWS, width, monkeypatch)
    assert gone == left_out
    assert len(lines) == 1 + len(ROWS)
    assert lines[1].startswith("se_resnet50.timm_a1_in1k  81.1 %")  # whole, also at 10 columns
    if width > 35:
        assert max(map(cell_len, lines)) <= width
    assert (ADDRESS in lines[1]) == ("source" not in left_out)


def test_what_is_left_out_is_said_with_the_command_that_shows_it(capsys, monkeypatch):
    lines, _ = printed(capsys, COLUMNS, ROWS, 80, monkeypatch, more="senet weights SET")
    assert lines[-2:] == ["No room for: source.", "To see all: senet weights SET"]
    lines, _ = printed(capsys, COLUMNS, ROWS, 160, monkeypatch, more="senet weights SET")
    assert len(lines) == 1 + len(ROWS)


def test_a_single_row_is_turned_where_it_has_no_room(capsys, monkeypatch):
    lines, gone = printed(capsys, COLUMNS, ROWS[:1], 80, monkeypatch)
    assert gone == []
    assert lines[-1].split() == ["source", ADDRESS]
    assert len(lines) == len(COLUMNS)


def test_columns_are_aligned_and_lines_end_where_their_text_ends(capsys, monkeypatch):
    lines, _ = printed(
        capsys, [number("n"), name("日本")], [["7", "日本語"], ["10", "x"]], 80, monkeypatch
    )
    assert lines == [" n  日本", " 7  日本語", "10  x"]


def test_titles_of_two_lines_stand_on_their_row(capsys, monkeypatch):
    lines, _ = printed(
        capsys, [name("network"), number("test\naccuracy")], [["a", "1"]], 80, monkeypatch
    )
    assert lines == ["             test", "network  accuracy", "a               1"]


@pytest.mark.parametrize("width", [20, 40, 80, 100, 160])
def test_prose_is_broken_between_words_alone(capsys, monkeypatch, width):
    says = "install a PyTorch built for yours: /a/path/that/is/long/and-has-hyphens/bin/python"
    lines, _ = printed(capsys, [name(""), prose()], [["triton", says]], width, monkeypatch)
    assert " ".join(" ".join(lines).split()) == f"triton {says}"
    assert any("/a/path/that/is/long/and-has-hyphens/bin/python" in line for line in lines)
    assert all(len(line) <= max(width, 8 + 47) for line in lines)


def test_markup_in_cells_is_text(capsys, monkeypatch):
    lines, _ = printed(
        capsys, [Column("class")], [["[red]cat[/red]"], [("[b]", "dim")]], 80, monkeypatch
    )
    assert lines == ["class", "[red]cat[/red]", "[b]"]


def test_details_are_whole_and_empty_ones_left_out(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    show_details([("source", ADDRESS), ("tested", ""), ("test\naccuracy", "1")])
    assert capsys.readouterr().out.splitlines() == [
        f"source         {ADDRESS}",
        "test accuracy  1",
    ]
