"""State dicts as training programs wrap them."""

import argparse

import numpy as np
import pytest
import torch

from senet.models import create_model
from senet.models.weights.file import load_state, read_state


@pytest.fixture(scope="module")
def state():
    return create_model("se_resnet8_cifar", num_classes=3).state_dict()


def prefixed(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


FORMS = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "net": lambda s: {"net": s, "acc": 93.2},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.1},
    "any": lambda s: {"resnet": s, "classes": ["a", "b"]},
    "nested": lambda s: {"checkpoint": {"state_dict": s}},
    "data_parallel": lambda s: {"state_dict": prefixed("module.", s)},
    "compiled": lambda s: prefixed("_orig_mod.", s),
    "lightning": lambda s: {"state_dict": prefixed("model.backbone.", s), "hyper_parameters": {}},
    "both": lambda s: prefixed("module._orig_mod.", s),
    "averaged": lambda s: {
        "state_dict": {k: torch.zeros_like(v) for k, v in s.items()}, "state_dict_ema": s,
    },
    "torchvision": lambda s: {
        "model": {k: torch.zeros_like(v) for k, v in s.items()},
        "model_ema": {"n_averaged": torch.tensor(3), **prefixed("module.", s)},
        "args": argparse.Namespace(lr=0.1, data="x"),
    },
    "numbers": lambda s: {
        "state_dict": s, "best": np.float64(0.9), "epoch": np.int64(3), "lr": np.float32(0.1),
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*averaged weights are taken")
@pytest.mark.parametrize("form", FORMS)
def test_the_state_dict_is_found_in_any_usual_wrapping(form, state, tmp_path):
    torch.save(FORMS[form](state), tmp_path / "w.pth")
    found = read_state(tmp_path / "w.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    load_state(create_model("se_resnet8_cifar", num_classes=3), found)


def test_averaged_weights_are_taken_and_said(state, tmp_path):
    torch.save(FORMS["averaged"](state), tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="averaged weights are taken, 'state_dict_ema'"):
        read_state(tmp_path / "w.pth")


def test_several_state_dicts_are_named(state, tmp_path):
    torch.save({"generator": state, "critic": state}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="several state dicts, 'generator', 'critic'"):
        read_state(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.zeros(3)])
def test_what_holds_none_is_named(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        read_state(tmp_path / "w.pth")


class Code:
    def __reduce__(self):
        return print, ("it runs",)


@pytest.mark.parametrize("content", [{"model": print}, {"args": argparse.Namespace(x=Code())}])
def test_what_could_run_code_is_still_refused(content, tmp_path, capsys):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="was refused"):
        read_state(tmp_path / "w.pth")
    assert "it runs" not in capsys.readouterr().out
