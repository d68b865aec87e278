"""SE put into other people's networks, exchanged for other attention, and taken out again."""

import copy
import pickle

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F

from senet import accelerate, create_model
from senet.gates import se_layers
from senet.surgery import insert_se, remove_se, replace, replace_se
from tests.models.agreement import scramble


class Shortcut(nn.Module):
    """A shortcut without parameters: every second position, and zeros for the new channels."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    """A block as in the CIFAR networks of many repositories, with a shortcut that only pads."""

    def __init__(self, channels: int, more: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, more, 3, more // channels, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(more)
        self.conv2 = nn.Conv2d(more, more, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(more)
        self.shortcut = nn.Sequential()
        if more != channels:
            self.shortcut = Shortcut(
                lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more // 4, more // 4))
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


def scrambled(model: nn.Module) -> nn.Module:
    scramble(model)
    return model.eval()


def small() -> nn.Module:
    return scrambled(
        nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Sequential(Block(16, 16), Block(16, 32)),
            Block(32, 64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )
    )


PLACES = ["3.0.bn2", "3.1.bn2", "4.bn2"]
"""The ends of the branches of ``small()``."""


def test_it_goes_to_the_ends_of_the_branches_of_anybodys_blocks():
    report = insert_se(small())
    assert [(f.path, f.found, f.done) for f in report.changed] == [
        ("3.0.bn2", "residual branch, 16 channels", "SE, 49 parameters"),
        ("3.1.bn2", "residual branch, 32 channels", "SE, 162 parameters"),
        ("4.bn2", "residual branch, 64 channels", "SE, 580 parameters"),
    ]
    assert report.title == "inserted SE into Sequential, 791 new parameters"
    assert not report.left_alone


@pytest.mark.parametrize("type_", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_at_first_nothing_changes_in_any_type(type_):
    model, x = small().to(type_), torch.randn(2, 3, 16, 16).to(type_)
    before = model(x)
    insert_se(model)
    assert {p.dtype for p in model.parameters()} == {type_}
    torch.testing.assert_close(model(x), before)


def test_at_first_training_is_the_same():
    plain = small().train()
    model = insert_se(plain, inplace=False).model
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(model(x), plain(x))
    state = model.state_dict()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(state[name], value)
    assert all(model.get_submodule(path).se.training for path in PLACES)


def test_a_network_without_data_gets_blocks_without_data():
    with torch.device("meta"):
        model = nn.Sequential(Block(16, 16))
    assert insert_se(model).changed
    assert all(p.is_meta for p in model.parameters())
    real = insert_se(nn.Sequential(Block(16, 16))).model
    model.to_empty(device="cpu").load_state_dict(real.state_dict())
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(model(x), real(x))


def test_what_is_frozen_stays_frozen_and_se_learns():
    model = small().requires_grad_(False)
    insert_se(model)
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    layers = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    assert learning == [f"{path}.se.{layer}" for path in PLACES for layer in layers]


def test_every_hidden_unit_is_awake():
    """An inactive one would stay so: no gradient comes through a last layer of zeros."""
    model, seen = small(), []
    with torch.no_grad():
        model[4].bn2.bias.normal_(0, 1)
    insert_se(model, reduction=4)
    se = model[4].bn2.se
    se.activation.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model(torch.randn(16, 3, 16, 16))
    assert seen[0].shape == (16, 16, 1, 1)
    assert (seen[0] > 0).any(0).all()


def test_hooks_go_on_and_see_what_is_rescaled():
    model, seen = small(), {}
    block = model[4]
    block.register_forward_pre_hook(lambda module, inputs: seen.update(before=inputs[0]))
    block.register_forward_hook(lambda module, inputs, output: seen.update(after=output))
    block.register_full_backward_hook(lambda module, grads, more: seen.update(gradient=more[0]))
    block.bn2.register_forward_hook(
        lambda module, inputs, output: seen.update(
            conv=inputs[0],
            norm=output.clone(),  # the block adds to it in place
        )
    )
    insert_se(model, start="paper")
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert set(seen) == {"before", "after", "gradient", "conv", "norm"}
    plain = nn.BatchNorm2d.forward(block.bn2, seen["conv"])
    torch.testing.assert_close(seen["norm"], block.bn2.se(plain))
    assert not torch.allclose(seen["norm"], plain)
    torch.testing.assert_close(seen["after"], F.relu(seen["norm"] + block.shortcut(seen["before"])))


class OneNorm(nn.Module):
    """A norm that two convolutions share."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, x):
        return x + self.bn(self.b(F.relu(self.bn(self.a(x)))))


