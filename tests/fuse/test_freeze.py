"""Networks for inference: the same results for any network, and errors for every misuse."""

import copy
import io
import multiprocessing
import os
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.models.surgery import NETWORKS, make
from senet import SqueezeExcitation, accelerate, create_model, for_inference
from senet.fuse import convolution, freeze
from senet.fuse.agreement import require_agreement
from senet.fuse.convolution import Convolution
from senet.fuse.freeze import Frozen
from senet.fuse.gated import GatedInput, GatedOutput
from senet.ops import backend
from tests.fuse.blocks import small
from tests.models.agreement import scramble
from tests.oracle import rounded, within_rule

NAMES = [
    "se_resnet18",
    "se_resnet50",
    "mobilenet_v3_small",
    "se_shufflenet_g3",
    "se_resnet20_cifar",
]
# Those that differ from each other most; ``SENET_ALL=1`` runs all.
OTHERS = (
    "timm:efficientnet_b0",
    "timm:seresnext26t_32x4d",
    "timm:ecaresnet26t",
    "timm:resnest14d",
)


def hold(fast: nn.Module, model: nn.Module, x: torch.Tensor) -> None:
    """Hold ``fast`` to the oracle's rule, and the input to what it was.

    A norm that is folded rounds every weight once more: the floor is what roundings of the input
    and of the weights do.
    """
    exact, given = copy.deepcopy(model).double().eval(), x.clone()
    with torch.no_grad():
        truth, plain = exact(x.double()), model.eval()(x)
        shaken = []
        for _ in range(2):
            moved = copy.deepcopy(exact)
            for weight in moved.parameters():
                weight.copy_(rounded(weight, x.dtype))
            shaken += [moved(rounded(x.double(), x.dtype)), model(rounded(x, x.dtype)).double()]
        wrong = within_rule(fast(x), plain, truth, x.dtype, shaken)
    assert wrong is None, (tuple(x.shape), wrong)
    assert torch.equal(x, given)


def made(name: str) -> nn.Module:
    model = create_model(name, num_classes=10)
    scramble(model)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_our_networks(name):
    model = made(name)
    fast = for_inference(model, torch.zeros(2, 3, 64, 64))
    for shape in ((1, 3, 64, 64), (5, 3, 64, 64), (2, 3, 96, 64)):
        hold(fast, model, torch.randn(shape))


@pytest.mark.slow
@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("network", NETWORKS if os.environ.get("SENET_ALL") else OTHERS)
def test_networks_of_others(network):
    model = make(network, num_classes=10)
    scramble(model)
    fast = for_inference(model, torch.zeros(2, 3, 96, 96))
    hold(fast, model, torch.randn(1, 3, 96, 96))
    hold(fast, model, torch.randn(3, 3, 96, 96))


def test_norms_are_gone_convolutions_packed_and_se_inside_them():
    fast = for_inference(made("se_resnet50"), torch.zeros(2, 3, 64, 64))
    kinds = [type(module) for module in fast.graph.children()]
    assert kinds.count(Convolution) == 37
    assert kinds.count(GatedOutput) == 16
    called = {str(node.target) for node in fast.graph.graph.nodes if node.op == "call_function"}
    assert not any("norm" in name or "relu" in name or "mul" in name for name in called), called


@pytest.mark.parametrize("backend_name", ["auto", "eager"])
@pytest.mark.parametrize("batch", [1, 3])
def test_gates_are_inside_convolutions_with_and_without_our_own(batch, backend_name):
    model = made("se_resnet50")
    fast = for_inference(model, torch.zeros(2, 3, 64, 64))
    with backend.use(backend_name):
        hold(fast, model, torch.randn(batch, 3, 64, 64))


@pytest.mark.parametrize("backend_name", ["auto", "eager"])
def test_gates_before_a_convolution_are_inside_it(backend_name):
    model = made("mobilenet_v3_small")
    fast = for_inference(model, torch.zeros(2, 3, 64, 64))
    kinds = [type(module) for module in fast.graph.children()]
    assert kinds.count(GatedInput) == 9
    assert not [node for node in fast.graph.graph.nodes if "act" in str(node.target)]
    with backend.use(backend_name):
        hold(fast, model, torch.randn(3, 3, 64, 64))


