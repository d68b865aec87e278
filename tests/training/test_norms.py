"""The rule by which batch norms of weights keep their statistics."""

import pytest
import torch

from senet import create_model
from senet.training.norms import are_folded, frozen, norms_of


@pytest.fixture
def model():
    model = create_model("se_resnet8_cifar")
    for norm in norms_of(model):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model


def test_small_batches_and_folded_norms_freeze_them(model):
    assert frozen(model, "auto", 32) == (True, "batches of 32 images are fewer than 64")
    assert frozen(model, "auto", 64) == (False, "batches have at least 64 images")
    for norm in norms_of(model):
        norm.running_mean.zero_()
        norm.running_var.fill_(0.999)
    assert frozen(model, "auto", 64) == (True, "they are folded into the convolutions")


def test_what_is_asked_for_is_done(model):
    assert frozen(model, "train", 2) == (False, "as asked")
    assert frozen(model, "frozen", 512) == (True, "as asked")


def test_a_network_without_norms_has_none_that_are_folded():
    assert not are_folded(torch.nn.Linear(2, 2))