def of_two_blocks() -> nn.Module:
    first, second = Block(8, 8), Block(8, 8)
    second.bn2 = first.bn2
    return nn.Sequential(first, second)


@pytest.mark.parametrize(
    "make",
    [lambda: nn.Sequential(OneNorm()), of_two_blocks, lambda: nn.Sequential(*[Block(8, 8)] * 2)],
    ids=["two paths", "two blocks", "one block twice"],
)
def test_what_serves_twice_is_left_alone(make):
    model = make()
    report = insert_se(model, reduction=4)
    assert not report.changed
    assert report.left_alone
    for finding in report.left_alone:
        assert finding.why == "it is used 2 times, and SE in it would serve all of them"


def test_twice_is_once():
    model, x = small(), torch.randn(2, 3, 16, 16)
    insert_se(model, start="paper")
    parameters, before = dict(model.named_parameters()), model(x)
    again = insert_se(model)
    assert not again.changed
    assert [f.path for f in again.left_alone] == [f"{path}.se" for path in PLACES]
    assert all(f.why == "it is there already" for f in again.left_alone)
    assert dict(model.named_parameters()).keys() == parameters.keys()
    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert torch.equal(model(x), before)


def test_a_copy_leaves_the_original_alone():
    model, x = small(), torch.randn(2, 3, 16, 16)
    classes, before = [type(m) for m in model.modules()], model(x)
    state = copy.deepcopy(model.state_dict())
    other = insert_se(model, start="paper", inplace=False).model
    assert not torch.allclose(other(x), before)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert [type(m) for m in model.modules()] == classes
    assert list(model.state_dict()) == list(state)
    assert torch.equal(model(x), before)


def test_an_optimizer_made_before_goes_on_and_learns_of_the_new():
    model, x = small(), torch.randn(2, 3, 16, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(x).sum().backward()
    optimizer.step()
    insert_se(model)
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    new = [p for p in model.parameters() if id(p) not in known]

    def step():
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        pairs = zip(model.parameters(), before, strict=True)
        return {id(p) for p, value in pairs if not torch.equal(p, value)}

    assert step() == known
    optimizer.add_param_group({"params": new})
    last = {id(model.get_submodule(path).se.fc2.weight) for path in PLACES}
    assert last <= step()


def test_it_compiles_and_exports():
    model, x = small(), torch.randn(2, 3, 16, 16)
    insert_se(model, start="paper")
    expected = model(x)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), expected)
    sizes = ({0: torch.export.Dim("batch", min=2, max=64)},)
    program = torch.export.export(model, (x,), dynamic_shapes=sizes)
    torch.testing.assert_close(program.module()(x), expected)
    more = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(more), model(more))
    assert [name for name in program.state_dict if ".se." in name]


def test_what_was_compiled_before_is_compiled_anew():
    model, x = small(), torch.randn(2, 3, 16, 16)
    fast = torch.compile(model, backend="eager")
    before = fast(x)
    insert_se(model, start="paper")
    torch.testing.assert_close(fast(x), model(x))
    assert not torch.allclose(fast(x), before)


def test_copies_and_pickles_keep_se(world):
    model = scrambled(world.torchvision.models.resnet18(num_classes=10))
    insert_se(model, start="paper")
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(again(x), model(x))


@pytest.mark.parametrize("first", ["insert", "accelerate"])
def test_it_goes_together_with_acceleration(world, first):
    model = scrambled(world.torchvision.models.resnet18(num_classes=10))
    slow = insert_se(model, start="paper", inplace=False).model
    fast = copy.deepcopy(model)
    if first == "accelerate":
        accelerate(fast)
    insert_se(fast, start="paper")
    fast.load_state_dict(slow.state_dict())
    report = accelerate(fast)
    x = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), slow(x), rtol=1e-4, atol=1e-4)
    assert sum("SE" in finding.found for finding in report.changed) == 8


