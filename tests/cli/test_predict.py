"""`senet predict` in its many forms."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch

from senet.models import create_model
from senet.models.weights.file import save_model
from senet.models.weights.record import Record
from tests.cli.command import said, senet
from tests.cli.test_use import photos


@pytest.fixture
def run(tmp_path):
    """A network of two classes that is moderately sure of the second."""
    model = create_model("se_resnet8_cifar", num_classes=2)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.tensor([0.0, 1.0]))  # 73 %
    model.classes = ("cat", "dog")
    save_model(tmp_path / "model.safetensors", model, Record.of(model))
    return "model.safetensors"


def test_unsure_images_are_shown_sorted_and_put_on_the_sheet(run, tmp_path):
    photos(tmp_path / "new", 3)
    words = ("predict", run, "new", "--threshold", "0.8", "--sort-into", "sorted")
    out = senet(*words, "--html", "sheet.html").stdout
    assert out.count("unsure: dog") == 3
    assert "3 of 3 images predicted, written to sheet.html" in out
    assert "3 images copied into sorted" in out
    assert sorted(p.name for p in (tmp_path / "sorted/unsure").iterdir()) == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
    ]
    assert "below the threshold" in (tmp_path / "sheet.html").read_text()
    assert "0 images copied into sorted, 3 were there already" in senet(*words).stdout
    assert "already exists" in said(senet(*words, "--html", "sheet.html", code=1))


def test_sure_ones_go_to_their_class_also_as_links(run, tmp_path):
    photos(tmp_path / "new", 2)
    out = senet("predict", run, "new", "--threshold", "0.7", "--sort-into", "s", "--links").stdout
    assert "2 images linked into s" in out
    assert all(p.is_symlink() for p in (tmp_path / "s/dog").iterdir())
    assert "--links is for --sort-into" in said(senet("predict", run, "new", "--links", code=2))
    assert "'--threshold'" in said(senet("predict", run, "new", "--threshold", "1.5", code=2))


def test_lines_of_json_are_only_lines_of_json(run, tmp_path):
    photos(tmp_path / "new", 2)
    (tmp_path / "new" / "notes.txt").write_text("no image")
    result = senet(
        "predict", run, "new", "gone.jpg", "--format", "jsonl", "--sort-into", "s", "--threshold", 0
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["class"] for row in rows] == ["dog", "dog", None]
    assert [row.get("unsure") for row in rows] == [False, False, None]
    assert "images copied" in result.stderr
    senet("predict", run, "new", "--out", "p.jsonl")
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 2


def test_what_was_done_before_an_interruption_is_kept(run, tmp_path, monkeypatch):
    from senet.serving import Predictor

    photos(tmp_path / "new", 3)
    original = Predictor._answer

    def stop(self, batch, top, threshold):
        yield next(original(self, batch, top, threshold))
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "_answer", stop)
    words = ("predict", run, "new", "--out", "p.json", "--html", "s.html", "--sort-into", "s")
    stopped = said(senet(*words, code=130))
    assert "Stopped: 1 of 3 images predicted" in stopped
    assert "delete p.json and s.html, and repeat the command" in stopped  # it refuses them
    assert "Repeat the command for all" in said(senet("predict", run, "new", code=130))
    assert len(json.loads((tmp_path / "p.json").read_text())) == 1
    assert "1 image." in (tmp_path / "s.html").read_text()
    assert os.listdir(tmp_path / "s/dog") == ["0.jpg"]


def test_an_interruption_before_the_first_prediction_leaves_no_file(run, tmp_path, monkeypatch):
    from senet.serving import Predictor

    photos(tmp_path / "new", 1)

    def stop(self, batch, top, threshold):
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "_answer", stop)
    words = ("predict", run, "new", "--out", "p.json", "--html", "s.html")
    assert "Interrupted." in said(senet(*words, code=130))
    assert not (tmp_path / "p.json").exists()
    assert not (tmp_path / "s.html").exists()


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["predict", "RUN", "new", "--out", "p.csv"], "p.csv"),
        (["predict", "RUN", "new", "--html", "s.html"], "s.html"),
        (["embed", "RUN", "new", "--out", "f.npz"], "f.npz"),
        (["report", "RUN", "--data", "new"], "model.safetensors-on-new.html"),
        (["explain", "RUN", "--data", "new", "--out", "gone/e"], "e"),
        (["fold", "RUN", "--data", "new", "--out", "slim.pt2"], "slim.pt2"),
        (["data", "new", "--out", "look.html"], "look.html"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    words, place, run, tmp_path, monkeypatch
):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def work(*_, **__):
        raise AssertionError("it has begun")

    for name in ("cat", "dog"):
        photos(tmp_path / "new" / name, 6)
    monkeypatch.setattr("senet.files.require_writable", refuse)
    monkeypatch.setattr("senet.runs.trained.load_model", work)
    monkeypatch.setattr("senet.survey.survey", work)
    text = said(senet(*(run if word == "RUN" else word for word in words), code=1))
    assert f"{place}: Permission denied" in text


def test_weights_without_a_record_are_taken_as_the_user_says(run, tmp_path):
    photos(tmp_path / "new", 1)
    torch.save(create_model("se_resnet8_cifar", num_classes=2).state_dict(), tmp_path / "w.pth")
    words = ("w.pth", "--model", "se_resnet8_cifar", "new")
    asked = ("--preprocessing", "mean=0.5,std=0.25,size=40")
    guess = senet("predict", *words)
    assert "guessed is mean=0.4914" in said(guess)
    assert "--preprocessing" in said(guess)
    result = senet("predict", *words, *asked)
    assert "images with mean=0.5,0.5,0.5, std=0.25,0.25,0.25, size=40" in said(result)
    assert "guessed" not in said(result)
    embedded = senet("embed", *words, *asked, "--like", "new/0.jpg", "--html", "like.html")
    assert "contact sheet written to like.html" in said(embedded)
    assert "images with mean=0.5" in said(embedded)
    for command in ("predict", "embed"):
        like = ("--like", "a.jpg") if command == "embed" else ()
        wrong = senet(command, *words, *like, "--preprocessing", "mean=1,std=0", code=1)
        assert "std must not be 0" in said(wrong)
    wrong = senet("predict", run, "new", *asked, code=1)
    assert "records how its images are taken" in said(wrong)


def program(*words, **more):
    command = [sys.executable, "-m", "senet", "predict", *words, "--format", "jsonl"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


@pytest.mark.slow
def test_a_list_on_standard_input_is_answered_line_by_line(run, tmp_path):
    photos(tmp_path / "new", 2)
    with program(run, "-", stdin=subprocess.PIPE) as process:
        for name in ("new/0.jpg", "new/1.jpg"):  # the second is only named after an answer
            process.stdin.write(f"{name}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["file"] == name
        process.stdin.close()
        assert process.wait(300) == 0
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error_to_talk_about(run, tmp_path):
    photos(tmp_path / "new", 40)
    with program(run, "new", "--batch-size", "1") as process:
        assert process.stdout.readline()
        process.stdout.close()
        begun = time.monotonic()
        process.wait(300)
        assert time.monotonic() - begun < 300
        assert process.stderr.read() == b""


def test_a_table_of_files_has_its_labels_beside_the_predictions(run, tmp_path):
    photos(tmp_path / "new", 4)
    rows = "0.jpg,dog\n1.jpg,cat\n2.jpg,wolf\n3.jpg,\ngone.jpg,dog\n"
    (tmp_path / "new/labels.csv").write_text("file,label\n" + rows)
    out = senet("predict", run, "new/labels.csv", "--html", "sheet.html").stdout
    assert [line.split()[:3] for line in out.splitlines()[1:4]] == [
        ["new/0.jpg", "dog", "dog"],
        ["new/1.jpg", "cat", "dog"],
        ["new/2.jpg", "wolf", "dog"],
    ]
    assert "1 of 2 images as labelled" in out  # nobody knows about wolves, and one is gone
    page = (tmp_path / "sheet.html").read_text()
    assert (page.count("labelled cat"), page.count("labelled dog")) == (1, 0)
    found = senet("predict", run, "new/labels.csv", "--format", "jsonl")
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line.get("label") for line in lines] == ["dog", "cat", "wolf", None, "dog"]
    assert "as labelled" in found.stderr
    text = senet("predict", run, "new/labels.csv", "--format", "csv", "--top", "1").stdout
    assert text.splitlines()[0] == "file,label,class,probability,error"
    assert text.splitlines()[4].startswith("new/3.jpg,,dog,0.73")
    senet("predict", run, "new/labels.csv", "--out", "table.txt")
    assert "wolf" in (tmp_path / "table.txt").read_text()
    plain = senet("predict", run, "new/0.jpg").stdout
    assert "label" not in plain


def test_a_table_without_labels_and_one_that_is_none(run, tmp_path):
    photos(tmp_path / "new", 2)
    (tmp_path / "new/list.csv").write_text("photo\n0.jpg\n1.jpg\n")
    out = senet("predict", run, "new/list.csv:file=photo", "--sort-into", "sorted").stdout
    assert "labelled" not in out
    assert "2 images copied into sorted" in out
    assert "1 image copied" in senet("predict", run, "new/0.jpg", "--sort-into", "one").stdout
    wrong = senet("predict", run, "new/list.csv", code=1)
    assert "no column for the file of an image, but photo" in said(wrong)
    embedded = senet("embed", run, "new/list.csv:file=photo", "--out", "f.npz")
    assert "2 × 64 features written" in said(embedded)


def test_images_of_an_archive_are_named_by_their_place_in_it(run, tmp_path):
    photos(tmp_path / "new" / "first", 2)
    (tmp_path / "new/first/torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "new/first/notes.txt").write_text("text")
    shutil.make_archive("new", "zip", tmp_path / "new")
    names = [f"new.zip/first/{name}" for name in ("0.jpg", "1.jpg", "torn.png")]
    result = senet("predict", run, "new.zip", "--html", "sheet.html", "--sort-into", "sorted")
    assert "skipped: new.zip/first/notes.txt" in said(result)
    for form in ("json", "jsonl", "csv", "table"):
        result = senet("predict", run, "new.zip", "--format", form)
        assert all(name in result.stdout for name in names)
        assert "archives" not in result.output
    sheet = (tmp_path / "sheet.html").read_text()
    assert all(name in sheet for name in names)
    assert "archives" not in sheet
    assert len(list((tmp_path / "sorted/dog").iterdir())) == 2
    result = senet(
        "embed", run, "new.zip", "--out", "e.csv", "--like", tmp_path / "new/first/0.jpg"
    )
    assert "warning: new.zip/first/torn.png: " in said(result)
    assert f"1.000 {names[0]}" in said(result)
    assert names[1] in (tmp_path / "e.csv").read_text()
