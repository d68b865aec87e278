"""Whole networks: training steps and inference in bfloat16, ours beside real timm.

A row is one network in one form at one batch size, measured alone on the device: the larger ones
would not fit side by side. The forms of one comparison follow one another. In every form a training
step is forward under autocast, backward, and PyTorch's fused SGD.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
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
from senet.models import entry

# Our networks, by the name of the same network in timm.
OURS = {
    "seresnet50": "se_resnet50",
    "seresnext101_32x4d": "se_resnext101_32x4d",
    "senet154": "senet154",
}
# Networks of timm to pass to `accelerate`; seresnet50 is in both lists.
ACCELERATED = ("seresnet50", "regnety_016", "efficientnet_b0")
# In the order of importance.
NETWORKS = ("seresnet50", "seresnext101_32x4d", "regnety_016", "efficientnet_b0", "senet154")
BATCHES = (128, 32, 256)
MODES = ("training", "inference")
COMPILED = {  # form and graph: the mode of torch.compile
    ("timm compiled", False): "default",
    ("timm compiled", True): "reduce-overhead",
    ("timm max-autotune", True): "max-autotune",
    ("ours compiled", False): "default",
}
SIZE = 224


@dataclass(frozen=True)
class Case:
    """A row to measure.

    Attributes:
        network: its name in timm.
        form: ``ours`` and our ``plain`` twin, timm's ``accelerated``, ``timm eager``, ``timm
            compiled``, ``timm max-autotune``, ``ours compiled``.
        mode: ``training`` or ``inference``.
        batch: images per batch.
        graph: whether in CUDA graphs.
    """

    network: str
    form: str
    mode: str
    batch: int
    graph: bool

    @property
    def worth(self) -> tuple[int, ...]:
        """Sort key, less first. max-autotune takes minutes to compile, so it is mostly last."""
        first = self.network == NETWORKS[0] and self.batch == BATCHES[0] and self.mode == MODES[0]
        slow = self.form == "timm max-autotune" and not first
        return (
            slow,
            BATCHES.index(self.batch) > 0,
            NETWORKS.index(self.network),
            MODES.index(self.mode),
            BATCHES.index(self.batch),
        )


def cases() -> list[Case]:
    """Return all rows by importance: a training step of SE-ResNet-50, batch 128, comes first."""
    found = [
        Case(network, form, mode, batch, graph)
        for network, mode, batch in itertools.product(NETWORKS, MODES, BATCHES)
        for form, graph in _forms(network)
    ]
    return sorted(found, key=lambda case: case.worth)


def small_cases() -> list[Case]:
    """Return the rows of two small networks, to show that all of it runs."""
    return [
        Case(network, form, mode, 2, False)
        for network, forms in {
            "se_resnet8_cifar": ("ours", "plain"),
            "seresnet18": ("accelerated", "timm eager"),
        }.items()
        for form in forms
        for mode in MODES
    ]


def _forms(network: str) -> Iterator[tuple[str, bool]]:
    plain = [form for form in ("ours", "plain") if network in OURS]
    plain += ["accelerated"] if network in ACCELERATED else []
    yield from itertools.product([*plain, "timm eager"], (False, True))
    yield from (key for key in COMPILED if network in OURS or not key[0].startswith("ours"))


def run(ledger: Ledger, budget: Budget, device: torch.device, small: bool) -> None:
    """Measure what is missing from the record, while there is time.

    A row takes seconds, or minutes if it has to be compiled: one that does not fit the time left is
    skipped for those that do. A row that is cut off stays in the record as begun.
    """
    for case in small_cases() if small else cases():
        if asdict(case) in ledger or not budget.allows(_guess(case)):
            continue
        row = ledger.measure(asdict(case), lambda: _row(case, device, small))  # noqa: B023
        print(line(row), flush=True)


def _guess(case: Case) -> float:
    """Return the seconds that a row may take."""
    return {"timm compiled": 90, "ours compiled": 90, "timm max-autotune": 420}.get(case.form, 20)


def _row(case: Case, device: torch.device, small: bool) -> Row:
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # sizes never change
    torch.compiler.reset()
    model = _model(case, device)
    side = 32 if small else SIZE
    images = torch.randn(case.batch, 3, side, side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    step = (Training if case.mode == "training" else Inference)(model, images)
    call: Callable[[], object] = step
    if (case.form, case.graph) in COMPILED:
        call = _new_step_each_time(step)
    elif case.graph:
        call = captured(step, device)
    found = _measure(call, device, small)
    if device.type == "cuda":
        found["peak_mib"] = _held(device) if case.graph else _peak(call, device)
    if isinstance(step, Training):
        found["loss"] = float(step.loss)
    if not all(torch.isfinite(p).all() for p in model.parameters()):
        raise RuntimeError("weights that are not finite")
    del model, images, step, call
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found


def _model(case: Case, device: torch.device) -> nn.Module:
    if case.form in ("ours", "ours compiled", "plain"):
        name = OURS.get(case.network, case.network)
        model: nn.Module = create_model(entry(name).twin if case.form == "plain" else name)
    else:
        model = load().timm.create_model(case.network)
    if case.form in ("ours", "plain", "accelerated"):
        accelerate(model)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mode = COMPILED.get((case.form, case.graph))
    return torch.compile(model, mode=mode) if mode else model  # type: ignore[return-value]


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
    graph = ", graph" if row["graph"] else ""
    what = f"{row['network']}, {row['form']}{graph}, {row['mode']}, batch {row['batch']}"
    if "ms" not in row:
        return f"{what}: {row.get('failed', 'out of memory')}"
    rate = 1000 * row["batch"] / row["ms"]
    return f"{what}: {row['ms']:.2f} ms, {rate:.0f} images/s"