def test_where_names_patterns_or_a_function(world):
    model = scrambled(world.torchvision.models.resnet18(num_classes=10))
    assert [f.path for f in insert_se(model, where="layer4.*.bn2", inplace=False).changed] == [
        "layer4.0.bn2",
        "layer4.1.bn2",
    ]
    chosen = insert_se(model, where=lambda path, _: path == "layer1.0.bn1", inplace=False)
    assert [f.path for f in chosen.changed] == ["layer1.0.bn1"]


def test_arguments_out_of_range_are_named(world):
    model = scrambled(world.torchvision.models.resnet18(num_classes=10))
    with pytest.raises(ValueError, match="start must be one of"):
        insert_se(model, start="identy")
    with pytest.raises(ValueError, match="wrapped in DataParallel"):
        insert_se(nn.DataParallel(model))


@pytest.fixture
def alone():
    """A process group of this process alone."""
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_a_network_that_is_wrapped_for_many_processes_is_refused(alone):
    model = small()
    with pytest.raises(ValueError, match="wrapped in DistributedDataParallel"):
        insert_se(nn.parallel.DistributedDataParallel(model))
    with pytest.raises(ValueError, match=r"wrapped in DistributedDataParallel at net: .*module"):
        insert_se(nn.ModuleDict({"net": nn.parallel.DistributedDataParallel(model)}))
    assert insert_se(model).changed  # the network itself
    sharded = fully_shard(small(), mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(ValueError, match="wrapped in FSDPSequential"):
        insert_se(sharded)


def test_blocks_are_replaced_and_removed(world):
    model = scrambled(world.timm.create_model("legacy_seresnet18", num_classes=10))
    blocks = [m for m in model.modules() if se_layers(m)]
    report = replace_se(model, by="eca")
    assert len(report.changed) == len(blocks) == 8
    assert not any(se_layers(m) for m in model.modules())
    model(torch.randn(1, 3, 64, 64))
    assert len(remove_se(model).changed) == 8
    model(torch.randn(1, 3, 64, 64))


def test_what_was_inserted_can_be_removed_again():
    model = create_model("resnet8_cifar").eval()
    keys, x = list(model.state_dict()), torch.randn(1, 3, 32, 32)
    before = model(x)
    insert_se(model, start="paper")
    assert not torch.allclose(model(x), before)
    remove_se(model)
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(x), before)


def test_the_primitive_refuses_the_network_itself():
    with pytest.raises(ValueError, match="the network itself"):
        replace(nn.Linear(2, 2), lambda path, module: nn.Identity())


# --- layer scales and dense layers ----------------------------------------------------------------


class Scaled(nn.Module):
    """A layer scale as a module, of any form that broadcasts."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full(shape, 0.1))

    def forward(self, x):
        return x * self.gamma


class LastBlock(nn.Module):
    """ConvNeXt's block: between the two permutations the channels are the last dimension."""

    def __init__(self, channels: int, scale: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.fc1, self.act = nn.Linear(channels, 2 * channels), nn.GELU()
        self.fc2, self.drop = nn.Linear(2 * channels, channels), nn.Dropout(0.1)
        self.scale = scale
        self.gamma = nn.Parameter(torch.full((channels,), 0.1))
        self.after = Scaled(channels, 1, 1) if scale == "module" else nn.Identity()

    def forward(self, x):
        y = self.conv(x).permute(0, 2, 3, 1)
        y = self.drop(self.fc2(self.act(self.fc1(self.norm(y)))))
        y = self.gamma * y if self.scale == "last" else y
        y = y.permute(0, 3, 1, 2)
        y = y * self.gamma.reshape(1, -1, 1, 1) if self.scale == "first" else y
        return x + self.after(y)


@pytest.mark.parametrize("scale", ["first", "last", "module", "none"])
def test_it_goes_before_a_layer_scale_where_channels_are_last(scale):
    model, x = scrambled(nn.Sequential(LastBlock(16, scale))), torch.randn(2, 16, 6, 6)
    before = model(x)
    (found,) = insert_se(model, 4).changed
    assert (found.path, found.found) == ("0.fc2", "residual branch, 16 channels")
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-6)
    assert not insert_se(model, 4).changed
    se = model.get_submodule("0.fc2.se")
    with torch.no_grad():
        se.fc2.weight.normal_(0, 1)
    seen = []
    hook = se.register_forward_hook(lambda _, given, made: seen.append((given[0], made)))
    after = model(x)
    hook.remove()
    ((u, rescaled),) = seen
    assert u.shape == (2, 16, 6, 6)  # as SE takes it
    torch.testing.assert_close(rescaled, u * se.gates(u)[:, :, None, None])
    assert not torch.allclose(after, before)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(again.eval()(x), model(x), rtol=0, atol=0)
    remove_se(model)
    assert type(model[0].fc2) is nn.Linear
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


