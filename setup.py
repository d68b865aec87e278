"""The one thing that pyproject.toml cannot say: the C library of the native backend.

It is a plain shared library that ctypes loads, not a Python extension, and it is optional: where no
compiler is found the package installs without it, and ``senet doctor`` says so. It is compiled with
OpenMP and not linked with it: it takes the runtime that PyTorch brings (see its ``library.py``).
"""

import zlib
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent
FILES = sorted(ROOT.joinpath("src/senet/ops/native").glob("*.[ch]"))
CHECKSUM = zlib.crc32(b"".join(path.read_bytes() for path in FILES))

setup(
    ext_modules=[
        Extension(
            "senet.ops.native._passes",
            [str(path.relative_to(ROOT)) for path in FILES if path.suffix == ".c"],
            depends=[str(path.relative_to(ROOT)) for path in FILES],
            define_macros=[("SENET_SOURCE", f"{CHECKSUM}u")],
            # As fast as -O3 and compiled in half the time; without promises about floating-point
            # traps, which PyTorch does not make either, every loop becomes a vector loop.
            extra_compile_args=["-O2", "-ftree-vectorize", "-fno-trapping-math", "-fopenmp", "-g0"],
            optional=True,
        )
    ]
)
