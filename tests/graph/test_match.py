"""Every spelling of a tail is found, and nothing that only looks like one."""

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet.graph.match import tails
from tests.graph.capturing import CHANNELS, Parts, a_map, graph_of, graphs_of


def found(body, *inputs, **options):
    """Return the tails of a network of two maps, x and r, or of others."""
    return [str(t) for t in tails(graph_of(body, *inputs, **options))]


def squeeze(u):
    return u.mean((2, 3), keepdim=True)


# --- spellings ---

NORMS = {
    "module": lambda m, x: m.bn(x),
    "function": lambda m, x: F.batch_norm(x, m.bn.running_mean, m.bn.running_var),
    "arguments by name": lambda m, x: F.batch_norm(
        input=x, running_mean=None, running_var=None, training=True
    ),
    "evaluation": lambda m, x: m.bn.eval()(x),
}
RELUS = {
    "F.relu": F.relu,
    "in place": lambda u: F.relu(u, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda u: u.relu(),
    "method in place": lambda u: u.relu_(),
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
}
ACTIVATIONS = {
    "ReLU6": [nn.ReLU6(), nn.ReLU6(inplace=True), F.relu6, nn.Hardtanh(0.0, 6.0)],
    "SiLU": [nn.SiLU(), nn.SiLU(inplace=True), F.silu],
    "Hardswish": [nn.Hardswish(), nn.Hardswish(inplace=True), F.hardswish],
}
POOL = nn.AdaptiveAvgPool2d(1)
MEANS = {
    "method": lambda u: u.mean((2, 3)),
    "list": lambda u: u.mean([2, 3]),
    "by name": lambda u: u.mean(dim=(2, 3)),
    "from behind": lambda u: u.mean((-1, -2)),
    "torch.mean": lambda u: torch.mean(u, (2, 3)),
    "kept": lambda u: u.mean((2, 3), keepdim=True).flatten(1),
    "flatten": lambda u: u.flatten(2).mean(2),
    "torch.flatten": lambda u: torch.flatten(u, 2).mean(-1),
    "view": lambda u: u.view(u.size(0), u.size(1), -1).mean(2),
    "reshape": lambda u: u.reshape(*u.shape[:2], -1).mean(dim=2),
    "contiguous": lambda u: u.contiguous().view(*u.shape[:2], -1).mean(2),
    "float": lambda u: u.float().mean((2, 3)),
    "in a type": lambda u: u.mean((2, 3), dtype=torch.float32),
    "pool": lambda u: F.adaptive_avg_pool2d(u, 1).flatten(1),
    "pool of two": lambda u: F.adaptive_avg_pool2d(u, (1, 1))[:, :, 0, 0],
    "pool module": lambda u: POOL(u).view(*u.shape[:2]),
}
GATES = {
    "two dimensions": lambda m, z: m.gate(z)[:, :, None, None],
    "view": lambda m, z: m.gate(z).view(*z.shape, 1, 1),
    "unsqueeze": lambda m, z: m.gate(z).unsqueeze(-1).unsqueeze(-1),
    "convolution": lambda m, z: m.conv(z[..., None, None]).sigmoid(),
    "ECA": lambda m, z: m.eca(z[:, None]).sigmoid().transpose(1, 2)[..., None],
    "softmax": lambda m, z: m.fc(z).softmax(1)[..., None, None],
    "of z itself": lambda m, z: z[..., None, None],
    "one a channel": lambda m, z: m.gate(z.mean(0, keepdim=True))[..., None, None],
    "one an image": lambda m, z: m.gate(z).mean(1, keepdim=True)[..., None, None],
    "dropout": lambda m, z: F.dropout(m.gate(z), 0.5)[..., None, None],
    "of other inputs too": lambda m, z: (m.gate(z) + m.fc.bias)[..., None, None],
}
PRODUCTS = {
    "u * s": lambda u, s: u * s,
    "s * u": lambda u, s: s * u,
    "u.mul(s)": lambda u, s: u.mul(s),
    "u.mul_(s)": lambda u, s: u.mul_(s),
    "torch.mul": lambda u, s: torch.mul(s, u),
    "torch.multiply": lambda u, s: torch.multiply(u, s),
    "expand_as": lambda u, s: u * s.expand_as(u),
    "expand": lambda u, s: s.expand(*u.shape) * u,
}
ADDITIONS = {
    "u + r": lambda u, r: u + r,
    "r + u": lambda u, r: r + u,
    "torch.add": torch.add,
    "method": lambda u, r: r.add(u),
    "u.add_(r)": lambda u, r: u.add_(r),
}


def in_place_of(operator):
    def run(u, v):
        if operator == "+":
            u += v
        else:
            u *= v
        return u

    return run


ADDITIONS["u += r"] = in_place_of("+")
PRODUCTS["u *= s"] = in_place_of("*")


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_norms(norm):
    assert found(lambda m, x, r: F.relu(norm(m, x) + r)) == ["norm + shortcut + ReLU"]
    assert found(lambda m, x, r: F.relu(norm(m, x))) == ["norm + ReLU"]


@pytest.mark.parametrize(
    "options",
    [{"affine": False}, {"track_running_stats": False}, {"momentum": None}, {"eps": 0.1}],
    ids=str,
)
def test_manners_of_batch_norm(options):
    bn = nn.BatchNorm2d(CHANNELS, **options)
    for training in (False, True):
        if not training or bn.momentum:  # a cumulative average is a number that breaks the graph
            bn.train(training)
            assert found(lambda m, x, r: F.relu(bn(x) + r)) == ["norm + shortcut + ReLU"]


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_relus(relu):
    assert found(lambda m, x, r: relu(m.bn(x) + r)) == ["norm + shortcut + ReLU"]
    assert found(lambda m, x, r: relu(m.se(m.bn(x)) + r)) == ["norm + SE + shortcut + ReLU"]
    assert found(lambda m, x, r: m.se(relu(m.bn(x)))) == ["norm + ReLU + SE"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    for activation in ACTIVATIONS[name]:
        assert found(lambda m, x, r, a=activation: a(m.bn(x)) + r) == [f"norm + {name}"]
        assert found(lambda m, x, r, a=activation: m.se(a(m.bn(x))) + r) == [f"norm + {name} + SE"]


@pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)
def test_means(mean):
    def se(m, u):
        return u * m.gate(mean(u))[:, :, None, None]

    assert found(lambda m, x, r: F.relu(se(m, m.bn(x)) + r)) == ["norm + SE + shortcut + ReLU"]
    assert found(lambda m, x, r: se(m, F.silu(m.bn(x)))) == ["norm + SiLU + SE"]
    assert found(lambda m, x, r: se(m, x)) == ["SE"]


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_gates(gate):
    def se(m, u):
        return u * gate(m, u.mean((2, 3)))

    assert found(lambda m, x, r: se(m, m.bn(x)) + r) == ["norm + SE + shortcut"]


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_products(product):
    def se(m, u):
        return product(u, m.conv(squeeze(u)).sigmoid())

    assert found(lambda m, x, r: F.relu(se(m, m.bn(x)) + r)) == ["norm + SE + shortcut + ReLU"]
    assert found(lambda m, x, r: se(m, F.silu(m.bn(x)))) == ["norm + SiLU + SE"]


@pytest.mark.parametrize("addition", ADDITIONS.values(), ids=ADDITIONS)
def test_additions(addition):
    assert found(lambda m, x, r: addition(m.bn(x), r)) == ["norm + shortcut"]
    assert found(lambda m, x, r: addition(m.se(m.bn(x)), r)) == ["norm + SE + shortcut"]
    assert found(lambda m, x, r: addition(m.se(x), r)) == ["SE + shortcut"]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_dimensions(dims):
    pool = getattr(nn, f"AdaptiveAvgPool{dims}d")(1)

    def pooled(m, u):
        return u * m.conv(pool(u)).sigmoid()

    for se in (Parts.se, pooled):
        body = [lambda m, x, r, se=se: F.relu(se(m, m.bn(x)) + r)]
        assert found(*body, dims=dims) == ["norm + SE + shortcut + ReLU"]
    assert found(lambda m, x, r: m.se(F.silu(m.bn(x))), dims=dims) == ["norm + SiLU + SE"]


def test_sizes_that_are_symbols():
    """There is arithmetic on them between the parts of a tail."""
    stride = nn.Conv2d(CHANNELS, CHANNELS, 3, 2)

    def body(m, x, r):
        u = m.bn(stride(x))
        b, c, h, w = u.size()
        s = m.gate(u.view(b, c, h * w).mean(2)).view(b, c, 1, 1)
        return F.relu(u * s.expand(b, c, h, w) + r[:, :, :h, :w])

    for dynamic in (False, True):
        assert found(body, dynamic=dynamic) == ["norm + SE + shortcut + ReLU"]


def test_half_precision():
    half = {"dtype": torch.bfloat16}
    body = [lambda m, x, r: F.relu(m.bn(x) + r)]
    assert found(*body, a_map(**half), a_map(**half)) == ["norm + shortcut + ReLU"]


def test_the_parts_of_a_tail():
    (t,) = tails(graph_of(lambda m, x, r: F.relu(m.se(m.bn(x)) + r)))
    x, r = (n for n in t.norm.graph.nodes if n.op == "placeholder" and "maps" in n.name)
    assert (t.x, t.shortcut) == (x, r)
    assert t.gate.target == "sigmoid"
    assert t.relu
    targets = [node.target for node in t.chain]
    assert targets == [F.batch_norm, "mean", operator.mul, operator.add, F.relu]
    assert [t.norm, t.squeeze, t.addition[0], t.end] == [t.chain[i] for i in (0, 1, 3, 4)]


# --- what is not one ---


def both(m, x, r):
    """Gates of the mean and of the maximum."""
    u = m.bn(x)
    s = m.gate(u.mean((2, 3))) + m.gate(u.amax((2, 3)))
    return F.relu(u * s[..., None, None] + r)


@pytest.mark.parametrize(
    ("body", "rest"),
    [
        (lambda m, x, r: (u := m.bn(x), F.relu(u + r)), []),
        (lambda m, x, r: F.relu(m.bn(x)).chunk(2), ["norm + ReLU"]),
        (lambda m, x, r: (u := m.bn(x), m.se(u)), ["SE"]),
        (lambda m, x, r: (u := m.bn(x), F.relu(m.se(u) + r)), ["SE + shortcut + ReLU"]),
        (lambda m, x, r: (v := m.se(m.bn(x)), F.relu(v + r)), ["norm + SE"]),
        (lambda m, x, r: (v := m.bn(x) + r, F.relu(v)), ["norm + shortcut"]),
        (lambda m, x, r: (u := F.silu(m.bn(x)), m.se(u)), ["norm + SiLU", "SE"]),
        (lambda m, x, r: m.bn(x)[:, :, 1:] + 1, []),
        (both, ["SE + shortcut + ReLU"]),
    ],
)
def test_another_user_of_the_map_ends_a_tail(body, rest):
    """The map has to be written, so the squeeze is that of a map in memory."""
    assert found(body) == rest


@pytest.mark.parametrize(
    "mean",
    [
        lambda u: u.mean(2, keepdim=True).mean(3, keepdim=True),
        lambda u: u.mean(3, keepdim=True)[:, :, :1],
        lambda u: u.mean((1, 2, 3), keepdim=True),
        lambda u: u.mean(0, keepdim=True)[..., :1, :1],
        lambda u: u.mean()[None, None, None, None],
        lambda u: u[:, :, 1:].mean((2, 3), keepdim=True),
        lambda u: u[:1].mean((2, 3), keepdim=True),
        lambda u: u.flatten(1).mean(1)[:, None, None, None],
        lambda u: u.transpose(0, 1).mean((2, 3), keepdim=True).transpose(0, 1),
        lambda u: u.transpose(1, 2).mean((2, 3))[:, :1, None, None],
        lambda u: F.adaptive_avg_pool2d(u, 2)[..., :1, :1],
        lambda u: F.adaptive_avg_pool2d(u, (1, None))[..., :1],
        lambda u: F.adaptive_max_pool2d(u, 1),
        lambda u: u.amax((2, 3), keepdim=True),
        lambda u: u.sum((2, 3), keepdim=True),
        lambda u: u.square().mean((2, 3), keepdim=True),
        lambda u: u.double().to(torch.int64).double().mean((2, 3), keepdim=True).float(),
    ],
)
def test_what_is_not_the_mean_over_space(mean):
    assert found(lambda m, x, r: x * mean(x).sigmoid()) == []
    assert found(lambda m, x, r: F.relu(m.bn(x) * mean(m.bn2(x)).sigmoid() + r)) == []


@pytest.mark.parametrize(
    "product",
    [
        lambda m, u, z: u * u.mean(1, keepdim=True).sigmoid() + z.sum(),
        lambda m, u, z: (z + u) * u,
        lambda m, u, z: u * m.fc.bias[:, None, None] + z,
        lambda m, u, z: u * 2.0 + z,
        lambda m, u, z: u / z,
        lambda m, u, z: (z + 1).expand_as(u).contiguous().mul_(u),
        lambda m, u, z: u * u + z,
        lambda m, u, z: u.double() * z.double(),
        lambda m, u, z: u * z.double(),
        lambda m, u, z: u[:1] * z,
        lambda m, u, z: u - z,
    ],
)
def test_what_is_not_the_product_with_a_gate(product):
    assert found(lambda m, x, r: product(m, x, squeeze(x))) == []


def test_a_product_of_another_type():
    """As under autocast, where a gate comes in half precision: the product is the map's type."""
    half = a_map(dtype=torch.bfloat16)
    assert found(lambda m, x: x * squeeze(x).float(), half) == []
    assert found(lambda m, x: x * squeeze(x.float()).bfloat16(), half) == ["SE"]


def test_a_gate_without_gradient_of_a_map_that_stands_there():
    """PyTorch does not save the map for it, so it may be written afterwards."""

    def body(m, x):
        return x * squeeze(x).detach().sigmoid()

    x = a_map().requires_grad_()
    assert found(body, x) == []
    assert found(body, x.detach()) == ["SE"]
    with torch.no_grad():
        assert found(body, x) == ["SE"]


def test_a_product_in_place_into_a_map_that_stands_there():
    assert found(lambda m, x, r: x.mul_(squeeze(x).sigmoid())) == []


def iadd_into_the_shortcut(u, r):
    r += u
    return r


@pytest.mark.parametrize(
    "addition",
    [
        iadd_into_the_shortcut,
        lambda u, r: r.add_(u),
        lambda u, r: torch.add(u, r, alpha=2),
        lambda u, r: u.add(r, alpha=0.5),
        lambda u, r: u.add_(r, alpha=2),
        lambda u, r: u + 1,
        lambda u, r: u + r[:1],
        lambda u, r: u + r[:, :, :1],
        lambda u, r: u + u,
        lambda u, r: u - r,
        lambda u, r: u + r.double(),
        lambda u, r: u + r.bfloat16(),
    ],
)
def test_what_is_not_the_addition_of_a_shortcut(addition):
    assert found(lambda m, x, r: addition(m.bn(x), r)) == []
    assert found(lambda m, x, r: addition(m.se(m.bn(x)), r)) == ["norm + SE"]


@pytest.mark.parametrize(
    "activation",
    [
        lambda u: F.leaky_relu(u),
        lambda u: F.gelu(u),
        lambda u: u.clamp(min=0),
        lambda u: F.hardsigmoid(u),
        lambda u: F.hardtanh(u, 0.0, 5.0),
        lambda u: torch.where(u > 0, u, 0),
    ],
)
def test_other_activations(activation):
    assert found(lambda m, x, r: activation(m.bn(x))) == []
    assert found(lambda m, x, r: activation(m.bn(x) + r)) == ["norm + shortcut"]
    assert found(lambda m, x, r: m.se(activation(m.bn(x)))) == ["SE"]


def test_norms_of_what_is_no_map():
    flat = nn.BatchNorm1d(CHANNELS)
    assert found(lambda m, x, r: F.relu(flat(x.mean((2, 3))))) == []
    assert found(lambda m, x, r: F.relu(F.layer_norm(x, x.shape[1:]) + r)) == []
    assert found(lambda m, x, r: F.relu(F.group_norm(x, 4) + r)) == []
    assert found(lambda m, x, r: F.relu(F.instance_norm(x) + r)) == []


def test_a_norm_of_the_wrong_width():
    """PyTorch raises, so it must not become a tail."""
    graph = graph_of(lambda m, x, r: F.relu(m.bn(x) + r))
    (t,) = tails(graph)
    for place in range(1, 5):
        node = t.norm.args[place]
        right = node.meta["example_value"]
        node.meta["example_value"] = torch.cat([right, right])
        assert not tails(graph)
        node.meta["example_value"] = right
    assert len(tails(graph)) == 1


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
}


