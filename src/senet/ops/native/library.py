"""The loading of the C library, with the OpenMP runtime of PyTorch.

The library is compiled for OpenMP but not linked to a runtime: a second runtime in a process has
threads of its own, which compete with those of the first. It uses the runtime of PyTorch.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from pathlib import Path

FOLDER = Path(__file__).parent
REBUILD = (
    "pip install --force-reinstall --no-deps --no-binary senet senet, or pip install -e . in a "
    "checkout"
)


def load() -> ctypes.CDLL:
    """Return the C library, with its functions declared.

    Raises:
        ImportError: if it is missing or does not load; the message says why and what to do.
    """
    path = FOLDER / "_passes.so"  # not a Python extension: ctypes loads it
    if not path.exists():
        raise ImportError(
            "its C library was not built: the package came as the wheel without it, or there was "
            "no C compiler with OpenMP when it was installed. Install one (on Debian: apt install "
            f"gcc), then: {REBUILD}"
        )
    _share_openmp()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(
            f"its C library does not load here ({error}). Build it on this machine, with GCC: "
            f"{REBUILD}"
        ) from error
    library.senet_source.restype = ctypes.c_uint
    if library.senet_source() != source():
        raise ImportError(f"its C library was built from other sources. Build it: {REBUILD}")
    declare(library)
    return library


def source() -> int:
    """Return a checksum of the C sources, which the library contains from its build."""
    files = sorted(FOLDER.glob("*.[ch]"))
    return zlib.crc32(b"".join(path.read_bytes() for path in files))


def openmp_runtimes() -> list[str]:
    """Return the OpenMP runtimes in this process, PyTorch's own first."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    paths = dict.fromkeys(line.split(maxsplit=5)[-1] for line in lines if "omp" in line)
    names = ("libgomp", "libiomp", "libomp")
    found = [path for path in paths if os.path.basename(path).startswith(names)]
    return sorted(found, key=lambda path: not {"torch", "torch.libs"} & set(Path(path).parts))


def _share_openmp() -> None:
    """Make PyTorch's OpenMP, or else the system's, visible to libraries that are loaded later."""
    path = next(iter(openmp_runtimes()), "libgomp.so.1")
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise ImportError(f"there is no OpenMP runtime ({error}). Install libgomp") from error


def declare(library: ctypes.CDLL) -> None:
    """Declare the argument types of the library's functions."""
    pointer, number, flag, real = ctypes.c_void_p, ctypes.c_long, ctypes.c_int, ctypes.c_double
    layout = [number] * 4 + [flag, flag]  # images, rows, columns, channels; type, threads
    library.senet_moments.argtypes = [pointer] * 4 + layout
    library.senet_affine.argtypes = [pointer] * 5 + [flag, pointer, pointer, *layout]
    library.senet_grad_scale.argtypes = [pointer] * 8 + layout
    library.senet_grad_affine.argtypes = [pointer] * 7 + layout
    library.senet_pooled.argtypes = [pointer] * 4 + [flag, pointer, *layout]
    library.senet_activate.argtypes = [pointer] * 5 + [flag, pointer, *layout]
    library.senet_grad_pooled.argtypes = [pointer] * 5 + [flag, pointer, flag, *layout]
    library.senet_grad_activate.argtypes = [pointer] * 5 + [flag] + [pointer] * 5 + layout
    library.senet_norm.argtypes = [pointer] * 5 + [real, real, flag] + [pointer] * 3 + layout
    library.senet_norm_scale.argtypes = [pointer] * 6 + [flag, pointer, pointer, *layout]
    library.senet_grad_norm_scale.argtypes = [pointer] * 11 + layout
    library.senet_grad_norm_squeeze.argtypes = [pointer] * 8 + [flag] + [pointer] * 3 + layout
    library.senet_grad_act_scale.argtypes = [pointer] * 6 + [flag, pointer, pointer, *layout]
    library.senet_grad_act_squeeze.argtypes = [pointer] * 8 + [flag, flag] + [pointer] * 3 + layout
    library.senet_gated_tail.argtypes = (
        [pointer] * 6 + [real, flag] + [pointer] * 4 + [number, flag, flag, pointer, flag, pointer]
    ) + layout
    library.senet_excite.argtypes = [pointer] * 5 + [number, flag, flag, number, pointer, *layout]
    library.senet_mean_after.argtypes = [pointer] * 3 + [number, pointer, *layout]
    library.senet_pointwise.argtypes = [pointer, flag, flag, *[pointer] * 3, number, number, flag]
    library.senet_has_pointwise.argtypes = [flag]
    for name in ("affine", "grad_affine", "activate", "grad_activate"):  # these return nothing
        getattr(library, f"senet_{name}").restype = None
    library.senet_instruction_set.argtypes = [ctypes.c_char_p]
    library.senet_instruction_set.restype = ctypes.c_char_p
    library.senet_instruction_set(None)
