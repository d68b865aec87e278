"""An accelerated network keeps its signature: keywords, several arguments, inspection."""

import copy
import inspect

import pytest
import torch
from torch import nn

from senet import accelerate
from senet.ops import backend
from tests.fuse.blocks import Block, small
from tests.models.agreement import scramble

pytestmark = pytest.mark.skipif(bool(backend.missing("native")), reason=backend.missing("native"))


class Labelled(nn.Module):
    """A network as trainers expect it: arguments by name, the loss with the logits."""

    def __init__(self):
        super().__init__()
        self.body = Block()

    def forward(
        self, pixels: torch.Tensor, labels: "torch.Tensor | None" = None, scale: float = 1.0
    ) -> dict:
        """Return the logits, and the loss if there are labels."""
        logits = scale * self.body(pixels).mean((2, 3))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


@pytest.fixture
def model():
    torch._dynamo.reset()
    made = Labelled().eval()
    scramble(made)
    return made


def test_forward_keeps_name_signature_docstring_and_annotations(model):
    fast = copy.deepcopy(model)
    accelerate(fast)
    assert inspect.signature(fast.forward) == inspect.signature(model.forward)
    for what in ("__name__", "__qualname__", "__doc__", "__annotations__", "__module__"):
        assert getattr(fast.forward, what) == getattr(model.forward, what)
    assert type(fast) is Labelled


@pytest.mark.parametrize("training", [False, True])
def test_keywords_and_several_arguments(model, training):
    fast = copy.deepcopy(model.train(training))
    report = accelerate(fast)
    x, labels = torch.randn(4, 16, 9, 9), torch.randint(16, (4,))
    calls = [
        ((x,), {}),
        ((x, labels), {}),
        ((x,), {"labels": labels}),
        ((), {"labels": labels, "pixels": x}),
        ((x, labels, 0.5), {}),
        ((), {"pixels": x, "scale": 2.0}),
    ]
    for args, kwargs in calls:
        found, wanted = fast(*args, **kwargs), model(*args, **kwargs)
        assert found.keys() == wanted.keys()
        for name in wanted:
            torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-5)
    assert report.changed


def test_an_argument_that_is_missing_is_an_error_of_the_network(model):
    accelerate(model)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'pixels'"):
        model()
    with pytest.raises(TypeError, match="unexpected keyword argument 'images'"):
        model(images=torch.randn(1, 16, 9, 9))


def test_torch_export_reads_the_names():
    torch._dynamo.reset()
    model = small().eval()
    accelerate(model, x := torch.randn(2, 3, 19, 19))
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes={"input": {0: batch}})
    y = torch.randn(5, 3, 19, 19)
    torch.testing.assert_close(program.module()(y), model(y), rtol=1e-4, atol=1e-5)
