"""A ``torch.export`` program carries everything needed to use it."""

import pytest
import torch

from senet import create_model
from senet.export.program import read_program, save_program
from senet.models.weights.record import Record
from tests.models.agreement import scramble


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = create_model("se_resnet8_cifar", num_classes=3, widths=(4, 4, 4), reduction=2)
    scramble(model)
    return model.eval()


@pytest.fixture(scope="module")
def program(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    save_program(path, model, Record.of(model, {"test_accuracy": 0.5}))
    return path


def test_a_program_is_read_with_its_record(model, program):
    again, record = read_program(program)
    assert record == Record.of(model, {"test_accuracy": 0.5})
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(again(images), model(images))


def test_nothing_else_is_left_in_the_folder(program):
    assert [path.name for path in program.parent.iterdir()] == ["model.pt2"]


def test_a_file_of_another_kind_is_refused(program, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no program .*gone\.pt2"):
        read_program(tmp_path / "gone.pt2")
    damaged = tmp_path / "damaged.pt2"
    damaged.write_bytes(program.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"damaged\.pt2 is not a program of torch\.export"):
        read_program(damaged)


def test_a_program_without_a_record_is_refused(model, tmp_path):
    path = tmp_path / "foreign.pt2"
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 32, 32),)), path)
    with pytest.raises(ValueError, match=r"foreign\.pt2 carries no senet\.json"):
        read_program(path)


def test_a_record_of_a_later_version_is_named(model, tmp_path):
    path = tmp_path / "later.pt2"
    found = torch.export.export(model, (torch.zeros(1, 3, 32, 32),))
    torch.export.save(found, path, extra_files={"senet.json": '{"version": 9}'})
    with pytest.raises(
        ValueError, match=r"later\.pt2 has a record that this version of senet does not understand"
    ):
        read_program(path)


def test_another_ending_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"end in \.pt2"):
        save_program(tmp_path / "model.pt", model, Record.of(model))
