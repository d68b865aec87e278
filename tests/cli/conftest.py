"""Fixtures for tests of commands: a terminal of 100 columns, an empty folder, one thread."""

import warnings

import pytest
import torch

from tests.cli.command import senet


@pytest.fixture(autouse=True)
def _terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SENET_DEBUG", raising=False)
    monkeypatch.setattr(
        warnings, "showwarning", warnings.showwarning
    )  # restores what main replaces
    monkeypatch.chdir(tmp_path)
    # More threads slow down such small tensors, above all on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def configured(monkeypatch):
    """``configured(*words)``: the configuration and the folder that `senet train` would start."""
    calls = []

    def fit(config, folder, resume, changed_data):
        calls.append((config, folder, resume))
        raise KeyboardInterrupt

    monkeypatch.setattr("senet.training.fit.fit", fit)

    def run(*words):
        senet("train", *words, code=130)
        return calls[-1]

    return run