@pytest.mark.parametrize("of_r", LAYOUTS)
@pytest.mark.parametrize("of_x", LAYOUTS)
def test_a_result_of_another_layout_than_the_passes_write(of_x, of_r):
    """Later nodes may rely on the layout, which the first term of a sum determines."""
    maps = [LAYOUTS[of_x](a_map()), LAYOUTS[of_r](a_map())]
    dense, whole = of_x != "transposed", ["norm + shortcut + ReLU"]
    written = of_x if dense else "contiguous"
    assert found(lambda m, x, r: F.relu(m.bn(x) + r), *maps) == whole * dense
    assert found(lambda m, x, r: F.relu(r + m.bn(x)), *maps) == whole * (of_r == written)
    assert found(lambda m, x, r: m.se(x) + r, *maps) == ["SE + shortcut"] * dense


# --- several, and what stands between ---


def test_where_two_meet_in_an_addition_the_one_with_a_gate_takes_it():
    assert found(lambda m, x, r: F.relu(m.bn(x) + m.bn2(r))) == ["norm + shortcut + ReLU"]
    body = [lambda m, x, r: F.relu(m.bn(x) + m.se(m.bn2(r)))]
    assert found(*body) == ["norm + SE + shortcut + ReLU"]
    body = [lambda m, x, r: F.relu(m.se(m.bn(x)) + m.bn2(r))]
    assert found(*body) == ["norm + SE + shortcut + ReLU"]


