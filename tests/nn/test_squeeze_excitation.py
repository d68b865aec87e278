import pytest
import torch

from senet import SqueezeExcitation
from senet.ops import reference


@pytest.mark.parametrize("space", [(7,), (5, 7), (3, 5, 7), (1, 1)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_the_block_is_the_papers_equations(space, bias):
    se = SqueezeExcitation(32, 8, bias=bias)
    u = torch.randn(3, 32, *space)
    z = reference.squeeze(u)
    w1, w2 = se.fc1.weight.flatten(1), se.fc2.weight.flatten(1)
    s = reference.excite(z, w1, se.fc1.bias, w2, se.fc2.bias)
    torch.testing.assert_close(se(u), reference.scale(u, s))
    torch.testing.assert_close(se.gates(u), s)


def test_squeeze_by_maximum():
    se = SqueezeExcitation(8, 2, squeeze="max")
    u = torch.randn(2, 8, 4, 4)
    peak = u.amax((2, 3))
    torch.testing.assert_close(se.gates(u), se.gates(peak[:, :, None, None].expand_as(u)))
    assert not torch.allclose(se.gates(u), se.gates(u.mean((2, 3), keepdim=True)))


def test_no_squeeze_gates_every_position_by_itself():
    se = SqueezeExcitation(8, 2, squeeze="none")
    u = torch.randn(2, 8, 4, 4)
    gates = se.gates(u)
    assert gates.shape == u.shape
    one = se.gates(u[:, :, 1:2, 2:3])
    torch.testing.assert_close(gates[:, :, 1:2, 2:3], one)
    torch.testing.assert_close(se(u), u * gates)


@pytest.mark.parametrize(
    ("gate", "function"),
    [("sigmoid", torch.sigmoid), ("tanh", torch.tanh), ("relu", torch.relu),
     ("hardsigmoid", torch.nn.functional.hardsigmoid),
     ("scaled_sigmoid", lambda x: 2 * torch.sigmoid(x))],
)  # fmt: skip
def test_every_gate(gate, function):
    se = SqueezeExcitation(8, 2, gate=gate)
    u = torch.randn(2, 8, 4, 4) * 5
    z = u.mean((2, 3))
    hidden = torch.relu(z @ se.fc1.weight.flatten(1).T + se.fc1.bias)
    wanted = function(hidden @ se.fc2.weight.flatten(1).T + se.fc2.bias)
    torch.testing.assert_close(se.gates(u), wanted)


@pytest.mark.parametrize("squeeze", ["avg", "max"])
@pytest.mark.parametrize("space", [(12,), (12, 5), (12, 3, 4)], ids=str)
def test_a_padded_map_is_gated_as_if_it_were_alone(squeeze, space):
    se = SqueezeExcitation(8, 1, squeeze=squeeze)  # wide: no ReLU shuts them all
    u = torch.randn(3, 8, *space)
    lengths = (12, 7, 1)
    mask = torch.zeros(3, *space, dtype=torch.bool)
    for image, length in enumerate(lengths):
        mask[image, :length] = True
        u[image, :, length:] += 3
    y, s = se(u, mask), se.gates(u, mask[:, None])
    for image, length in enumerate(lengths):
        alone = u[image : image + 1, :, :length]
        torch.testing.assert_close(y[image : image + 1, :, :length], se(alone))
        torch.testing.assert_close(s[image : image + 1], se.gates(alone))
        padded = length < 12
        assert torch.allclose(s[image], se.gates(u)[image], atol=0.01) != padded


@pytest.mark.parametrize("squeeze", ["avg", "max"])
def test_what_stands_in_the_padding_changes_nothing(squeeze):
    """Neither the result at the true positions nor any gradient of it changes."""
    se = SqueezeExcitation(8, 1, squeeze=squeeze)  # wide: no ReLU shuts them all
    mask = torch.arange(12) < torch.tensor([12, 7, 0])[:, None]
    u, sent = torch.randn(3, 8, 12), torch.randn(3, 8, 12)

    def seen(padding):
        x = u.masked_fill(~mask[:, None], padding).requires_grad_()
        y = se(x, mask).masked_fill(~mask[:, None], 0)
        return [y, *torch.autograd.grad(y, [x, *se.parameters()], sent)]

    zeros, sevens = seen(0.0), seen(-7e5)
    for a, b in zip(zeros, sevens, strict=True):
        assert torch.equal(a, b)
    assert (zeros[1].masked_select(~mask[:, None]) == 0).all()
    for a, b in zip(seen(float("nan")), zeros, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("squeeze", ["avg", "max"])
def test_positions_that_do_not_count_come_out_as_zero(squeeze):
    """So the gradient of the gates, a sum over positions, is a sum over those that count."""
    se = SqueezeExcitation(8, 1, squeeze=squeeze)
    mask = torch.arange(12) < torch.tensor([12, 7, 0])[:, None]
    u = torch.randn(3, 8, 12).masked_fill(~mask[:, None], float("nan")).requires_grad_()
    y = se(u, mask)
    assert (y.masked_select(~mask[:, None]) == 0).all()
    y.sum().backward()
    assert all(value.grad.isfinite().all() for value in (u, *se.parameters()))


@pytest.mark.parametrize("squeeze", ["avg", "max"])
def test_an_image_of_nothing_but_padding_squeezes_to_zero(squeeze):
    se = SqueezeExcitation(8, 2, squeeze=squeeze)
    s = se.gates(torch.randn(2, 8, 5), torch.zeros(2, 5, dtype=torch.bool))
    torch.testing.assert_close(s, se.gates(torch.zeros(2, 8, 5)))


def test_a_mask_for_no_squeeze_is_refused():
    se, mask = SqueezeExcitation(8, 2, squeeze="none"), torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match='squeeze="none" looks at every position by itself'):
        se(torch.randn(2, 8, 5), mask)


@pytest.mark.parametrize("squeeze", ["avg", "max"])
def test_a_mask_that_does_not_fit_is_refused(squeeze):
    se, mask = SqueezeExcitation(8, 2, squeeze=squeeze), torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"of shape \(2, 5\); got torch.bool of shape \(2, 4\)"):
        se(torch.randn(2, 8, 5), mask)


def test_a_mask_in_which_all_counts_changes_nothing():
    se, u = SqueezeExcitation(8, 2), torch.randn(2, 8, 5)
    torch.testing.assert_close(se(u, torch.ones(2, 5, dtype=torch.bool)), se(u))


@pytest.mark.parametrize("squeeze", ["avg", "max"])
def test_a_mask_goes_through_torchscript_and_symbolic_tracing(squeeze):
    se, u = SqueezeExcitation(8, 2, squeeze=squeeze), torch.randn(2, 8, 5)
    mask = torch.arange(5) < torch.tensor([5, 2])[:, None]
    for form in (torch.jit.script(se), torch.fx.symbolic_trace(se)):
        torch.testing.assert_close(form(u, mask), se(u, mask))
        torch.testing.assert_close(form(u, None), se(u))


def test_another_inner_activation_and_a_width_of_its_own():
    se = SqueezeExcitation(10, squeeze_channels=3, activation=torch.nn.SiLU)
    assert se.fc1.weight.shape == (3, 10, 1, 1)
    assert se(torch.randn(1, 10, 2, 2)).shape == (1, 10, 2, 2)


def test_channels_are_rounded_down():
    assert SqueezeExcitation(100, 16).fc1.out_channels == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 16), "reduction=16 leaves no channel of channels=8: use a reduction of at most 8"),
        ((0, 16), "must be at least 1"),
        ((8, 0), "must be at least 1"),
    ],
)
def test_a_bottleneck_without_channels_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SqueezeExcitation(*arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"squeeze": "mean"},
        {"gate": "softmax"},
        {"squeeze_channels": 0},
        {"bias": False, "gate_bias": 1.0},
    ],
)
def test_unknown_options_are_refused(options):
    with pytest.raises(ValueError, match=next(reversed(options))):
        SqueezeExcitation(32, **options)


