"""Fixtures that all tests share."""

import pytest
import torch

from benchmarks import DEVELOPMENT_DATA
from benchmarks.reference_libraries import load
from senet.ops import backend


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _small_maps_are_fused():
    """Run the passes on small feature maps too: those of tests are small.

    The fixture ``monkeypatch`` belongs to the test, which may undo it midway, so it is not used
    here. This fixture comes before it (see ``_cache``), so that a test that sets the same names is
    undone first.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "LEAST", 0)
        patch.setattr(backend, "LEAST_WITHOUT_GATE", 0)
        yield


@pytest.fixture(autouse=True)
def _cache(_small_maps_are_fused, tmp_path_factory, monkeypatch):
    """Send downloads and the verdicts on checked images to a folder of the tests."""
    monkeypatch.delenv("SENET_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def world():
    """Real timm and torchvision, to compare with: ``world.timm``, ``world.torchvision``."""
    try:
        return load()
    except ImportError as error:
        pytest.skip(f"needs timm and torchvision, which `make test` installs: {error}")


@pytest.fixture(scope="session")
def development_data():
    """The folder of CIFAR-10/100 and real weights that developers have and users do not."""
    if not DEVELOPMENT_DATA.is_dir():
        pytest.skip("needs the development data (CIFAR and weights), which users do not have")
    return DEVELOPMENT_DATA
