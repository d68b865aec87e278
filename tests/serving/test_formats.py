import csv
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from senet.serving import Prediction, formats

ANSWERS = [
    Prediction("photos/a, b.jpg", (("cat", 0.9), ("dog", 0.099))),
    Prediction("photos/[red]c.jpg", (("[bold]newt", 0.99999), ("cat", 0.00001))),
    Prediction("photos/bad.jpg", error="the file is empty"),
]


def test_json_is_read_back():
    rows = json.loads(formats.as_json(ANSWERS))
    assert rows[0] == {
        "file": "photos/a, b.jpg",
        "class": "cat",
        "probability": 0.9,
        "guesses": [{"class": "cat", "probability": 0.9}, {"class": "dog", "probability": 0.099}],
        "error": None,
    }
    assert rows[2] == {
        "file": "photos/bad.jpg",
        "class": None,
        "probability": None,
        "guesses": None,
        "error": "the file is empty",
    }


def test_csv_is_read_back():
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(ANSWERS))))
    assert list(rows[0]) == ["file", "class", "probability", "class2", "probability2", "error"]
    assert rows[0]["file"] == "photos/a, b.jpg"
    assert (rows[0]["class"], rows[0]["probability"]) == ("cat", "0.900000")
    assert (rows[2]["class"], rows[2]["error"]) == ("", "the file is empty")


def test_csv_without_a_single_answer_has_its_columns():
    text = formats.as_csv(ANSWERS[2:])
    assert text.splitlines()[0] == "file,class,probability,error"


def table(answers, width=100):
    console = Console(width=width, file=io.StringIO())
    console.print(formats.as_table(answers))
    return console.file.getvalue()


def test_the_table_says_everything_and_takes_names_as_they_are():
    text = table(ANSWERS)
    for words in ("cat", "90.0 %", "dog 9.9 %", "[bold]newt", "> 99.9 %", "cat < 0.1 %"):
        assert words in text
    assert "photos/[red]c.jpg" in text
    assert "the file is empty" in text


def test_columns_without_content_are_left_out():
    text = table([Prediction("a.jpg", (("cat", 0.5),))])
    assert "error" not in text
    assert "next best" not in text


def test_a_narrow_table_loses_nothing():
    name = "a/" + "long" * 30 + ".jpg"
    lines = table([Prediction(name, (("cat", 0.5),))], width=60).splitlines()
    assert max(map(len, lines)) <= 60
    cells = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert "".join(cells) == "file" + name


def test_the_name_of_the_file_says_the_format(tmp_path):
    for name, format in (("a.json", "json"), ("a.CSV", "csv"), ("a.txt", "table")):
        assert formats.of_file(tmp_path / name) == format


def test_a_file_is_written_whole_and_never_over_another(tmp_path):
    path = tmp_path / "answers.json"
    formats.write(path, "json", ANSWERS)
    assert path.read_text(encoding="utf-8") == formats.as_json(ANSWERS)
    assert [p.name for p in tmp_path.iterdir()] == ["answers.json"]
    with pytest.raises(FileExistsError, match="already exists"):
        formats.write(path, "csv", ANSWERS)
    assert path.read_text(encoding="utf-8") == formats.as_json(ANSWERS)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        formats.write(tmp_path / "gone" / "answers.json", "json", ANSWERS)


def test_names_that_are_no_text_make_no_file_that_is_no_text(tmp_path):
    answer = Prediction(os.fsdecode(b"caf\xe9.jpg"), (("cat", 0.5),))
    for format in ("csv", "json", "table"):
        formats.write(tmp_path / format, format, [answer])
        assert "caf\\udce9.jpg" in (tmp_path / format).read_text(encoding="utf-8")
    (row,) = json.loads((tmp_path / "json").read_bytes())
    assert os.fsencode(row["file"]) == b"caf\xe9.jpg"


@pytest.mark.parametrize("name", ["p.xlsx", "p.jsn", "p.tar.gz"])
def test_a_format_that_is_not_known_is_refused_with_those_that_are(name):
    with pytest.raises(
        ValueError, match=r"cannot be written as \.\w+, only as \.csv, \.json, \.jsonl, \.txt"
    ):
        formats.of_file(Path(name))


def test_json_lines_are_the_same_objects_one_a_line():
    lines = formats.as_text("jsonl", ANSWERS).splitlines()
    assert [json.loads(line) for line in lines] == json.loads(formats.as_json(ANSWERS))


JUDGED = [
    Prediction("a.jpg", (("cat", 0.4),), unsure=True),
    Prediction("b.jpg", (("cat", 0.9),), unsure=False),
    Prediction("bad.jpg", error="the file is empty"),
]


def test_what_is_unsure_is_said_in_every_format():
    rows = json.loads(formats.as_json(JUDGED))
    assert [row.get("unsure") for row in rows] == [True, False, None]
    assert rows[0]["class"] == "cat"
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(JUDGED))))
    assert list(rows[0]) == ["file", "class", "probability", "unsure", "error"]
    assert [row["unsure"] for row in rows] == ["true", "false", ""]
    assert rows[2]["error"] == "the file is empty"
    assert "unsure: cat" in table(JUDGED)
