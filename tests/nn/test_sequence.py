"""Squeezes for every position of a sequence, against loops over positions in float64."""

import pytest
import torch

from senet import SqueezeExcitation, accelerate, create_model
from senet.nn.sequence import Stream, causal_mean, continued_mean, window_mean
from senet.ops import reference
from tests.oracle import check

B, C, T = 3, 8, 25
LENGTHS = (25, 11, 0)
MASK = torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def looped(u, mask, first, last):
    """The mean over positions first(t) … last(t) of the mask, position by position."""
    z = []
    for t in range(u.shape[2]):
        near = slice(max(first(t), 0), last(t) + 1)
        z.append(reference.squeeze(u[..., near], mask[:, near]))
    return torch.stack(z, 2)


def of_causal(u, mask):
    return looped(u, mask, lambda t: 0, lambda t: t)


def of_window(u, mask, size=6):
    return looped(u, mask, lambda t: t - (size - 1) // 2, lambda t: t + size // 2)


@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", [MASK, torch.ones_like(MASK)], ids=["masked", "whole"])
@pytest.mark.parametrize(
    ("fast", "plain"),
    [
        (causal_mean, of_causal),
        (lambda u, mask: continued_mean(u, None, mask)[0], of_causal),
        (lambda u, mask: window_mean(u, 6, mask), of_window),
        (lambda u, mask: window_mean(u, 1, mask), lambda u, m: of_window(u, m, 1)),
        (lambda u, mask: window_mean(u, 99, mask), lambda u, m: of_window(u, m, 99)),
    ],
    ids=["causal", "continued", "window", "one", "all"],
)
def test_the_means_are_those_of_a_loop(fast, plain, mask, type_):
    u = torch.randn(B, C, T)
    check(lambda i: fast(i["u"], mask), lambda i: plain(i["u"], mask), {"u": u}, {}, type_)


def test_the_window_of_nemo():
    """Its windows are not padded: the k-th begins at k, and divides by what the mask counts."""
    u, size = torch.randn(B, C, T).masked_fill(~MASK[:, None], 0), 7
    seen = MASK[:, None].float().unfold(2, size, 1).sum(-1)
    theirs = u.unfold(2, size, 1).sum(-1) / seen.clamp(min=1)
    ours = window_mean(u, size, MASK)[..., (size - 1) // 2 : T - size // 2]
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("squeeze", [{"squeeze": "causal"}, {"squeeze": "window", "window": 5}])
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_the_block_is_the_papers_equations_at_every_position(squeeze, mask):
    se, u = SqueezeExcitation(C, 2, **squeeze), torch.randn(B, C, T)
    seen = torch.ones_like(MASK) if mask is None else mask
    z = of_causal(u, seen) if squeeze["squeeze"] == "causal" else of_window(u, seen, 5)
    w1, w2 = se.fc1.weight.flatten(1), se.fc2.weight.flatten(1)
    s = reference.excite(z.transpose(1, 2), w1, se.fc1.bias, w2, se.fc2.bias).transpose(1, 2)
    torch.testing.assert_close(se.gates(u, mask), s)
    torch.testing.assert_close(se(u, mask), u * s * seen[:, None])


def test_nothing_of_the_future_is_seen():
    se, u = SqueezeExcitation(C, 2, squeeze="causal"), torch.randn(B, C, T)
    y = se(u)
    u[..., 13:] = float("nan")
    assert torch.equal(se(u)[..., :13], y[..., :13])


@pytest.mark.parametrize("pieces", [[1] * T, [25], [1, 24], [7, 1, 17]], ids=str)
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
def test_a_stream_in_pieces_is_the_whole(pieces, mask):
    se, u = SqueezeExcitation(C, 2, squeeze="causal"), torch.randn(B, C, T)
    stream, made, at = None, [], 0
    for length in pieces:
        piece = slice(at, at + length)
        hidden = None if mask is None else mask[:, piece]
        y, stream = se.step(u[..., piece], stream, hidden)
        made.append(y)
        at += length
    torch.testing.assert_close(torch.cat(made, 2), se(u, mask), rtol=1e-5, atol=1e-6)
    assert stream.positions.flatten().tolist() == [T] * B if mask is None else list(LENGTHS)


def test_gradients_flow_through_a_stream():
    se, u = SqueezeExcitation(C, 2, squeeze="causal").double(), torch.randn(B, C, T).double()
    sent = torch.randn(B, C, T).double()

    def gradients(run):
        x = u.clone().requires_grad_()
        return torch.autograd.grad(run(x), [x, *se.parameters()], sent)

    def in_two(x):
        start, stream = se.step(x[..., :9])
        return torch.cat([start, se.step(x[..., 9:], stream)[0]], 2)

    for found, wanted in zip(gradients(in_two), gradients(se), strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_long_stream_notices_what_comes():
    """A day of frames has a sum to which float32 could not add one more."""
    frames = 10_000_000
    stream = Stream(torch.full((1, 1), 3.0 * frames).double(), torch.full((1, 1), frames))
    for _ in range(1000):
        z, stream = continued_mean(torch.full((1, 1, 1), 4.0), stream)
    assert stream.total.item() == 3.0 * frames + 4000
    torch.testing.assert_close(z.item(), 3 + 1000 / (frames + 1000), rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    "squeeze",
    [{"squeeze": "causal"}, {"squeeze": "window", "window": 5}, {"squeeze": "avg"},
     {"squeeze": "max"}],
    ids=str,
)  # fmt: skip
def test_nan_in_the_padding_reaches_nothing(squeeze):
    """Neither from the map nor from the gradient that is sent back."""
    se = SqueezeExcitation(C, 1, **squeeze)

    def seen(padding):
        u, sent = (
            torch.randn(B, C, T, generator=torch.Generator().manual_seed(i)).masked_fill(
                ~MASK[:, None], padding
            )
            for i in range(2)
        )
        x = u.requires_grad_()
        return [y := se(x, MASK), *torch.autograd.grad(y, [x, *se.parameters()], sent)]

    for nan, zero in zip(seen(float("nan")), seen(0.0), strict=True):
        assert torch.equal(nan, zero)


@pytest.mark.parametrize("squeeze", [{"squeeze": "causal"}, {"squeeze": "window", "window": 5}])
def test_other_tools_take_the_block(squeeze):
    se, u = SqueezeExcitation(C, 2, **squeeze).eval(), torch.randn(B, C, T)
    program = torch.export.export(se, (u, MASK), dynamic_shapes=None)
    torch.testing.assert_close(program.module()(u, MASK), se(u, MASK))
    for form in (torch.jit.script(se), torch.fx.symbolic_trace(se)):
        torch.testing.assert_close(form(u, MASK), se(u, MASK))
        torch.testing.assert_close(form(u, None), se(u))


@pytest.mark.parametrize("squeeze", [{"squeeze": "causal"}, {"squeeze": "window", "window": 5}])
def test_an_accelerated_network_keeps_it(squeeze):
    torch._dynamo.reset()
    norm = torch.nn.BatchNorm1d(C)
    model = torch.nn.Sequential(torch.nn.Conv1d(C, C, 3), norm, SqueezeExcitation(C, 2, **squeeze))
    u = torch.randn(B, C, T)
    wanted = model.eval()(u)
    assert "SE" not in str(accelerate(model, u))
    torch.testing.assert_close(model(u), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"squeeze": "window"}, "got window=None with squeeze='window'"),
        ({"squeeze": "window", "window": 0}, "at least 1: got window=0"),
        ({"squeeze": "causal", "window": 3}, "got window=3 with squeeze='causal'"),
    ],
)
def test_windows_that_are_no_windows(options, message):
    with pytest.raises(ValueError, match=message):
        SqueezeExcitation(C, 2, **options)


def test_images_are_refused():
    model = create_model("se_resnet8_cifar", squeeze="causal")
    with pytest.raises(
        ValueError, match=r"is for sequences \[B, C, T\], and the map has the shape"
    ):
        model(torch.randn(2, 3, 8, 8))


def test_only_a_causal_block_has_steps():
    with pytest.raises(
        ValueError, match='step needs squeeze="causal", and this block has squeeze='
    ):
        SqueezeExcitation(C, 2).step(torch.randn(B, C, 1))