class Added(nn.Module):
    """A convolution whose own input is added to its result, or that reads a view of it."""

    def __init__(self, kernel: int, view: bool, se: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 128, 3)
        self.second = nn.Conv2d(64 if view else 128, 128, kernel, padding=kernel // 2)
        self.se = SqueezeExcitation(128) if se else nn.Identity()
        self.view = view

    def forward(self, x):
        h = self.first(x)
        return torch.relu(self.se(self.second(h[:, :64] if self.view else h)) + h)


@pytest.mark.parametrize("se", [False, True])
@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_shortcut_that_the_convolution_reads_is_not_overwritten(kernel, view, se):
    model = Added(kernel, view, se).eval()
    hold(for_inference(model, torch.zeros(2, 3, 24, 24)), model, torch.randn(2, 3, 24, 24))


class AddedThenActive(nn.Module):
    """An addition, and an activation that oneDNN does not apply after one."""

    def __init__(self, activation: nn.Module, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.second = nn.Conv2d(16, 16, kernel, padding=kernel // 2)
        self.activation = activation

    def forward(self, x):
        h = self.first(x)
        return self.activation(self.second(h) + h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Hardswish()])
def test_any_activation_may_follow_a_shortcut(activation, kernel, dtype):
    model, x = AddedThenActive(activation, kernel).eval(), torch.randn(2, 3, 9, 9)
    short = copy.deepcopy(model).to(dtype)
    with torch.no_grad():
        y, plain = for_inference(short, x)(x.to(dtype)), short(x.to(dtype))
        truth = model.double()(x.double())
    wrong = within_rule(y, plain, truth, dtype)
    assert wrong is None, wrong


class ReadLate(nn.Module):
    """A map h that is added, and read by a call that becomes part of a later convolution."""

    def __init__(self, how: str) -> None:
        super().__init__()
        kernel = 3 if how == "convolution" else 1
        self.first, self.other = nn.Conv2d(3, 64, 1), nn.Conv2d(3, 64, kernel, padding=kernel // 2)
        self.second, self.how = nn.Conv2d(64, 64, kernel, padding=kernel // 2), how
        self.se1, self.se2 = SqueezeExcitation(64), SqueezeExcitation(64)

    def forward(self, x):
        h = self.first(x)
        if self.how == "convolution":
            v, u = self.other(x), self.second(h)
            return torch.relu(u + (v + h))
        if self.how == "gate after it":
            u = self.second(h)
            return torch.relu(self.se2(u) + torch.relu(self.se1(self.other(x)) + h))
        v = self.se1(h)
        return self.second(v) + torch.relu(self.se2(self.other(x)) + h)


@pytest.mark.parametrize("how", ["convolution", "gate after it", "gate before it"])
def test_a_shortcut_that_a_later_convolution_reads_is_not_overwritten(how):
    model = ReadLate(how).eval()
    hold(for_inference(model, torch.zeros(2, 3, 24, 24)), model, torch.randn(2, 3, 24, 24))


class Homonym(nn.Module):
    """A network whose attributes have the names that PyTorch gives to the nodes of its graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv2d = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        self.norm, self.conv2d_1 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.conv2d_1_weight = nn.Parameter(torch.randn(8, 8, 1, 1))

    def forward(self, x):
        y = self.norm(self.conv2d(self.first(x).tanh())).tanh()
        return self.conv2d_1(F.conv2d(y, self.conv2d_1_weight).tanh())


def test_names_of_the_network_are_not_taken():
    model = Homonym().eval()
    hold(for_inference(model, torch.zeros(2, 3, 9, 9)), model, torch.randn(2, 3, 9, 9))


class Written(nn.Module):
    """A network that writes a map which something else is, or that has another type."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.how = nn.Conv2d(3, 8, 1), how
        self.after = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        if self.how == "input":
            before = x.clone()
            return self.after(self.conv(x.add_(1))), x, before
        u = self.conv(x)
        if self.how == "dropout":  # in evaluation it returns the map itself
            return F.dropout(u, 0.5, self.training).relu_() + u
        u.mul_(torch.arange(8.0, dtype=torch.float64).reshape(8, 1, 1))
        return self.after(u)


@pytest.mark.parametrize("how", ["input", "dropout", "wide"])
def test_a_network_that_writes_its_maps(how):
    model, x = Written(how).eval(), torch.randn(2, 3, 9, 9)
    x = x.contiguous(memory_format=torch.channels_last)  # which for_inference does not copy
    given = x.clone()
    with torch.no_grad():
        wanted = model(x.clone())
    torch.testing.assert_close(for_inference(model, torch.zeros(2, 3, 9, 9))(x), wanted)
    assert torch.equal(x, given)


def test_a_dropout_that_is_always_on_stays_on():
    class Dropping(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5)

    y = for_inference(Dropping(), torch.zeros(2, 3, 9, 9))(torch.ones(2, 3, 9, 9))
    assert y.unique().tolist() == [0, 2]


def test_outputs_of_another_type_keep_it():
    class Wide(nn.Module):
        def forward(self, x):
            return x * 2, x.double() / 3, x.argmax(1)

    model, x = Wide(), torch.randn(2, 3, 9, 9)
    assert all(map(torch.equal, for_inference(model, x)(x), model(x)))


@pytest.mark.parametrize("when", ["made", "moved", "called"])
def test_inference_mode(when):
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)).eval()
    x = torch.randn(2, 3, 9, 9)
    with torch.inference_mode(when == "made"):
        fast = for_inference(model, x)
    with torch.inference_mode(when == "moved"):
        fast = fast.to(torch.float64).to(torch.float32)
    with torch.inference_mode(when == "called"):
        torch.testing.assert_close(fast(x), model(x).detach(), rtol=1e-5, atol=1e-6)
    for buffer in fast.buffers():
        buffer.zero_()
    assert not fast(x).any()


@pytest.mark.parametrize("kernel", [1, 3])
def test_weights_for_one_call(kernel):
    model, x = nn.Sequential(nn.Conv2d(3, 8, kernel)).eval(), torch.randn(2, 3, 9, 9)
    fast = for_inference(model, x)
    y = fast(x)
    for factor in (2, 3):
        others = {name: value * factor for name, value in fast.named_buffers()}
        torch.testing.assert_close(torch.func.functional_call(fast, others, (x,)), factor * y)
    assert torch.equal(fast(x), y)


def test_a_constant_of_another_type_does_not_decide_the_type():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(1, dtype=torch.float64))
            self.conv = nn.Conv2d(3, 8, 1)

        def forward(self, x):
            return self.conv(x * self.scale.float())

    model, x = Scaled().eval(), torch.randn(2, 3, 9, 9)
    hold(for_inference(model, x).cpu(), model, x)


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_weights_that_are_loaded_are_packed_again(kernel, assign):
    first, second = (
        for_inference(nn.Sequential(nn.Conv2d(3, 8, kernel)).eval(), torch.zeros(2, 3, 9, 9))
        for _ in range(2)
    )
    x = torch.randn(2, 3, 9, 9)
    first(x)
    first.load_state_dict(second.state_dict(), assign=assign)
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("name", ["weight", "gate_first", "gate_second"])
def test_weights_that_are_changed_are_packed_again(name):
    fast = for_inference(made("se_resnet50"), torch.zeros(2, 3, 64, 64))
    conv = next(m for m in fast.modules() if isinstance(m, GatedOutput))
    h = torch.randn(1, conv.weight.shape[1], 5, 5)
    shortcut = torch.randn(1, conv.weight.shape[0], 5, 5)
    conv(h, shortcut.clone())
    getattr(conv, name).mul_(2)
    changed = conv(h, shortcut.clone())
    with backend.use("eager"):
        torch.testing.assert_close(changed, conv(h, shortcut.clone()), rtol=1e-4, atol=1e-5)


def test_a_batch_in_pieces_is_the_whole_batch(monkeypatch):
    model = small().eval()
    fast = for_inference(model, torch.zeros(2, 3, 19, 19))
    x = torch.randn(7, 3, 19, 19)
    whole = fast(x)
    sizes = []
    graph = fast.graph.forward
    monkeypatch.setattr(fast.graph, "forward", lambda x: sizes.append(len(x)) or graph(x))
    monkeypatch.setattr(freeze, "PIECE", 2 * 16 * 17 * 17)
    torch.testing.assert_close(fast(x), whole, rtol=1e-5, atol=1e-6)
    assert sizes == [2, 2, 2, 1]
    hold(fast, model, x)


class Mixing(nn.Module):
    """A network that mixes the images of the batch."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.how = how

    def forward(self, x):
        u = self.conv(x)
        if self.how == "mean":
            return u - u.mean(0, keepdim=True)
        if self.how == "softmax":
            return u.softmax(0)
        if self.how == "size":
            return u / u.shape[0]
        if self.how == "flip":
            return u + u.flip(0)
        if self.how == "batch":
            return F.batch_norm(u, None, None, training=True)
        if self.how == "view":
            return u.reshape(8, -1, *u.shape[2:]) * 2
        return torch.cat((u, u))


@pytest.mark.parametrize("how", ["mean", "softmax", "size", "flip", "batch", "view", "cat"])
def test_a_network_that_mixes_images_gets_the_whole_batch(how, monkeypatch):
    monkeypatch.setattr(freeze, "PIECE", 1)
    model = Mixing(how).eval()
    fast = for_inference(model, torch.zeros(2, 3, 12, 12))
    assert fast.growth == 0
    hold(fast, model, torch.randn(6, 3, 12, 12))


class Reused(nn.Module):
    """A map that is read again after its tail, a norm that is called twice, in-place operations."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(8, 8, 1, bias=bias) for bias in (True, False))
        self.bn = nn.BatchNorm2d(8)
        self.fc1, self.fc2 = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def gated(self, u):
        z = u.mean((2, 3), keepdim=True)
        return u * self.fc2(self.fc1(z).relu()).sigmoid()

    def forward(self, x):
        u = self.bn(self.a(x))
        y = F.relu(self.gated(u) + x)
        v = self.bn(self.b(y))
        w = F.relu_(self.gated(v) + y)
        w += u
        return w * 2 + y, v, x.view(x.shape[0], -1)


def test_maps_that_are_read_again_are_not_written():
    model = Reused().eval()
    scramble(model)
    fast = for_inference(model, torch.zeros(2, 8, 9, 9))
    x = torch.randn(3, 8, 9, 9)
    given = x.clone()
    with torch.no_grad():
        for got, wanted in zip(fast(x), model(x), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, given)


def test_the_network_is_left_as_it_was_and_shares_nothing():
    model = small().train()
    accelerate(model)
    before = copy.deepcopy(model.state_dict())
    fast = for_inference(model, torch.zeros(2, 3, 19, 19))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    x = torch.randn(2, 3, 19, 19)
    y = fast(x)
    for parameter in model.parameters():
        parameter.data.zero_()
    assert torch.equal(fast(x), y)


def test_copies_and_files_are_the_network():
    fast = for_inference(small(), torch.zeros(2, 3, 19, 19))
    x = torch.randn(3, 3, 19, 19)
    y = fast(x)
    file = io.BytesIO()
    torch.save(fast, file)
    file.seek(0)
    for other in (copy.deepcopy(fast), torch.load(file, weights_only=False)):
        assert isinstance(other, Frozen)
        assert torch.equal(other(x), y)
    again = for_inference(small(), torch.zeros(2, 3, 19, 19))
    again.load_state_dict(fast.state_dict())
    assert torch.equal(again(x), y)


def test_weights_that_are_loaded_are_packed_anew():
    fast, other = (for_inference(small(), torch.zeros(2, 3, 19, 19)) for _ in range(2))
    x = torch.randn(3, 3, 19, 19)
    fast(x)
    fast.load_state_dict(other.state_dict())
    assert torch.equal(fast(x), other(x))


def test_eight_threads_get_the_serial_results():
    fast = for_inference(small(), torch.zeros(2, 3, 19, 19))
    images = [torch.randn(1 + k % 3, 3, 19, 19) for k in range(8)]
    wanted = [copy.deepcopy(fast)(x) for x in images]
    got: list = [None] * 8

    def work(k):
        for _ in range(10):
            got[k] = fast(images[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for y, z in zip(got, wanted, strict=True):
        torch.testing.assert_close(y, z)


def test_a_fork_can_use_it():
    fast = for_inference(small(), torch.zeros(2, 3, 19, 19))
    x = torch.randn(3, 3, 19, 19)
    y = fast(x)

    def work(queue):
        torch.set_num_threads(1)  # PyTorch's threads do not survive a fork
        queue.put(torch.allclose(fast(x), y, atol=1e-5))

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    assert queue.get(timeout=60)
    process.join()


def test_training_is_refused():
    fast = for_inference(small(), torch.zeros(2, 3, 19, 19))
    with pytest.raises(ValueError, match="cannot be trained"):
        fast.train()
    with pytest.raises(ValueError, match="has no gradients"):
        fast(torch.randn(2, 3, 19, 19, requires_grad=True))
    with torch.no_grad():
        fast(torch.randn(2, 3, 19, 19, requires_grad=True))
    assert not fast.eval().training
    assert not list(fast.parameters())
    assert not fast(torch.randn(2, 3, 19, 19)).requires_grad


class Sized(nn.Module):
    """A network that treats small and large images differently."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x) if x.shape[2] < 12 else self.conv(x) * 2


class Fixed(nn.Module):
    """A network for images of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(3, 8, 8))

    def forward(self, x):
        return x + self.shift


@pytest.mark.parametrize(
    ("model", "x", "said"),
    [
        (
            Fixed(),
            torch.zeros(2, 3, 9, 9),
            r"expected an input \[any, 3, 8, 8\], got \[2, 3, 9, 9\]",
        ),
        (Fixed(), torch.zeros(2, 4, 8, 8), r"expected an input \[any, 3, 8, 8\]"),
        (Fixed(), torch.zeros(3, 8, 8), r"expected an input \[any, 3, 8, 8\]"),
        (Sized(), torch.zeros(2, 3, 16, 16), "may do something else"),
        (Sized(), torch.zeros(2, 3, 8, 8).double(), "expected an input of torch.float32"),
        (Sized(), torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "expected an input of torch.float32"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(model, x, said):
    fast = for_inference(model, torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=said):
        fast(x)
    for batch in (1, 2, 5):
        hold(fast, model, torch.randn(batch, 3, 8, 8))


@pytest.mark.parametrize("like", ["channels last", "turned", "expanded"])
def test_an_example_may_lie_in_any_order(like):
    x = torch.randn(2, 3, 19, 19)
    example = {
        "channels last": x.contiguous(memory_format=torch.channels_last),
        "turned": x.transpose(2, 3),
        "expanded": x[:, :1].expand(2, 3, 19, 19),
    }[like]
    model = small().eval()
    fast = for_inference(model, example)
    hold(fast, model, example)
    hold(fast, model, torch.randn(3, 3, 20, 22))


class Counting(nn.Module):
    """A network that writes a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Restless(nn.Module):
    """A network that updates its running statistics also in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x):
        return F.batch_norm(x, self.bn.running_mean, self.bn.running_var, training=True)


class Impossible(nn.Module):
    def forward(self, x):
        return x * int(x.sum().item())


class Branching(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Impossible(), "torch.export cannot follow Impossible"),
        (Branching(), "cannot follow Branching: it calls an operation with a graph of its own"),
        (Fixed(), "torch.export cannot follow Fixed"),  # the default example is of 224 pixels
        (Counting(), "writes calls in evaluation"),
        (Restless(), "writes bn.running_mean, bn.running_var in evaluation"),
    ],
)
def test_a_network_that_cannot_be_exported_is_refused(model, said):
    with pytest.raises(ValueError, match=said):
        for_inference(model)


class Depth(nn.Module):
    """A network of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.color, self.depth = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 8, 3)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, image, depth):
        return self.bn(self.color(image) + self.depth(depth)).relu()


def test_what_is_not_one_image_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"Depth takes others .*'depth'.*senet.accelerate"):
        for_inference(Depth(), torch.zeros(2, 3, 9, 9))
    with pytest.raises(ValueError, match=r"\[2, 3, 224, 224\].*for_inference\(model, example\)"):
        for_inference(nn.Conv1d(1, 8, 3))
    with pytest.raises(ValueError, match="follow Conv1d") as raised:
        for_inference(nn.Conv1d(1, 8, 3), torch.zeros(2, 2, 9))
    assert "no example" not in str(raised.value)
    with pytest.raises(ValueError, match=r"a ScriptModule, .*made of"):
        for_inference(torch.jit.trace(nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 9, 9)))  # pyright: ignore[reportArgumentType]


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, pixel_values):
        return self.conv(pixel_values)


def test_the_input_may_be_given_by_its_name():
    model, x = Named().eval(), torch.randn(2, 3, 9, 9)
    fast = for_inference(model, x)
    assert torch.equal(fast(pixel_values=x), fast(x))
    for given, named in (((), {}), ((x, x), {}), ((), {"x": x}), ((x,), {"pixel_values": x})):
        with pytest.raises(TypeError, match="one tensor, 'pixel_values'"):
            fast(*given, **named)


def test_it_is_made_once():
    with pytest.raises(ValueError, match="already"):
        for_inference(for_inference(small(), torch.zeros(2, 3, 19, 19)))


def test_the_example_is_what_the_network_is_made_for(monkeypatch):
    seen = []
    exported = freeze.exported
    monkeypatch.setattr(
        freeze, "exported", lambda m, x, *a: seen.append(tuple(x.shape)) or exported(m, x, *a)
    )
    for_inference(create_model("se_resnet8_cifar"))
    for_inference(nn.Sequential(nn.Conv2d(5, 2, 3)), torch.zeros(1, 5, 9, 9))
    for_inference(nn.Sequential(nn.Conv2d(5, 2, 3)))
    assert seen == [(2, 3, 32, 32), (2, 5, 9, 9), (2, 5, 224, 224)]


def test_without_packed_convolutions_it_is_the_same(monkeypatch):
    monkeypatch.setattr(convolution, "can_convolve", lambda dtype: False)
    model = made("se_resnet50")
    for name in ("auto", "eager"):
        with backend.use(name):
            fast = for_inference(model, torch.zeros(2, 3, 64, 64))
            hold(fast, model, torch.randn(3, 3, 64, 64))


def test_double_precision_stays_double():
    model = small().eval().double()
    fast = for_inference(model, torch.zeros(2, 3, 19, 19))
    x = torch.randn(3, 3, 19, 19, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), model(x), rtol=1e-12, atol=1e-12)


def test_bfloat16_is_as_good_as_the_network_in_bfloat16():
    model = small().eval()
    fast = for_inference(model, torch.zeros(2, 3, 19, 19), dtype=torch.bfloat16)
    x = torch.randn(8, 3, 19, 19)
    short = copy.deepcopy(model).to(torch.bfloat16)
    with torch.no_grad():
        y, plain, truth = fast(x), short(x.bfloat16()), model.double()(x.double())
    assert y.dtype == torch.float32
    wrong = within_rule(y, plain, truth, torch.bfloat16)
    assert wrong is None, wrong


def test_in_bfloat16_too_the_gate_is_inside_the_convolution():
    pointwise = pytest.importorskip("senet.ops.native.pointwise", exc_type=ImportError)
    fast = for_inference(made("se_resnet50"), torch.zeros(2, 3, 64, 64), dtype=torch.bfloat16)
    conv = next(m for m in fast.modules() if isinstance(m, GatedOutput))
    h = torch.randn(1, conv.weight.shape[1], 5, 5).to(torch.bfloat16)
    shortcut = torch.randn(1, conv.weight.shape[0], 5, 5).to(torch.bfloat16)
    inside = conv.pointwise(h, shortcut)
    assert (inside is not None) == pointwise.takes(conv.weight)
    expected = conv._by_steps(h, shortcut.clone())
    torch.testing.assert_close(conv(h, shortcut), expected, rtol=0.02, atol=0.02)


class Standardised(nn.Conv2d):
    """Computes its weights, as weight standardisation does."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def test_weights_that_are_computed_are_left_alone():
    model = nn.Sequential(Standardised(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    scramble(model)
    x = torch.randn(3, 3, 9, 9)
    hold(for_inference(model, x), model, x)


def test_another_type_afterwards():
    model = small().eval()
    fast = for_inference(model, torch.zeros(2, 3, 19, 19)).to(torch.bfloat16)
    x = torch.randn(2, 3, 19, 19)
    with torch.no_grad():
        y, wanted = fast(x), model(x)
    assert y.dtype == torch.float32
    assert ((y - wanted).norm() / wanted.norm()).item() < 0.03


def test_volumes_and_sequences():
    for dims, conv, norm in ((1, nn.Conv1d, nn.BatchNorm1d), (3, nn.Conv3d, nn.BatchNorm3d)):
        model = nn.Sequential(conv(2, 8, 3), norm(8), nn.ReLU()).eval()
        scramble(model)
        x = torch.randn(3, 2, *[7] * dims)
        hold(for_inference(model, x), model, x)


def test_sizes_may_be_kept_as_they_are():
    model = small().eval()
    fast = for_inference(model, torch.zeros(2, 3, 19, 19), any_size=False)
    hold(fast, model, torch.randn(5, 3, 19, 19))
    with pytest.raises(ValueError, match=r"expected an input \[any, 3, 19, 19\]"):
        fast(torch.randn(2, 3, 20, 19))


def test_an_empty_batch_is_one():
    fast = for_inference(create_model("se_resnet8_cifar", num_classes=10))
    assert fast(torch.empty(0, 3, 32, 32)).shape == (0, 10)


class Windows(nn.Module):
    """Cuts its map into windows, as a Swin transformer does, and writes a mask in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        B, H, W, C = (x := self.conv(x).permute(0, 2, 3, 1)).shape
        x = x.view(B, H // 2, 2, W // 2, 2, C).permute(0, 1, 3, 2, 4, 5)
        mask = x.new_zeros((4, 4))
        mask[0:2, 1:3] = 1.0
        return mask @ x.reshape(B * (H // 2) * (W // 2), 4, C)


def test_a_reshape_that_copies_still_does_where_the_copy_is_left_out():
    model, x = Windows().eval(), torch.randn(2, 3, 8, 8)
    hold(for_inference(model, x), model, x)


class Turned(nn.Module):
    """Doubles its map through another order of its dimensions, which decompositions lose."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.conv(x)
        torch.einsum("bchw->bhwc", y).mul_(2)
        return y


class Noisy(nn.Module):
    """Is another function at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return F.dropout(self.conv(x), 0.5, training=True)


def test_what_export_gets_wrong_is_refused():
    x = torch.randn(2, 3, 4, 4)
    with pytest.raises(ValueError, match="Turned does not compute what the network does"):
        for_inference(Turned().eval(), x)
    assert for_inference(Noisy().eval(), x)(x).shape == (2, 4, 4, 4)


def test_no_output_may_turn_into_nan():
    """A comparison with NaN is false, wherever it stands among others."""

    class Two(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return x, self.factor * x

    with pytest.raises(ValueError, match="does not compute what the network does"):
        require_agreement(Two(float("nan")), Two(1.0), torch.randn(2, 3))


@pytest.mark.parametrize("empty", [torch.zeros(2, 3, 8, 8), torch.full((2, 3, 8, 8), torch.nan)])
def test_examples_may_say_nothing(empty):
    for_inference(small().eval(), empty)
