"""The rule must fail on a wrong answer, or it proves nothing."""

import pytest
import torch

from tests.oracle import check, within_rule

MAPS = {"x": torch.linspace(-2, 2, 40).reshape(2, 4, 5)}
PARAMETERS = {"w": torch.tensor(1.5)}


def plain(v):
    return v["x"] * v["w"]


def test_the_plain_form_passes():
    check(plain, plain, MAPS, PARAMETERS, torch.float32)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda v: v["x"] * v["w"] * (1 + 1e-5),  # the value
        lambda v: v["x"] * v["w"].detach(),  # a gradient that is missing
        lambda v: v["x"] * v["w"] + (v["x"] - v["x"].detach()) * 1e-4,  # a gradient that is off
    ],
)
def test_a_wrong_form_fails(wrong):
    with pytest.raises(AssertionError, match="error"):
        check(wrong, plain, MAPS, PARAMETERS, torch.float32)


def test_a_wrong_shape_and_a_nan_fail():
    truth = torch.ones(3, dtype=torch.float64)
    assert "shape" in within_rule(torch.ones(2), truth.float(), truth, torch.float32)
    nan = torch.tensor([1.0, float("nan"), 1.0])
    assert within_rule(nan, truth.float(), truth, torch.float32) == "not finite"
