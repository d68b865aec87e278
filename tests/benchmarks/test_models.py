"""The benchmarks of whole networks, at small scale."""

import pytest
import torch

from benchmarks.models import blocks, thresholds
from senet.ops import backend

needs_passes = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


@needs_passes
def test_a_block_of_another_field(monkeypatch):
    torch._dynamo.reset()
    lengths = torch.tensor([5, 3])
    monkeypatch.setitem(blocks.SIZES, "NeMo SqueezeExcite", (16, (2, 16, 5), lengths))
    monkeypatch.setitem(blocks.SIZES, "fastai SEModule", (16, (2, 16, 9, 9)))
    masked, found = (blocks.measure(n, 1) for n in ("NeMo SqueezeExcite", "fastai SEModule"))
    assert (masked["input"], masked["tails"], found["tails"]) == ("2×16×5", 0, 1)
    for row in (masked, found):
        assert min(*row["training"].values(), *row["inference"].values()) > 0


def test_when_an_export_pays(monkeypatch):
    monkeypatch.setattr(thresholds, "EXPORTED", (("se_resnet8_cifar", 2, 32),))
    times = iter(({"as it is": 6.0, "exported": 2.0}, {"as it is": 2.0, "exported": 2.0}))
    monkeypatch.setattr(thresholds, "in_turn", lambda forms, repeats: next(times))
    (pays,), (never,) = thresholds.exports(1), thresholds.exports(1)
    assert pays["ms"] == {"as it is": 3.0, "exported": 1.0}
    assert (pays["images"] - 1) * 0.002 < pays["export, s"] <= pays["images"] * 0.002
    assert pays["positions"] == pays["images"] * 32 * 32
    assert never["images"] is never["positions"] is None