def test_one_after_another():
    def body(m, x, r):
        y = F.relu(m.se(m.bn(m.conv(x))) + r)
        return F.relu(m.se(m.bn2(m.conv(F.silu(m.bn2(y))))) + y)

    whole = "norm + SE + shortcut + ReLU"
    assert found(body) == [whole, "norm + SiLU", whole]


def test_a_norm_called_twice():
    body = [lambda m, x, r: F.relu(m.bn(F.relu(m.bn(x) + r)) + x)]
    assert found(*body) == ["norm + shortcut + ReLU"] * 2


@pytest.mark.parametrize(
    "between",
    [
        lambda m, x, r, u: r.add_(1),
        lambda m, x, r, u: r[0].mul_(2),
        lambda m, x, r, u: r.copy_(x),
        lambda m, x, r, u: x.zero_(),
        lambda m, x, r, u: x.detach().add_(1),
        lambda m, x, r, u: m.bn.running_mean.zero_(),
        lambda m, x, r, u: m.bn2(m.bn(x)),  # moves the running statistics once more
    ],
)
def test_nothing_may_write_what_a_tail_reads_before_its_end(between):
    def body(m, x, r):
        x, r = x + 1, r + 1
        u = m.bn(x)
        v = u + r
        between(m, x, r, u)
        return F.relu(v)

    graph = graph_of(body)
    assert [str(t) for t in tails(graph) if t.addition] == []