class ScaledBlock(Block):
    """A residual block of convolutions with a layer scale."""

    def __init__(self, channels: int, scale: nn.Module) -> None:
        super().__init__(channels, channels)
        self.scale = scale

    def forward(self, x):
        return x + self.scale(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Gated(nn.Module):
    """A product that looks like a layer scale, with numbers that depend on the image."""

    def forward(self, x):
        return x * x.mean((2, 3), keepdim=True).sigmoid()


class Squared(nn.Module):
    def forward(self, x):
        return x * x


def test_a_layer_scale_is_known_by_what_it_does():
    model = nn.Sequential(ScaledBlock(16, Scaled(16, 1, 1)), ScaledBlock(16, Scaled(1)))
    assert [f.path for f in insert_se(model, 4).changed] == ["0.bn2", "1.bn2"]
    for other in (Gated(), Squared()):
        report = insert_se(nn.Sequential(ScaledBlock(16, other)), 4)
        assert not report.changed, report


class Dense(nn.Module):
    """A dense layer; ``whole`` returns what it was given too, as many write it."""

    def __init__(self, channels: int, growth: int, whole: bool, stride: int = 1) -> None:
        super().__init__()
        self.bn, self.whole = nn.BatchNorm2d(channels), whole
        self.conv = nn.Conv2d(channels, growth, 3, stride, padding=1, bias=False)

    def forward(self, x):
        y = self.conv(F.relu(self.bn(x)))
        return torch.cat([y, x], 1) if self.whole else y


class DenseBlock(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        seen = [x]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, 1)))
        return torch.cat(seen, 1)


@pytest.mark.parametrize("whole", [True, False])
def test_it_goes_on_what_each_dense_layer_adds(whole):
    layers: list[nn.Module] = [Dense(8 + 4 * i, 4, whole) for i in range(3)]
    block = nn.Sequential(*layers) if whole else DenseBlock(layers)
    model = scrambled(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), block))
    x = torch.randn(2, 3, 8, 8)
    before = model(x)
    report = insert_se(model, 2)
    assert [f.path.rpartition(".")[2] for f in report.changed] == ["conv"] * 3, report
    assert {f.found for f in report.changed} == {"dense layer, 4 channels"}
    assert not report.left_alone, report
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-6)


class Chain(nn.Module):
    """Each map is computed from the one before it alone, as in VoVNet."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))

    def forward(self, x):
        seen = [x]
        for conv in self.convs:
            seen.append(conv(seen[-1]))
        return torch.cat(seen, 1)


class Skip(nn.Module):
    """One level of a U-Net: down, and up again."""

    def __init__(self, up: nn.Module) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(8, 8, 3, 2, padding=1), up

    def forward(self, x):
        return torch.cat([self.up(self.conv(x)), x], 1)


@pytest.mark.parametrize("kind", ["chain", "transposed", "upsampled"])
def test_other_concatenations_are_no_dense_layers(kind):
    other = {
        "chain": Chain(),
        "transposed": Skip(nn.ConvTranspose2d(8, 8, 2, 2)),
        "upsampled": Skip(nn.Upsample(None, 2)),
    }[kind]
    report = insert_se(nn.Sequential(nn.Conv2d(3, 8, 3), other), 2)
    assert not [f for f in report.changed if "dense" in f.found], report
