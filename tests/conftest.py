"""What all tests share."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
WORLD = ROOT / ".venv" / "world"
DEVELOPMENT_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def world():
    """Real timm and torchvision, to compare with: ``world.timm``, ``world.torchvision``.

    torchvision's compiled operators are missing beside a CPU build of torch, and importing it then
    fails on the schemas of two of them; with the schemas declared, all that is plain PyTorch works.
    Both are kept out of the environment itself: other libraries would find torchvision and break.
    """
    if WORLD.is_dir() and str(WORLD) not in sys.path:
        sys.path.append(str(WORLD))
    try:
        torch.ops.torchvision.nms  # noqa: B018
    except (AttributeError, RuntimeError):
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        world.library = library  # schemas live as long as their library
    pytest.importorskip("torchvision", reason="needs torchvision; `make test` installs it")
    pytest.importorskip("timm", reason="needs timm; `make test` installs it")
    import timm
    import torchvision

    class World:
        pass

    World.timm, World.torchvision = timm, torchvision
    return World


@pytest.fixture(scope="session")
def development_data():
    """The folder of CIFAR-10/100 and real weights that developers have and users have not."""
    if not DEVELOPMENT_DATA.is_dir():
        pytest.skip("needs the development data (CIFAR and weights), which users do not have")
    return DEVELOPMENT_DATA