def test_the_gate_starts_where_it_is_told():
    se = SqueezeExcitation(32, 16, gate_bias=2.0)
    torch.testing.assert_close(
        se.gates(torch.zeros(1, 32, 3, 3)), torch.full((1, 32), 2.0).sigmoid(), atol=0.2, rtol=0
    )
    assert (se.fc2.bias == 2).all()


def test_channels_last_stays_channels_last():
    u = torch.randn(2, 32, 5, 5).to(memory_format=torch.channels_last)
    assert SqueezeExcitation(32)(u).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(0, 32, 5, 5), (1, 32, 1, 1)])
def test_empty_batches_and_single_positions(shape):
    assert SqueezeExcitation(32)(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_of_large_values_stays_finite(amp):
    se = SqueezeExcitation(32)
    u = torch.full((2, 32, 56, 56), 3e4).to(amp)
    with torch.autocast("cpu", amp):
        assert se(u).isfinite().all()


def test_a_dynamic_batch_exports():
    se = SqueezeExcitation(32).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(se, (torch.randn(2, 32, 5, 5),), dynamic_shapes=({0: batch},))
    u = torch.randn(7, 32, 5, 5)
    torch.testing.assert_close(program.module()(u), se(u))
    # What is exported is plain PyTorch: no operator of ours that another runtime would not know.
    assert not any("senet" in str(node.target) for node in program.graph.nodes)


def test_state_dict_keys_are_torchvisions():
    assert list(SqueezeExcitation(32).state_dict()) == [
        "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias",
    ]  # fmt: skip


def test_deep_copies_and_half_modules_work():
    import copy

    se = copy.deepcopy(SqueezeExcitation(32)).to(torch.bfloat16)
    u = torch.randn(2, 32, 5, 5, dtype=torch.bfloat16)
    assert se(u).dtype == torch.bfloat16
