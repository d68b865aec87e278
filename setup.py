"""What pyproject.toml cannot say: the C library, how wheels are named, the links of the README.

The C library of the native backend is a plain shared library that ctypes loads, not a Python
extension: one wheel serves every Python. It is optional: where no compiler is found the package
installs without it, and ``senet doctor`` says so; with ``SENET_PURE=1`` it is left out, for a wheel
that installs everywhere. It is compiled with OpenMP and not linked with it: it takes the runtime
that PyTorch brings (see its ``library.py``).
"""

import os
import re
import shutil
import tomllib
import zlib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
FILES = sorted(ROOT.joinpath("src/senet/ops/native").glob("*.[ch]"))
CHECKSUM = zlib.crc32(b"".join(path.read_bytes() for path in FILES))


class FreshBuild(build):
    """A build in an empty folder: what an earlier one left there would be packed too."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildLibrary(build_ext):
    """A build of a library whose name does not depend on the Python, made anew each time."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.force = True

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".so"


class PythonlessWheel(bdist_wheel):
    """A wheel for a platform, and for every Python on it."""

    def get_tag(self) -> tuple[str, str, str]:
        platform = super().get_tag()[2]
        return "py3", "none", platform


def description() -> str:
    """Return the README for a page that has no files of the checkout beside it.

    Its links lead to the files at the tag of this version if ``project.urls`` names the ``Source``;
    otherwise their text alone is left.
    """
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project.get("urls", {}).get("Source")
    link = rf"[\1]({source}/blob/v{project['version']}/\2)" if source else r"\1"
    text = ROOT.joinpath("README.md").read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)", link, text)


library = Extension(
    "senet.ops.native._passes",
    [str(path.relative_to(ROOT)) for path in FILES if path.suffix == ".c"],
    depends=[str(path.relative_to(ROOT)) for path in FILES],
    define_macros=[("SENET_SOURCE", f"{CHECKSUM}u")],
    # As fast as -O3 and compiled in half the time; without promises about floating-point
    # traps, which PyTorch does not make either, every loop becomes a vector loop.
    extra_compile_args=["-O2", "-ftree-vectorize", "-fno-trapping-math", "-fopenmp", "-g0"],
    optional=True,
)

setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    ext_modules=[] if os.environ.get("SENET_PURE") else [library],
    cmdclass={"build": FreshBuild, "build_ext": BuildLibrary, "bdist_wheel": PythonlessWheel},
)
