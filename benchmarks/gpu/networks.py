"""SE-ResNet-50 and ResNet-50: training steps and inference in bfloat16, ours beside real timm.

A row is one network in one form, measured alone on the device. The forms of one comparison follow
one another. In every form a training step is forward under autocast, backward, and PyTorch's fused
SGD; a batch has 128 images.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu.budget import Budget
from benchmarks.gpu.clock import in_turn, wait
from benchmarks.gpu.graph import WARM_UP, captured
from benchmarks.ledger import Ledger, Row
from benchmarks.reference_libraries import load
from senet import accelerate, create_model

NETWORKS = {
    "ours": "se_resnet50", "plain": "resnet50",
    "timm eager": "seresnet50", "timm compiled": "seresnet50",
}  # fmt: skip
"""The network of each form; the first two are ours."""
SMALL = {"ours": "se_resnet8_cifar", "plain": "resnet8_cifar", "timm eager": "seresnet18"}
MODES = ("training", "inference")
COMPILED = {False: "default", True: "reduce-overhead"}
"""The mode of torch.compile, without CUDA graphs and with them."""
BATCH, SIZE = 128, 224


@dataclass(frozen=True)
class Case:
    """A row to measure.

    Attributes:
        form: ``ours``, our ``plain`` twin, ``timm eager`` or ``timm compiled``.
        mode: ``training`` or ``inference``.
        graph: whether in CUDA graphs.
    """

    form: str
    mode: str
    graph: bool


def cases(small: bool) -> list[Case]:
    """Return all rows, the most telling first; on a processor, those that it can run."""
    graphs = (False,) if small else (False, True)
    forms = SMALL if small else NETWORKS
    return [Case(form, mode, graph) for mode in MODES for graph in graphs for form in forms]


def run(ledger: Ledger, budget: Budget, device: torch.device, small: bool) -> None:
    """Measure what is missing from the record, while there is time.

    A row takes seconds, or a minute if it has to be compiled: one that does not fit the time left
    is skipped for those that do.
    """
    for case in cases(small):
        guess = 60 if case.form == "timm compiled" else 10
        if asdict(case) in ledger or not budget.allows(guess):
            continue
        row = ledger.measure(asdict(case), lambda: _row(case, device, small))  # noqa: B023
        print(line(row), flush=True)


def _row(case: Case, device: torch.device, small: bool) -> Row:
    gc.collect()  # nothing of the row before takes part
    if device.type == "cuda":
        torch.cuda.empty_cache()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # sizes never change
    torch.compiler.reset()
    model = _model(case, device, small)
    batch, side = (2, 32) if small else (BATCH, SIZE)
    images = torch.randn(batch, 3, side, side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    step = (Training if case.mode == "training" else Inference)(model, images)
    call: Callable[[], object] = step
    if case.form == "timm compiled":
        call = _new_step_each_time(step)
    elif case.graph:
        call = captured(step, device)
    found = _measure(call, device, small) | {"batch": batch}
    if device.type == "cuda":
        found["peak_mib"] = _held(device) if case.graph else _peak(call, device)
    if isinstance(step, Training):
        found["loss"] = float(step.loss)
    if not all(torch.isfinite(p).all() for p in model.parameters()):
        raise RuntimeError("weights that are not finite")
    return found


def _model(case: Case, device: torch.device, small: bool) -> nn.Module:
    name = (SMALL if small else NETWORKS)[case.form]
    if case.form.startswith("timm"):
        model: nn.Module = load().timm.create_model(name)
    else:
        model = create_model(name)
        accelerate(model)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    compiled = case.form == "timm compiled"
    return torch.compile(model, mode=COMPILED[case.graph]) if compiled else model  # type: ignore[return-value]


def _measure(call: Callable[[], object], device: torch.device, small: bool) -> Row:
    for _ in range(WARM_UP):
        call()
    wait(device)
    rounds, many = (2, 1) if small else (7, 5)
    return {"ms": in_turn({"": call}, device, rounds, many)[""]}


def _peak(call: Callable[[], object], device: torch.device) -> float:
    """Return the peak MiB of the network and a call, once convolutions have been chosen."""
    torch.cuda.reset_peak_memory_stats(device)
    call()
    wait(device)
    return torch.cuda.max_memory_allocated(device) / 2**20


def _held(device: torch.device) -> float:
    """Return the MiB still reserved after free memory was returned: a graph keeps its memory."""
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(device) / 2**20


class Training:
    """A training step; ``loss`` is the loss of the last one, on the device."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model.train(), images
        self.labels = torch.arange(len(images), device=images.device) % 10
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.loss = torch.zeros((), device=images.device)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.images.device.type, torch.bfloat16):
            loss = F.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self.loss.copy_(loss.detach())


class Inference:
    """A forward pass in evaluation."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model, self.images = model.eval(), images

    def __call__(self) -> None:
        with torch.inference_mode(), torch.autocast(self.images.device.type, torch.bfloat16):
            self.model(self.images)


def _new_step_each_time(step: Callable[[], object]) -> Callable[[], None]:
    """Return a compiled step that tells its graphs that their last results may be overwritten."""

    def call() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        step()

    return call


def line(row: Row) -> str:
    what = f"{row['form']}{', graph' if row['graph'] else ''}, {row['mode']}"
    if "ms" not in row:
        return f"{what}: {row.get('failed', 'out of memory')}"
    return f"{what}: {row['ms']:.2f} ms, {1000 * row['batch'] / row['ms']:.0f} images/s"
