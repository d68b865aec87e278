"""What pip installs: in an empty environment, without a compiler, used from another folder.

`make dist` runs this on the files that it made (``SENET_DIST``); otherwise the wheels are built
here. What senet depends on comes from the environment that runs the tests.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import senet

ROOT = Path(__file__).parent.parent
LEFT_OUT = (".git", ".venv*", "runs", "build", "dist", "*.so", "*.egg-info", "__pycache__")

USE = """
import torch, senet
from senet.ops import backend
print(senet.__file__)
print(backend.missing("native") or "native is ready")
model = senet.create_model("se_resnet20_cifar", num_classes=3)
print(senet.accelerate(model, torch.randn(8, 3, 64, 64)))
model(torch.randn(2, 3, 32, 32)).sum().backward()
"""


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=500, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout in which something was built before."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("needs a checkout")
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("checkout") / "senet"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    platform = f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    for built in ("lib", platform):
        stale = folder / "build" / built / "senet" / "ops" / "native"
        stale.mkdir(parents=True)
        (stale / "_passes.so").write_bytes(b"stale")
        (stale / "_passes.cpython-311-x86_64-linux-gnu.so").write_bytes(b"stale")
    return folder


def built(checkout, pure):
    """Return the wheel of this kind, that of ``make dist`` if it is running."""
    if folder := os.environ.get("SENET_DIST"):
        (wheel,) = (w for w in Path(folder).glob("*.whl") if w.stem.endswith("-any") == pure)
        return wheel
    folder = checkout.parent / ("pure" if pure else "platform")
    words = "-m pip wheel --quiet --no-deps --no-build-isolation --disable-pip-version-check"
    environment = {**os.environ, "SENET_PURE": "1" if pure else ""}
    run(sys.executable, *words.split(), "-w", folder, ".", cwd=checkout, env=environment)
    (wheel,) = folder.iterdir()
    return wheel


@pytest.fixture(scope="module", params=[False, True], ids=["platform", "pure"])
def wheel(request, checkout):
    if not request.param and not (sys.platform == "linux" and shutil.which("gcc")):
        pytest.skip("needs gcc, on Linux")
    return built(checkout, request.param)


@pytest.fixture
def environment(tmp_path):
    """An empty environment."""
    folder = tmp_path / "env"
    venv.create(folder)
    return folder


def pip(environment, *words):
    python = environment / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = ("--python", python, "--disable-pip-version-check", *words)
    run(sys.executable, "-m", "pip", *words, env=clean)


@contextmanager
def dependencies(environment):
    """Let what is installed where the tests run be found in the environment, after its own."""
    (site,) = environment.glob("lib/python*/site-packages")
    path = site / "dependencies.pth"
    path.write_text(sysconfig.get_path("purelib"))
    yield
    path.unlink()


pytestmark = pytest.mark.slow


def test_a_wheel_is_used_from_another_folder(wheel, environment, tmp_path):
    pip(environment, "install", "--quiet", "--no-index", "--no-deps", wheel)
    alone = {"PATH": str(environment / "bin"), "HOME": str(tmp_path), "COLUMNS": "200"}
    assert shutil.which("gcc", path=alone["PATH"]) is None
    pure = wheel.stem.endswith("-any")

    with dependencies(environment):
        said = run(environment / "bin" / "python", "-c", USE, cwd=tmp_path, env=alone)
        doctor = run(environment / "bin" / "senet", "doctor", cwd=tmp_path, env=alone)
        run(environment / "bin" / "senet", "summary", "se_resnet8_cifar", cwd=tmp_path, env=alone)
    assert said.startswith(str(environment))
    assert ("native is ready" in said) != pure
    assert ("was not built: the package came as the wheel without it" in said) == pure
    assert pure or "norm + SE + shortcut + ReLU: on the passes" in said
    assert "missing" not in re.sub(r"extras.*", "", doctor, flags=re.S)

    pip(environment, "uninstall", "--quiet", "--yes", "senet")
    left = [p for p in environment.rglob("*") if "senet" in p.name.lower()]
    assert left == []


def test_a_wheel_holds_what_it_says_and_nothing_old(wheel):
    pure = wheel.stem.endswith("-any")
    tags = r"py3-none-any" if pure else r"py3-none-(linux|manylinux[\d_]+).*_x86_64"
    if pure or sysconfig.get_platform() == "linux-x86_64":
        assert re.fullmatch(rf"senet-{re.escape(senet.__version__)}-{tags}\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        libraries = [name for name in names if name.endswith(".so")]
        assert libraries == ([] if pure else ["senet/ops/native/_passes.so"])
        assert all(file.read(name) != b"stale" for name in libraries)
    assert {name.split("/")[0] for name in names} == {
        "senet",
        f"senet-{senet.__version__}.dist-info",
    }
    assert "senet/py.typed" in names


RELATIVE = r"\[[^\]]+\]\((?!https?:|#)[^)]+\)"


def test_its_page_links_to_no_file_beside_it(wheel):
    with zipfile.ZipFile(wheel) as file:
        page = file.read(f"senet-{senet.__version__}.dist-info/METADATA").decode()
    assert "# senet" in page
    assert re.findall(RELATIVE, (ROOT / "README.md").read_text())
    assert re.findall(RELATIVE, page) == []


def test_links_lead_to_the_tag_where_the_source_has_an_address(checkout, tmp_path):
    folder = shutil.copytree(checkout, tmp_path / "senet")
    project = folder / "pyproject.toml"
    urls = '[project.urls]\nSource = "https://example.org/senet"\n\n[project.scripts]'
    project.write_text(project.read_text().replace("[project.scripts]", urls))
    code = "from setuptools import build_meta as b; b.prepare_metadata_for_build_wheel('.')"
    run(sys.executable, "-c", code, cwd=folder)
    (page,) = folder.glob("*.dist-info/METADATA")
    file = f"https://example.org/senet/blob/v{senet.__version__}/docs/surgery.md"
    assert f"[docs/surgery.md]({file})" in page.read_text()
    assert re.findall(RELATIVE, page.read_text()) == []
