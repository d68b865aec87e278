"""Gates that do not move, in the weights beside them: the same network, without the blocks."""

import copy
import math
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from senet import SqueezeExcitation, accelerate, create_model
from senet.data import open_source, transforms
from senet.surgery import FoldReport, fold_gates, insert_se
from senet.surgery.fold.fold import _loss
from senet.surgery.fold.trial import Trial
from tests.models.agreement import scramble
from tests.oracle import within_rule

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images():
    """Bundled images as a network takes them, with labels, to train and to test on."""
    source = open_source("fashion-mnist")
    p = source.preprocessing
    return [
        (transforms.normalise(s.images[::2], p.mean, p.std), torch.from_numpy(s.labels[::2]))
        for s in (source.train, source.val)
    ]


@pytest.fixture(scope="module")
def trained(images):
    """A small SE network after 100 steps."""
    torch.manual_seed(0)
    model = create_model(
        "se_resnet8_cifar", in_channels=1, num_classes=10, widths=(8, 16, 32), reduction=4
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    (x, labels), _ = images
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=100)
    for _ in range(100):
        few = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(x[few]), labels[few]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained)


@pytest.fixture
def batches(images):
    _, (x, labels) = images
    return list(zip(x.split(100), labels.split(100), strict=True))


def hold(se: nn.Module) -> None:
    """Make the gates of a block constants, different for each channel."""
    with torch.no_grad():
        last = [m for m in se.modules() if isinstance(m, nn.Conv2d | nn.Linear)][-1]
        last.weight.zero_()
        last.bias.normal_()


def agree(folded: nn.Module, usual: nn.Module, x: torch.Tensor) -> None:
    """Require the same output by the rule, in both modes, and the same statistics afterwards."""
    folded, usual = copy.deepcopy(folded), copy.deepcopy(usual)
    exact = copy.deepcopy(usual).double()
    eps = torch.finfo(x.dtype).eps
    moved = [x.double() * (1 + eps * s) for s in (-1, 1)]
    for training in (False, True):
        shaken = [copy.deepcopy(exact).train(training)(m) for m in moved]
        truth = exact.train(training)(x.double())
        found, plain = folded.train(training)(x), usual.train(training)(x)
        wrong = within_rule(found, plain, truth, x.dtype, shaken)
        assert wrong is None, (training, wrong)
    kept = usual.state_dict()
    for name, value in folded.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(value, kept[name])


def test_the_network_has_learned(trained, batches):
    right = sum(int((trained(x).argmax(1) == labels).sum()) for x, labels in batches)
    assert right > 250  # of 500; 50 by chance


def test_a_block_made_constant_is_found_and_folded(model, batches):
    hold(model.layer2[0].se)
    before = copy.deepcopy(model)
    report = fold_gates(model, batches, tolerance=0)
    assert [block.path for block in report.blocks if block.folded] == ["layer2.0.se"]
    (block,) = (block for block in report.blocks if block.folded)
    assert block.gates.variation == 0
    assert block.gates.class_dependence == 0
    assert block.into == ("layer2.0.bn2",)
    assert block.parameters == report.parameters == sum(map(torch.numel, block.module.parameters()))
    assert set(before.state_dict()) - set(model.state_dict()) == {
        f"layer2.0.se.fc{i}.{what}" for i in (1, 2) for what in ("weight", "bias")
    }
    agree(model, before, batches[0][0])
    assert report.together.accuracy == report.before.accuracy


def test_what_moves_is_left_alone(model, batches):
    report = fold_gates(model, batches, tolerance=0.0)
    for block in report.blocks:
        assert (block.gates.variation == 0) == block.folded


def test_the_gates_are_those_of_the_images(model, batches):
    seen = {}
    hooks = [
        m.register_forward_pre_hook(
            lambda m, inputs: seen.setdefault(m, []).append(m.gates(*inputs))
        )
        for m in model.modules()
        if isinstance(m, SqueezeExcitation)
    ]
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    for hook in hooks:
        hook.remove()
    for block in fold_gates(model, batches, tolerance=0.0).blocks:
        s = torch.cat(seen[block.module]).double()
        torch.testing.assert_close(block.gates.overall, s.mean(0))
        size = (s.var(0, correction=0).sum() / s.mean(0).square().sum()).sqrt()
        assert block.gates.variation == pytest.approx(size.item(), rel=1e-4)


