"""Each streaming pass alone: bytes a second, beside a plain copy of memory in the same run.

``python -m benchmarks.ops.passes``. A pass reads and writes every byte once, so a copy in the same
layout and type is what it can reach. The copy has its destination ready; the passes that write maps
allocate theirs, as they do in a network, and pay for fresh pages where the system gives them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from benchmarks import record
from senet.models.cost import in_turn
from senet.ops import backend, eager

SHAPES = (
    (16, 256, 56, 56),
    (16, 512, 28, 28),
    (16, 1024, 14, 14),
    (16, 2048, 7, 7),
    (128, 16, 32, 32),
    (128, 64, 8, 8),
)
LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
MAPS = {"copy": 2, "moments": 1, "affine": 3, "grad_moments": 3, "grad_affine": 5}


def calls(passes: ModuleType, x: Tensor) -> dict[str, Callable[[], object]]:
    """The passes as the tail of an SE block calls them in training, on maps like ``x``."""
    dy, shortcut = torch.randn_like(x), torch.randn_like(x)
    A, D, E = (torch.randn(x.shape[:2], device=x.device) for _ in range(3))
    K, pivot = (torch.randn(x.shape[1], device=x.device) for _ in range(2))
    y = eager.affine(x, pivot, A, D, shortcut, True)
    return {
        "moments": lambda: passes.moments(x, pivot),
        "affine": lambda: passes.affine(x, pivot, A, D, shortcut, True),
        "grad_moments": lambda: passes.grad_moments(dy, y, x, pivot),
        "grad_affine": lambda: passes.grad_affine(dy, y, x, pivot, A, E, K, True),
    }


def measure(shape: tuple[int, ...], type_: torch.dtype, layout: str, repeats: int) -> dict:
    """Milliseconds of each pass, fused and eager, and the fused one's gigabytes a second."""
    x = torch.randn(shape).to(type_).contiguous(memory_format=LAYOUTS[layout])
    ready = torch.empty_like(x)
    forms: dict[str, Callable[[], object]] = {"copy": lambda: ready.copy_(x)}
    forms |= calls(backend.of(x), x)
    forms |= {f"{name} eager": call for name, call in calls(eager, x).items()}
    with torch.no_grad():
        ms = in_turn(forms, repeats)
    gigabytes = x.numel() * x.element_size() / 1e9
    return {
        "ms": ms,
        "GB/s": {name: gigabytes * maps / (ms[name] / 1000) for name, maps in MAPS.items()},
    }


def table(repeats: int) -> list[dict[str, object]]:
    """One row a type, layout and shape."""
    rows = []
    for type_ in (torch.float32, torch.bfloat16, torch.float16):
        for layout in LAYOUTS:
            for shape in SHAPES:
                found = measure(shape, type_, layout, repeats)
                name = "×".join(map(str, shape))
                rows.append({"shape": name, "type": str(type_)[6:], "layout": layout, **found})
                print(_line(rows[-1]), flush=True)
    return rows


def _line(row: dict) -> str:
    figures = "  ".join(
        f"{name} {row['ms'][name]:.2f} ms {rate:.0f} GB/s"
        + (
            f" ({row['ms'][f'{name} eager'] / row['ms'][name]:.1f}× eager)"
            if name != "copy"
            else ""
        )
        for name, rate in row["GB/s"].items()
    )
    return f"{row['type']:9}{row['layout']:14}{row['shape']:15}{figures}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops.passes", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (2)")
    parser.add_argument("--repeats", type=int, default=15, help="rounds; the median is kept (15)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    environment = record.environment()
    print(environment)
    print(record.write("cpu-passes", {"passes": table(options.repeats)}, environment))


if __name__ == "__main__":
    main()