def test_what_writes_other_things_does_not_matter():
    def body(m, x, r):
        x, r, other = x + 1, r + 1, x * r
        v = m.bn(x) + r
        other.add_(1)
        return F.relu(v), other

    assert found(body) == ["norm + shortcut + ReLU"]


def test_a_tail_does_not_cross_a_mode():
    def gate_without_gradient(m, x, r):
        u = m.bn(x)
        with torch.no_grad():
            s = m.gate(u.mean((2, 3)))
        return F.relu(u * s[..., None, None] + r)

    def norm_without_gradient(m, x, r):
        with torch.no_grad():
            u = m.bn(x)
        return F.relu(u + r)

    def whole(m, x, r):
        with torch.no_grad():
            return F.relu(m.se(m.bn(x)) + r)

    assert found(gate_without_gradient) == []
    assert found(norm_without_gradient) == []
    assert found(whole) == ["norm + SE + shortcut + ReLU"]


def test_two_graphs_of_one_network():
    def body(m, x, r):
        y = F.relu(m.bn(x) + r)
        torch._dynamo.graph_break()
        return m.se(m.bn2(y))

    graphs = graphs_of(Parts(body), a_map(), a_map())
    assert [[str(t) for t in tails(graph)] for graph in graphs] == [
        ["norm + shortcut + ReLU"],
        ["norm + SE"],
    ]