def test_the_report_tells_what_was_measured(model, batches):
    before = copy.deepcopy(model)
    report = fold_gates(model, batches, tolerance=10.0)
    assert all(block.folded for block in report.blocks)
    with torch.no_grad():
        was = torch.cat([before(x) for x, _ in batches])
        now = torch.cat([model(x) for x, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    assert report.before.accuracy == pytest.approx((was.argmax(1) == labels).double().mean())
    assert report.together.accuracy == pytest.approx((now.argmax(1) == labels).double().mean())
    change = ((now - was).norm() / was.norm()).item()
    assert report.together.change == pytest.approx(change, rel=1e-3)
    assert report.before.change == 0
    text = str(report)
    assert "on 500 images: 3 changed, 0 left alone" in text
    assert "folded into layer1.0.bn2" in text
    assert f"{report.together.accuracy:.2%}" in text


def test_undo_is_bit_for_bit(model, batches):
    model.train()
    model.layer1.eval()  # a frozen stage
    modes = {path: m.training for path, m in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    parameters = dict(model.named_parameters())
    report = fold_gates(model, batches, tolerance=10.0)
    assert {m.training for m in model.layer1.modules()} == {False}
    assert {m.training for m in model.layer2.modules()} == {True}
    report.undo()
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert {path: m.training for path, m in model.named_modules()} == modes
    report.undo()  # again does nothing
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_it_does_the_same_twice(trained, batches):
    first, second = copy.deepcopy(trained), copy.deepcopy(trained)
    fold_gates(first, batches, tolerance="auto", max_loss=0.01)
    fold_gates(second, batches, tolerance="auto", max_loss=0.01)
    state = first.state_dict()
    assert list(state) == list(second.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in second.state_dict().items())


@pytest.mark.parametrize("max_loss", [0.0, 0.01, 0.1])
def test_auto_keeps_the_accuracy(model, batches, max_loss):
    report = fold_gates(model, batches, tolerance="auto", max_loss=max_loss)
    correct = sum(int((model(x).argmax(1) == labels).sum()) for x, labels in batches)
    assert report.before.accuracy - correct / 500 <= max_loss + 1e-9


class Decider(nn.Module):
    """Two blocks: the gates of ``idle`` move a little, those of ``busy`` say which class it is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.idle = nn.BatchNorm2d(2), SqueezeExcitation(2, 1)
        self.norm2, self.busy = nn.BatchNorm2d(2), SqueezeExcitation(2, 1)
        with torch.no_grad():
            for se, strength in ((self.idle, 0.1), (self.busy, 20.0)):
                se.fc1.weight.copy_(torch.eye(2)[..., None, None])
                se.fc1.bias.zero_()
                se.fc2.weight.copy_(torch.tensor([[0.0, 0.0], [strength, 0.0]])[..., None, None])
                se.fc2.bias.copy_(torch.tensor([0.0, -strength / 4]))

    def forward(self, x):
        y = self.busy(self.norm2(self.idle(self.norm1(x)))).mean((2, 3))
        return torch.stack((0.2 - y[:, 1], y[:, 1] - 0.2), 1)


@pytest.fixture
def decisions():
    """Class 1 has ones in channel 0, class 0 has zeros; channel 1 is the same in both."""
    labels = torch.arange(40) % 2
    x = torch.stack((labels.float(), torch.ones(40)), 1)[..., None, None].expand(-1, -1, 3, 3)
    return [(x, labels)]


@pytest.mark.parametrize(("max_loss", "folded"), [(0.001, ["idle"]), (1.0, ["idle", "busy"])])
def test_auto_leaves_a_block_that_decides(decisions, max_loss, folded):
    report = fold_gates(Decider().eval(), decisions, tolerance="auto", max_loss=max_loss)
    assert report.before.accuracy == 1
    assert [block.path for block in report.blocks if block.folded] == folded
    busy = report.blocks[1]
    assert busy.alone.accuracy == 0.5
    assert busy.gates.class_dependence == pytest.approx(1)
    if max_loss < 1:
        assert "accuracy to 50.00%" in busy.why


class Voters(nn.Module):
    """Three blocks side by side, each of whose gates knows the class, so that one is enough."""

    def __init__(self, *strengths: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in strengths)
        self.blocks = nn.ModuleList(SqueezeExcitation(2, 1) for _ in strengths)
        with torch.no_grad():
            for se, strength in zip(self.blocks, strengths, strict=True):
                se.fc1.weight.copy_(torch.eye(2)[..., None, None])
                se.fc1.bias.zero_()
                se.fc2.weight.copy_(torch.tensor([[0.0, 0.0], [strength, 0.0]])[..., None, None])
                se.fc2.bias.copy_(torch.tensor([0.0, -strength / 2]))

    def forward(self, x):
        votes = [se(norm(x)) for norm, se in zip(self.norms, self.blocks, strict=True)]
        y = sum(votes).mean((2, 3))[:, 1] - len(votes) / 2
        return torch.stack((-y, y), 1)


@pytest.mark.parametrize("strengths", [(1.0, 2.0, 8.0), (8.0, 2.0, 1.0)])
def test_auto_weighs_each_beside_those_that_changed_less(decisions, strengths):
    report = fold_gates(Voters(*strengths).eval(), decisions, tolerance="auto", max_loss=0)
    assert [block.alone.accuracy for block in report.blocks] == [1, 1, 1]
    assert [block.folded for block in report.blocks] == [strength < 8 for strength in strengths]
    (left,) = (block for block in report.blocks if not block.folded)
    assert left.why == "beside those that are folded, it lowers the accuracy to 50.00%"
    assert report.together.accuracy == 1


def test_a_loss_of_just_so_many_images_is_within_it():
    before = Trial(change=0.0, accuracy=0.8, ms=1.0, saved_ms=0.0)
    assert 0.8 - 0.7 > 0.1  # by a rounding
    assert _loss(before, 0.7) <= 0.1
    assert _loss(before, 0.6998) > 0.1  # one image of 5,000


def test_a_block_that_is_called_twice_is_left_alone():
    se = SqueezeExcitation(8, 2)
    model = nn.Sequential(nn.BatchNorm2d(8), se, nn.BatchNorm2d(8), se)
    report = fold_gates(model, [torch.randn(4, 8, 3, 3)], tolerance=10.0)
    assert [block.why for block in report.blocks] == ["it is called 2 times"]


class Slow(nn.ReLU):
    def forward(self, input):
        time.sleep(0.02)
        return super().forward(input)


def test_the_time_that_a_block_takes_is_saved():
    model = nn.Sequential(nn.BatchNorm2d(8), SqueezeExcitation(8, 2, activation=Slow))
    report = fold_gates(model, [torch.randn(4, 8, 3, 3)] * 3, tolerance=10.0)
    assert report.blocks[0].alone.saved_ms > 10
    assert report.together.saved_ms > 10
    assert report.before.ms > report.together.ms + 10


def test_hard_swish_sends_the_gates_to_the_convolution_after(world):
    model = world.torchvision.models.mobilenet_v3_small(num_classes=5)
    scramble(model)
    kind = world.torchvision.ops.misc.SqueezeExcitation
    for block in [m for m in model.modules() if isinstance(m, kind)]:
        hold(block)
    before = copy.deepcopy(model.eval())
    report = fold_gates(model, [torch.randn(4, 3, 32, 32)], tolerance=1e-6)
    assert [block.folded for block in report.blocks] == [True] * 9
    # The first block has ReLUs.
    assert report.blocks[0].into == ("features.1.block.0.1",)
    assert report.blocks[1].into == ("features.4.block.3.0",)
    assert not any(isinstance(m, kind) for m in model.modules())
    for module in (before, model):  # nothing random in training
        module.classifier[2].p = 0.0
    agree(model, before, torch.randn(4, 3, 32, 32))


def small_timm(world) -> nn.Module:
    """Return a network with one basic block per stage, each with timm's SE."""
    resnet = world.timm.models.resnet
    model = resnet.ResNet(
        resnet.BasicBlock,
        (1, 1, 1, 1),
        num_classes=5,
        channels=(8, 16, 16, 32),
        block_args={"attn_layer": "se"},
    )
    scramble(model)
    return model


@pytest.mark.parametrize("accelerated", [False, True], ids=["as written", "accelerated"])
def test_networks_of_timm(world, accelerated):
    model = small_timm(world)
    for block in (model.layer1[0].se, model.layer3[0].se):
        hold(block)
    before = copy.deepcopy(model.eval())
    if accelerated:
        accelerate(model)
    report = fold_gates(model, [torch.randn(4, 3, 32, 32)], tolerance=1e-6)
    assert [b.path for b in report.blocks if b.folded] == ["layer1.0.se", "layer3.0.se"]
    assert model.layer1[0].se is None
    assert (model._compiled_call_impl is not None) == accelerated
    agree(model, before, torch.randn(4, 3, 32, 32))
    report.undo()
    assert (model._compiled_call_impl is not None) == accelerated
    assert all(torch.equal(v, model.state_dict()[name]) for name, v in before.state_dict().items())
    agree(model, before, torch.randn(4, 3, 32, 32))


class Block(nn.Module):
    """A residual block whose author has never heard of SE."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(x + self.norm(self.conv(x)))


def theirs() -> nn.Module:
    stem = (nn.Conv2d(1, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return nn.Sequential(*stem, Block(16), Block(16), *head)


def ours() -> nn.Module:
    return create_model("resnet8_cifar", in_channels=1, num_classes=10, widths=(8, 16, 32))


@pytest.mark.parametrize("accelerated", [False, True], ids=["as written", "accelerated"])
@pytest.mark.parametrize(
    ("make", "into"),
    [
        (ours, ["layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn2"]),
        (theirs, ["3.norm", "4.norm"]),
    ],
    ids=["ours", "theirs"],
)
def test_se_that_was_inserted_is_trained_and_folded(images, batches, make, into, accelerated):
    model = make()
    classes, keys = [type(m) for m in model.modules()], list(model.state_dict())
    if accelerated:
        accelerate(model)
    insert_se(model, reduction=4)
    (x, labels), _ = images
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for few in torch.randint(len(x), (10, 64)):
        optimizer.zero_grad()
        F.cross_entropy(model.train()(x[few]), labels[few]).backward()
        optimizer.step()
    before, state = copy.deepcopy(model.eval()), copy.deepcopy(model.state_dict())

    report = fold_gates(model, batches, tolerance=10.0)
    assert [block.into for block in report.blocks] == [(name,) for name in into]
    assert all(block.folded and block.gates.variation > 0 for block in report.blocks)
    assert all((block.gates.overall - 1).abs().max() > 1e-3 for block in report.blocks)
    assert list(model.state_dict()) == keys
    assert [type(m) for m in model.modules()] == classes  # no trace is left
    for block in report.blocks:  # the means of the gates were folded
        hold_at(before.get_submodule(block.path), block.gates.overall)
    agree(model, before, batches[0][0])

    report.undo()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert list(model.state_dict()) == list(state)


def hold_at(se: SqueezeExcitation, s: torch.Tensor) -> None:
    """Set the gates 2σ(b) of a block to s, whatever it sees."""
    with torch.no_grad():
        se.fc2.weight.zero_()
        se.fc2.bias.copy_((s / 2).logit())


class Interrupting(list):
    """A loader during whose n-th batch Ctrl-C is pressed."""

    def __init__(self, batches, n):
        super().__init__(batches)
        self.left = n

    def __iter__(self):
        for batch in super().__iter__():
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            yield batch


def test_an_interrupt_leaves_the_network_as_it_was(model, batches):
    model.train()
    state, modules = copy.deepcopy(model.state_dict()), list(model.modules())
    few = [(x[:4], labels[:4]) for x, labels in batches[:2]]
    interrupted = 0
    for n in range(1, 16):
        try:
            fold_gates(model, Interrupting(few, n), tolerance="auto", max_loss=1.0).undo()
        except KeyboardInterrupt:
            interrupted += 1
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert list(model.modules()) == modules
        assert all(m.training and not m._forward_hooks for m in modules)
        assert not any(m._forward_pre_hooks for m in modules)
    assert 0 < interrupted < 15  # some calls came to their end


def test_an_interrupt_at_the_end_leaves_the_network_as_it_was(model, batches, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    state, modules = copy.deepcopy(model.state_dict()), list(model.modules())
    monkeypatch.setattr(FoldReport, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fold_gates(model, batches[:1], tolerance=10.0)
    assert list(model.modules()) == modules
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_type_of_the_network_is_kept(model, batches):
    hold(model.layer1[0].se)
    model.to(torch.bfloat16)
    report = fold_gates(model, [x for x, _ in batches], tolerance=1e-3)
    assert report.blocks[0].folded
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert report.before.accuracy is None


class Unseen(nn.Module):
    """A network that uses the map a second time, in NumPy, which PyTorch does not see."""

    def __init__(self):
        super().__init__()
        self.norm, self.se, self.fc = nn.BatchNorm2d(8), SqueezeExcitation(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        u = self.norm(x)
        aside = torch.from_numpy(u.numpy().mean((2, 3)))
        return self.fc(self.se(u).mean((2, 3)) + aside)


def test_what_was_not_seen_is_noticed(batches):
    model = Unseen()
    scramble(model)
    state = copy.deepcopy(model.state_dict())
    report = fold_gates(model, [torch.randn(4, 8, 3, 3)], tolerance=10.0)
    assert report.blocks[0].why == "without it, the network would compute something else"
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.se is report.blocks[0].module


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"placement": "post"}, "add comes before it; pad comes after it"),
        ({"placement": "identity"}, "the map before it is used elsewhere too; add comes after it"),
        ({"attention": "scse"}, "it does more than multiply its map by its gates"),
        ({"squeeze": "none"}, "its gates are not one number per image and channel"),
    ],
)
def test_a_block_that_cannot_be_folded_says_why(options, why):
    model = create_model("se_resnet8_cifar", widths=(8, 16, 32), reduction=4, **options)
    report = fold_gates(model, [torch.randn(2, 3, 16, 16)], tolerance=10.0)
    assert why in report.blocks[0].why
    assert not report.changed


@pytest.mark.parametrize(
    ("options", "into"),
    [
        ({"placement": "pre"}, "layer1.0.conv1"),
        ({"placement": "3x3"}, "layer1.0.bn1"),
        ({"attention": "eca"}, "layer1.0.bn2"),
        ({"attention": "ese"}, "layer1.0.bn2"),
        ({"squeeze": "max"}, "layer1.0.bn2"),
        ({"gate": "tanh"}, "layer1.0.bn2"),
    ],
)
def test_every_kind_of_block_that_gates_channels(options, into):
    reduction = {} if options.get("attention") in ("eca", "ese") else {"reduction": 4}
    model = create_model("se_resnet8_cifar", widths=(8, 16, 32), **reduction, **options)
    report = fold_gates(model, [torch.randn(2, 3, 16, 16)], tolerance=10.0)
    assert report.blocks[0].into == (into,)
    assert report.blocks[0].folded


def test_errors_say_what_to_do(model, batches):
    x, labels = batches[0]
    with pytest.raises(ValueError, match="operate on the network itself"):
        fold_gates(nn.DataParallel(model), batches)
    with pytest.raises(ValueError, match="no SE block"):
        fold_gates(create_model("resnet8_cifar", in_channels=1), batches)
    with pytest.raises(ValueError, match=r"or \"auto\", got 'most'"):
        fold_gates(model, batches, tolerance="most")
    with pytest.raises(ValueError, match="at least 0, got -1"):
        fold_gates(model, batches, tolerance=-1)
    with pytest.raises(ValueError, match="at least 0, got nan"):
        fold_gates(model, batches, tolerance=math.nan)
    with pytest.raises(ValueError, match="share of the images"):
        fold_gates(model, batches, tolerance="auto", max_loss=2)
    with pytest.raises(ValueError, match="yields no labels"):
        fold_gates(model, [x], tolerance="auto")
    with pytest.raises(ValueError, match="iterated over only once"):
        fold_gates(model, iter(batches))
    with pytest.raises(ValueError, match="no images"):
        fold_gates(model, [])
    with pytest.raises(ValueError, match=r"normalised .* got torch.uint8"):
        fold_gates(model, [x.to(torch.uint8)])
    with pytest.raises(ValueError, match="class numbers must be 0 … 9"):
        fold_gates(model, [(x, labels + 10)])
    with pytest.raises(ValueError, match=r"class numbers \[B\]"):
        fold_gates(model, [(x, labels.float())])
    with pytest.raises(ValueError, match=r"labels are for a classifier"):
        fold_gates(nn.Sequential(SqueezeExcitation(1, 1)), [(x, labels)])
