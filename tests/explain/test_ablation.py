"""The exact ablation, on networks of which it is known what the gates are worth."""

import numpy as np
import pytest
import torch
from torch import nn

from senet import SqueezeExcitation, create_model
from senet.explain.ablation import FORMS, Ablation, ablate, worth
from senet.gates import record, replacing
from tests.explain.networks import one_block


def decided_by_gates():
    """Return a network that tells class 0 from class 1 by its gates alone, and 60 images.

    Channel 0 of the map is bright in class 1, which opens the gate of channel 2, and the head sees
    channel 2 alone.
    """
    se = SqueezeExcitation(3, 1)
    for fc in (se.fc1, se.fc2):
        nn.init.zeros_(fc.weight)
        nn.init.zeros_(fc.bias)
    se.fc1.weight.data[0, 0] = 1  # bright in channel 0 …
    se.fc2.weight.data[2, 0] = 20  # … opens channel 2
    se.fc2.bias.data[2] = -10
    head = nn.Linear(3, 2)
    head.weight.data = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    head.bias.data = torch.tensor([0.5, 0.0])
    model = nn.Sequential(se, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
    labels = torch.arange(60) % 2
    x = torch.ones(60, 3, 2, 2)
    x[:, 0] = labels[:, None, None].float()
    return model, x, labels


def by_form(found):
    return {one.form: one for one in worth(found) if not one.block}


def test_gates_that_decide_are_worth_everything():
    model, x, labels = decided_by_gates()
    batches = [(x[:32], labels[:32]), (x[32:], labels[32:])]
    found = ablate(model, batches, record(model, batches, 2))
    assert found.intact_right.all()
    changes = by_form(found)
    assert changes["one"].accuracy.value == pytest.approx(-0.5)  # every image is class 1
    assert (changes["one"].lost, changes["one"].won) == (30, 0)
    assert changes["one"].p == pytest.approx(2 * 0.5**30)
    assert changes["one"].accuracy.high < 0 < changes["one"].loss.low
    # The image before is always of the other class.
    assert changes["other"].accuracy.value == pytest.approx(-1)
    assert changes["mean"].accuracy.value == pytest.approx(-0.5)


def test_gates_that_never_move_are_worth_nothing_but_their_level():
    model, x = one_block(), torch.rand(40, 3, 2, 2)
    nn.init.normal_(model[2].weight)
    batches = [(x, torch.arange(40) % 2)]
    changes = by_form(ablate(model, batches, record(model, batches, 2)))
    for form in ("mean", "other"):
        assert changes[form].loss.value == pytest.approx(0, abs=1e-6)
        assert (changes[form].lost, changes[form].won, changes[form].p) == (0, 0, 1)
    assert abs(changes["one"].loss.value) > 1e-3


def test_every_cell_is_what_replacing_gives():
    model = create_model("se_resnet8_cifar", num_classes=3).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, labels = torch.randn(6, 3, 32, 32), torch.arange(6) % 3
    blocks = record(model, [(x, labels)], 3)
    found = ablate(model, [(x, labels)], blocks)
    mean = blocks["layer2.0.se"].overall.float()
    gates = {"layer2.0.se": lambda u: mean.expand(len(u), -1)}
    with torch.no_grad(), replacing(model, gates):
        loss = nn.functional.cross_entropy(model(x), labels, reduction="none")
    assert found.loss[FORMS.index("mean"), 1] == pytest.approx(loss.numpy(), rel=1e-4)


def test_without_labels_the_network_is_compared_with_itself():
    model, x, labels = decided_by_gates()
    found = ablate(model, [(x, labels + 5)], record(model, [x]), own=True)
    assert found.intact_right.all()
    assert by_form(found)["other"].accuracy.value == pytest.approx(-1)


def test_what_cannot_be_replaced_is_left_out():
    model, x, labels = decided_by_gates()
    blocks = record(model, [x])
    assert ablate(model, [], blocks) is None
    assert ablate(model, [(x[:1], labels[:1])], blocks) is None


def test_a_network_without_answers_is_refused():
    model, x, labels = decided_by_gates()
    with pytest.raises(ValueError, match=r"logits \[B, classes\]; it returned a tensor \[60, 3, 2"):
        ablate(model[:1], [(x, labels)], record(model[:1], [x]))


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(100):
        loss = rng.normal(0.1, 1, (3, 1, 200))
        right = rng.random((3, 1, 200)) < 0.7
        base = rng.normal(0, 1, 200), rng.random(200) < 0.8
        one = worth(Ablation((), loss, right, *base, False))[0]
        held += one.loss.low < 0.1 < one.loss.high
        held += one.accuracy.low < -0.1 < one.accuracy.high
    assert 180 <= held <= 198  # of 200, 95 % ± 3.5 standard deviations
