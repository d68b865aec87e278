"""The one thing that pyproject.toml cannot say: the C library of the native backend.

It is a plain shared library that ctypes loads, not a Python extension, and it is optional: where no
compiler is found the package installs without it, and ``senet doctor`` says so.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "senet.ops.native._passes",
            ["src/senet/ops/native/passes.c"],
            extra_compile_args=["-O3", "-fopenmp"],
            optional=True,
        )
    ]
)
