"""Other people's tools on our networks, plain and accelerated: ``python -m benchmarks.tools``.

They prune, count, attribute, extract features and add adapters. The libraries are not dependencies
of senet: ``--path`` is a folder into which they were installed, outside the environment. For a
missing one, the command that installs it is printed, and the other tools run. The table goes to
docs/surgery.md.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import reference_libraries, table
from senet import accelerate, create_model
from senet.models.describe import cost
from senet.ops import backend

HEAD = ("tool", "version", "tried", "outcome")
IMAGE = (3, 224, 224)


class Row(NamedTuple):
    """One line of the table."""

    tool: str
    version: str
    tried: str
    outcome: str


class Tool(NamedTuple):
    """A library, and what is tried with it."""

    needs: str
    """The arguments of ``pip`` that install it and what it imports; empty if it is here already."""
    imports: tuple[str, ...]
    rows: Callable[[], list[Row]]


def version(distribution: str) -> str:
    return importlib.metadata.version(distribution).split("+")[0]


def prepared(name: str, seed: int = 0) -> nn.Module:
    """Return a network in evaluation mode, with every norm and bias away from its usual start."""
    torch.manual_seed(seed)
    model = create_model(name)
    with torch.no_grad():
        for key, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.dim() == 1 and value.is_floating_point():
                if "bias" in key or "mean" in key:
                    value.normal_(0, 0.1)
                else:
                    value.uniform_(0.5, 1.5)
    return model.eval()


def images(batch: int = 2, size: int = 64) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def figure(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"


def apart(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, relative to the largest wanted value."""
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def step(model: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the output of a forward pass, and the gradients of its backward pass."""
    model.zero_grad()
    y = model(x)
    y.square().mean().backward()
    return y.detach(), {k: p.grad for k, p in model.named_parameters() if p.grad is not None}


def on_the_passes(model: nn.Module) -> int:
    """Return how many tails of a network run on the passes once it is accelerated."""
    return len(accelerate(model).changed)


def farthest(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Return the largest difference of any gradient, relative to the largest gradient."""
    if found.keys() != wanted.keys():
        raise AssertionError(f"gradients of {sorted(found.keys() ^ wanted.keys())} differ")
    scale = max(g.abs().max().item() for g in wanted.values())
    return max((found[k] - g).abs().max().item() for k, g in wanted.items()) / scale


def prune() -> list[Row]:
    """Remove half of the channels of a network with torch-pruning."""
    tp = importlib.import_module("torch_pruning")
    rows = []
    for name in ("se_resnet18", "se_resnet50"):
        for form in ("plain", "accelerated"):
            model, x = prepared(name), images()
            if form == "accelerated":
                accelerate(model, x)
            before = sum(p.numel() for p in model.parameters())
            pruner = tp.pruner.MagnitudePruner(
                model,
                x,
                importance=tp.importance.MagnitudeImportance(p=2),
                pruning_ratio=0.5,
                ignored_layers=[m for m in model.modules() if isinstance(m, nn.Linear)],
            )
            pruner.step()
            after = sum(p.numel() for p in model.parameters())
            plain = copy.deepcopy(model)
            if form == "plain":
                accelerate(model)
            (y, gradients), (wanted, others) = step(model, x), step(plain, x)
            how = "pruned, then accelerated" if form == "plain" else "accelerated, then pruned"
            rows.append(
                Row(
                    "torch-pruning",
                    version("torch-pruning"),
                    f"`MagnitudePruner`, half of the channels of {name}, {how}",
                    f"{before:,} → {after:,} parameters; {on_the_passes(model)} tails on the "
                    f"passes; from the pruned network as it is: output {figure(apart(y, wanted))}, "
                    f"gradients {figure(farthest(gradients, others))}",
                )
            )
    return rows


def _count_thop(model: nn.Module, x: Tensor) -> float:
    return importlib.import_module("thop").profile(model, (x,), verbose=False)[0]


def _count_ptflops(model: nn.Module, x: Tensor, backend: str) -> float:
    count = importlib.import_module("ptflops").get_model_complexity_info
    return count(
        model, IMAGE, as_strings=False, print_per_layer_stat=False, verbose=False, backend=backend
    )[0]


def _count_torchinfo(model: nn.Module, x: Tensor) -> float:
    return (
        importlib.import_module("torchinfo").summary(model, input_data=x, verbose=0).total_mult_adds
    )


def _count_fvcore(model: nn.Module, x: Tensor) -> float:
    analysis = importlib.import_module("fvcore.nn").FlopCountAnalysis(model, x)
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


def _count_torch(model: nn.Module, x: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops() / 2


def _count_senet(model: nn.Module, x: Tensor) -> float:
    return cost.multiply_adds(model, IMAGE)[0]


def count(tool: str, distribution: str, counter: Callable[..., float], why: str) -> list[Row]:
    """Count the multiply-adds of se_resnet50 for one image, plain and accelerated."""
    found = {}
    for form in ("plain", "accelerated"):
        model, x = prepared("se_resnet50"), images(1, 224)
        if form == "accelerated":
            accelerate(model, x)
        found[form] = counter(model, x) / 1e9
    same = "accelerated the same" if len(set(found.values())) == 1 else (
        f"accelerated {found['accelerated']:.4f} G"
    )  # fmt: skip
    return [
        Row(
            tool,
            version(distribution),
            "multiply-adds of se_resnet50, 224 × 224",
            f"{found['plain']:.4f} G, {same}: {why}",
        )
    ]


def explain() -> list[Row]:
    """Compare captum's attributions of an accelerated network with those of the plain one."""
    attr = importlib.import_module("captum.attr")
    plain, x = prepared("se_resnet18"), images()
    fast = copy.deepcopy(plain)
    accelerate(fast, x)

    def saliency(model: Any) -> Tensor:
        return attr.Saliency(model).attribute(x.clone().requires_grad_(), target=3, abs=False)

    def guided(model: Any) -> Tensor:
        return attr.GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=3)

    def cam(model: Any) -> Tensor:
        return attr.LayerGradCam(model, model.layer4).attribute(x, target=3)

    gradient, rows = saliency(plain), []
    for name, method in (("Saliency", saliency), ("GuidedBackprop", guided), ("LayerGradCam", cam)):
        wanted, found = method(plain), method(fast)
        again = apart(fast(x), plain(x))
        outcome = f"accelerated and plain {figure(apart(found, wanted))} apart"
        if name == "GuidedBackprop":
            outcome += f", from the gradient {apart(wanted, gradient):.1f}"
        outcome += f"; afterwards the output {figure(again)}"
        rows.append(Row("captum", version("captum"), f"`{name}` of se_resnet18", outcome))
    return rows


def extract() -> list[Row]:
    """Extract feature maps in torchvision's two ways."""
    reference_libraries.load()
    extraction = importlib.import_module("torchvision.models.feature_extraction")
    backbone = importlib.import_module("torchvision.models.detection.backbone_utils")
    pyramid = importlib.import_module("torchvision.ops.feature_pyramid_network")
    plain, x = prepared("se_resnet18"), images()
    fast = copy.deepcopy(plain)
    accelerate(fast, x)
    nodes = {"layer2": "8", "layer4": "32"}

    def extractor(model: nn.Module) -> nn.Module:
        return extraction.create_feature_extractor(model, nodes)

    def with_fpn(model: nn.Module) -> nn.Module:
        torch.manual_seed(2)
        return backbone.BackboneWithFPN(
            model,
            {f"layer{i}": str(i - 1) for i in range(1, 5)},
            [64, 128, 256, 512],
            32,
            pyramid.LastLevelMaxPool(),
        )

    rows = []
    for name, make in (("create_feature_extractor", extractor), ("BackboneWithFPN", with_fpn)):
        wanted = make(plain).eval()(x)
        of_fast = make(fast).eval()
        found = of_fast(x)
        report = accelerate(later := make(plain).eval(), x)
        then = later(x)
        worst = max(apart(found[k], wanted[k]) for k in wanted)
        after = max(apart(then[k], wanted[k]) for k in wanted)
        accelerate(later, undo=True)
        rows.append(
            Row(
                "torchvision",
                version("torchvision"),
                f"`{name}` of se_resnet18",
                f"{len(wanted)} maps, from an accelerated network {figure(worst)} apart; what it "
                f"returns, accelerated: {len(report.changed)} tails on the passes, {figure(after)}",
            )
        )
    return rows


def adapt() -> list[Row]:
    """Add LoRA adapters to an accelerated network with peft."""
    peft = importlib.import_module("peft")
    x = images()

    def adapted(fast: bool) -> tuple[nn.Module, Any, Tensor]:
        model = prepared("se_resnet18")
        if fast:
            accelerate(model, x)
        before = model(x).detach()
        config = peft.LoraConfig(r=4, target_modules=["fc1", "fc2", "conv2"])
        torch.manual_seed(3)
        tuned = peft.get_peft_model(model, config)
        torch.manual_seed(4)
        with torch.no_grad():
            for key, value in tuned.named_parameters():
                if "lora_B" in key:
                    value.normal_(0, 0.05)
        return model, tuned, before

    model, tuned, before = adapted(True)
    (y, gradients), (wanted, others) = step(tuned, x), step(adapted(False)[1], x)
    adapters = sum("lora" in key for key, _ in tuned.named_parameters())
    zero = sum(not gradient.any() for gradient in gradients.values())
    merged = tuned.merge_and_unload()
    after = apart(merged(x).detach(), wanted)
    return [
        Row(
            "peft",
            version("peft"),
            "LoRA of `fc1`, `fc2` and `conv2` in an accelerated se_resnet18",
            f"output moves by {apart(y, before):.2f}; {len(gradients)} of {adapters} adapter "
            f"tensors have a gradient, {zero} of them zero; from the plain network with the same "
            f"adapters: output {figure(apart(y, wanted))}, "
            f"gradients {figure(farthest(gradients, others))}, merged {figure(after)}; "
            f"{on_the_passes(model)} tails on the passes",
        )
    ]


def counting(
    needs: str,
    imports: tuple[str, ...],
    tool: str,
    distribution: str,
    counter: Callable[..., float],
    why: str,
) -> Tool:
    return Tool(needs, imports, functools.partial(count, tool, distribution, counter, why))


# What each counts.
PAPER = "convolutions and fully connected layers"
THOP = "these, 4 for each number of a batch norm, and the last pool"
MODULES = "these, batch norm (2), ReLU and pools, these two as modules and again as functions"
PARAMETERS = "these, with biases, and the parameters of a batch norm once"
FVCORE = "these, 2 for each number of a batch norm, and the last pool"

TOOLS = (
    Tool("torch-pruning", ("torch_pruning",), prune),
    counting("", (), "`senet summary`", "senet", _count_senet, PAPER),
    counting("", (), "`FlopCounterMode` ÷ 2", "torch", _count_torch, PAPER),
    counting("thop", ("thop",), "thop", "thop", _count_thop, THOP),
    counting(
        "ptflops",
        ("ptflops",),
        "ptflops, by modules",
        "ptflops",
        functools.partial(_count_ptflops, backend="pytorch"),
        MODULES,
    ),
    counting(
        "ptflops",
        ("ptflops",),
        "ptflops, by operators",
        "ptflops",
        functools.partial(_count_ptflops, backend="aten"),
        PAPER,
    ),
    counting("torchinfo", ("torchinfo",), "torchinfo", "torchinfo", _count_torchinfo, PARAMETERS),
    counting(
        "fvcore iopath yacs portalocker termcolor tabulate",
        ("fvcore", "iopath", "yacs", "portalocker", "termcolor", "tabulate"),
        "fvcore",
        "fvcore",
        _count_fvcore,
        FVCORE,
    ),
    Tool("captum", ("captum",), explain),
    Tool("", (), extract),
    Tool(
        "peft accelerate transformers tokenizers regex psutil",
        ("peft", "accelerate", "transformers", "tokenizers", "regex", "psutil"),
        adapt,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tools", description=inspect.cleandoc(__doc__ or "")
    )
    parser.add_argument("--path", metavar="FOLDER", help="where the libraries were installed")
    options = parser.parse_args()
    if options.path:
        sys.path.append(options.path)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    backend.LEAST = backend.LEAST_WITHOUT_GATE = 0  # take the passes even for small images
    rows = []
    for tool in TOOLS:
        missing = [name for name in tool.imports if importlib.util.find_spec(name) is None]
        if missing:
            folder = options.path or "/tmp/tools"
            print(
                f"{', '.join(missing)} missing: `pip install --no-deps --target {folder} "
                f"{tool.needs}`, and then --path {folder}",
                file=sys.stderr,
            )
            continue
        rows += tool.rows()
    print(table.markdown(HEAD, rows))


if __name__ == "__main__":
    main()
