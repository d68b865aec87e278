"""What tests of commands share: a terminal of 100 columns, an empty folder, one thread."""

import warnings

import pytest
import torch

from tests.cli.command import senet


@pytest.fixture(autouse=True)
def _terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SENET_DEBUG", raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back what main sets
    monkeypatch.chdir(tmp_path)
    # Threads cost such small tensors more than they give, most of all on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def configured(monkeypatch):
    """``configured(*words)``: the configuration that `senet train` would start, and where."""
    calls = []

    def fit(config, folder, resume, changed_data):
        calls.append((config, folder, resume))
        raise KeyboardInterrupt

    monkeypatch.setattr("senet.training.fit.fit", fit)

    def run(*words):
        senet("train", *words, code=130)
        return calls[-1]

    return run
