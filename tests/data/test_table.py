"""A table of files, classes and splits is a data set like a folder."""

import json
import shutil

import pytest

from senet.data import open_source
from senet.data.folder import open_labelled, open_new
from senet.data.table import read_listed, read_table
from senet.paths import table_of
from tests.data.test_folder import files, names


@pytest.fixture
def flat(photos, tmp_path):
    """All photos in one folder, and their classes in a list of (file, class)."""
    folder = tmp_path / "flat" / "images"
    folder.mkdir(parents=True)
    rows = []
    for path in sorted(photos.rglob("*.jpg")):
        name = f"{path.parent.name}-{path.name}"
        shutil.copy(path, folder / name)
        rows.append((f"images/{name}", path.parent.name))
    return tmp_path / "flat", rows


def written(folder, rows, head="file,label", name="labels.csv", encoding="utf-8"):
    separator = next((s for s in ";\t" if s in head), ",")
    path = folder / name
    path.write_text("\n".join([head, *(separator.join(row) for row in rows)]), encoding)
    return path


def test_without_splits_they_are_made_and_recorded(flat):
    folder, rows = flat
    source = open_source(written(folder, rows))
    assert source.name == "labels.csv"
    assert source.classes == ("cat", "dog", "owl")
    assert source.counts == {"train": 42, "val": 6, "test": 12}
    for split in (source.train, source.val, source.test):
        for file, label in zip(names(split), split.labels, strict=True):
            assert file.startswith(f"images/{source.classes[label]}-")
    record = json.loads(json.dumps(source.record))
    written(folder, rows[:10])  # the record has the classes: the table may change, or be gone
    assert files(open_source(source.path, record=record)) == files(source)


def test_splits_are_those_of_the_table(flat):
    folder, rows = flat
    parts = ["Training", "valid", "TEST"]
    rows = [(*row, parts[i % 3]) for i, row in enumerate(rows)]
    source = open_source(written(folder, rows, "file,label,split"))
    assert source.counts == {"train": 20, "val": 20, "test": 20}
    assert set(names(source.test)) == {row[0] for row in rows if row[2] == "TEST"}
    images, part = open_labelled(folder / "labels.csv", source.classes)
    assert (len(images), part) == (20, "test")


@pytest.mark.parametrize(
    ("head", "suffix"),
    [("Filename,Class", ""), ("path;category", ""), ("image\ttarget", ""), ("\ufefffile,label", ""),
     ("photo,species", ":file=photo,label=species"), ("label,file", ":file=label,label=file")],
)  # fmt: skip
def test_columns_are_found_or_named(flat, head, suffix):
    folder, rows = flat
    path = written(folder, rows, head)
    source = open_source(f"{path}{suffix}")
    assert source.classes == ("cat", "dog", "owl")
    assert source.path == f"{path}{suffix}"
    assert files(open_source(source.path)) == files(source)


def test_files_may_be_anywhere(flat, tmp_path):
    folder, rows = flat
    rows = [(str(folder / file), label) for file, label in rows]
    source = open_source(written(tmp_path, rows, name="elsewhere.tsv", head="file\tlabel"))
    assert source.counts == {"train": 42, "val": 6, "test": 12}
    assert source.train[0][0].shape[0] == 3


def test_classes_that_are_numbers_are_in_their_order(flat):
    folder, rows = flat
    rows = [(file, {"cat": "10", "dog": "9", "owl": "100"}[label]) for file, label in rows]
    assert open_source(written(folder, rows)).classes == ("9", "10", "100")


def test_missing_files_are_left_out_and_named(flat):
    folder, rows = flat
    path = written(folder, [*rows, ("images/gone.jpg", "cat")])
    with pytest.warns(UserWarning, match=r"1 of 61 files(.|\n)*gone\.jpg: there is no such file"):
        source = open_source(path)
    assert sum(source.counts.values()) == 60
    path = written(folder, [(f"photos/{file}", label) for file, label in rows])
    with pytest.raises(ValueError, match="no image that can be read"):
        open_source(path)


