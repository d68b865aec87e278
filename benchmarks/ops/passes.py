"""Each streaming pass alone, in bytes per second, beside a plain copy of memory in the same run.

``python -m benchmarks.ops.passes``. A pass reads and writes every byte once, so a copy in the same
layout and type is its limit. The copy has its destination ready; the passes that write maps
allocate theirs, as they do in a network, and pay for fresh pages if the system gives them any.

``--masks`` answers another question, for :func:`senet.ops.native.keeps_bits`: whether the forward
and the backward pass of a ReLU together take less time with the mask as bits, or with the output as
the mask. Run it both with glibc's default allocator, and with MALLOC_MMAP_MAX_=0 and
MALLOC_TRIM_THRESHOLD_=1000000000, which make it return no memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from benchmarks import record
from senet.models.describe.cost import in_turn
from senet.ops import backend, eager

SHAPES = (
    (16, 256, 56, 56),
    (16, 512, 28, 28),
    (16, 1024, 14, 14),
    (16, 2048, 7, 7),
    (128, 16, 32, 32),
    (128, 64, 8, 8),
)
TYPES = (torch.float32, torch.bfloat16, torch.float16)
LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}
MAPS = {"copy": 2, "moments": 1, "affine": 3, "grad_scale": 4, "grad_affine": 3}


def calls(passes: ModuleType, x: Tensor) -> dict[str, Callable[[], object]]:
    """Return the passes as the tail of an SE block calls them in training, on maps like ``x``."""
    dy, shortcut = torch.randn_like(x), torch.randn_like(x)
    A, D, E = (torch.randn(x.shape[:2], device=x.device) for _ in range(3))
    K, pivot = (torch.randn(x.shape[1], device=x.device) for _ in range(2))
    y = passes.affine(x, pivot, A, D, shortcut, True)
    return {
        "moments": lambda: passes.moments(x, pivot),
        "affine": lambda: passes.affine(x, pivot, A, D, shortcut, True),
        "grad_scale": lambda: passes.grad_scale(dy, y, x, pivot),
        "grad_affine": lambda: passes.grad_affine(dy, x, pivot, A, E, K),
    }


def measure(shape: tuple[int, ...], type_: torch.dtype, layout: str, repeats: int) -> dict:
    """Return the milliseconds of each pass, fused and eager, and the fused gigabytes per second."""
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


def measure_masks(shape: tuple[int, ...], type_: torch.dtype, layout: str, repeats: int) -> dict:
    """Return the milliseconds with each form of mask, or nothing if bits are not possible."""
    from senet.ops import native

    x = torch.randn(shape).to(type_).contiguous(memory_format=LAYOUTS[layout])
    if not native.has_words(x):
        return {}
    dy, shortcut = torch.randn_like(x), torch.randn_like(x)
    A, D, pivot = torch.randn(shape[:2]), torch.randn(shape[:2]), torch.randn(shape[1])
    given = x, pivot, A, D, shortcut
    with_mask = torch.ops.senet_native.affine_with_mask.default
    y, bits = with_mask(*given)
    forms: dict[str, Callable[[], object]] = {
        "affine": lambda: native.affine(*given, True),
        "affine, bits": lambda: with_mask(*given),
        "grad_scale, output": lambda: native.grad_scale(dy, y, x, pivot),
        "grad_scale, bits": lambda: native.grad_scale(dy, bits, x, pivot),
    }
    with torch.no_grad():
        ms = in_turn(forms, repeats)
    output = ms["affine"] + ms["grad_scale, output"]
    gain = output / (ms["affine, bits"] + ms["grad_scale, bits"])
    return {"ms": ms, "gain": gain, "chosen": native.keeps_bits(x)}


def table(
    measured: Callable[..., dict], line: Callable[[dict], str], repeats: int
) -> list[dict[str, object]]:
    """Return a row per type, layout and shape."""
    rows = []
    for type_ in TYPES:
        for layout in LAYOUTS:
            for shape in SHAPES:
                if not (found := measured(shape, type_, layout, repeats)):
                    continue
                name = "×".join(map(str, shape))
                rows.append({"shape": name, "type": str(type_)[6:], "layout": layout, **found})
                print(_head(rows[-1]) + line(rows[-1]), flush=True)
    return rows


def _head(row: dict) -> str:
    return f"{row['type']:9}{row['layout']:14}{row['shape']:15}"


def _line(row: dict) -> str:
    return "  ".join(
        f"{name} {row['ms'][name]:.2f} ms {rate:.0f} GB/s"
        + (
            f" ({row['ms'][f'{name} eager'] / row['ms'][name]:.1f}× eager)"
            if name != "copy"
            else ""
        )
        for name, rate in row["GB/s"].items()
    )


def _line_of_masks(row: dict) -> str:
    figures = "  ".join(f"{name} {ms:.2f} ms" for name, ms in row["ms"].items())
    return f"{figures}  bits {row['gain']:.2f}×{', chosen' if row['chosen'] else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops.passes", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (2)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds; the median is kept (9)")
    parser.add_argument("--masks", action="store_true", help="compare masks; not recorded")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    environment = record.environment()
    print(environment)
    if options.masks:
        table(measure_masks, _line_of_masks, options.repeats)
    else:
        rows = table(measure, _line, options.repeats)
        print(record.write("cpu-passes", {"passes": rows}, environment))


if __name__ == "__main__":
    main()