def test_rows_that_were_added_are_new(flat):
    folder, rows = flat
    source = open_source(written(folder, rows[:-1]))
    new = open_new(written(folder, rows), source.record)
    assert names(new) == [rows[-1][0]]


@pytest.mark.parametrize(
    ("head", "rows", "message"),
    [("a,b", [("1.jpg", "cat")], "for the file of an image, but a, b. Name it: labels.csv:file="),
     ("file,b", [("1.jpg", "cat")], "no column for the label"),
     ("file,label", [], "names no image"),
     ("file,label", [("1.jpg", "")], "line 2: there is no class"),
     ("file,label", [("1.jpg",)], "line 2: there is no class"),
     ("file,label", [("1.jpg", "cat"), ("1.jpg", "dog")], r"twice, as cat \(train\) and as dog"),
     ("file,label,split", [("1.jpg", "cat", "fold3")], "the split is 'fold3'; known are train"),
     ("", [], "is empty: its first line must name the columns")],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, head, rows, message):
    with pytest.raises(ValueError, match=message):
        open_source(written(tmp_path, rows, head))


def test_a_table_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"there is no table '.*labels\.csv'"):
        open_source(tmp_path / "labels.csv")
    path = written(tmp_path, [("1.jpg", "chat été")], encoding="latin-1")
    with pytest.raises(ValueError, match="not text in UTF-8"):
        open_source(path)
    with pytest.raises(ValueError, match="Did you mean label"):
        open_source(f"{path}:labels=x")
    path = written(tmp_path, [("1.jpg", "cat")])
    with pytest.raises(ValueError, match="no column 'specie', but file, label"):
        open_source(f"{path}:label=specie")


def test_a_table_without_training_images(flat):
    folder, rows = flat
    table = written(folder, [(*row, "dev") for row in rows], "file,label,split")
    with pytest.raises(ValueError, match=r"labels.csv has no row of the split 'train', but 'val'"):
        open_source(table)


def test_the_same_row_twice_is_one_image(tmp_path):
    path = written(tmp_path, [("1.jpg", "cat"), ("1.jpg", "cat")])
    rows, divided = read_table(*table_of(path))
    assert (len(rows), divided) == (1, False)


def test_a_table_to_predict_needs_files_alone(tmp_path):
    """Labels are optional, splits do not matter, and addresses of the web stay as they are."""
    rows = [("a.jpg", "cat", "all"), ("b.jpg", "", "x"), ("a.jpg", "cat", "y")]
    rows += [("https://example.org/c.jpg", "dog", ""), ("/mnt/d.jpg", "dog", "")]
    table = written(tmp_path, rows, "file,label,split")
    inside = str(tmp_path) + "/"
    assert read_listed(table, {}) == {
        f"{inside}a.jpg": "cat",
        f"{inside}b.jpg": "",
        "https://example.org/c.jpg": "dog",
        "/mnt/d.jpg": "dog",
    }
    plain = written(tmp_path, [("a.jpg",), ("b.jpg",)], "photo", "plain.csv")
    assert read_listed(plain, {"file": "photo"}) == {f"{inside}a.jpg": "", f"{inside}b.jpg": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("photo,label\na.jpg,cat", "no column for the file of an image, but photo, label"),
        ("file,label\n,cat", "labels.csv, line 2: there is no file in this row"),
        ("file,label\na.jpg,cat\na.jpg,dog", "a.jpg twice, as 'cat' and as 'dog'"),
        ("file", "names no image"),
    ],
)
def test_a_table_to_predict_that_cannot_be_read_says_why(tmp_path, text, words):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_listed(tmp_path / "labels.csv", {})


def test_a_folder_with_its_table_inside_says_how_to_name_it(flat):
    folder, rows = flat
    written(folder / "images", rows)
    with pytest.raises(
        ValueError, match=r"or name the table of their classes, as in .*labels\.csv"
    ):
        open_source(folder / "images")
