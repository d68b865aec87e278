"""A hub that is out of reach is found out at once."""

import socket
import threading
import time

import pytest

from senet import reach
from senet.data import open_source
from senet.reach import is_reachable, offline_if_unreachable


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_server_is_reachable_and_a_closed_port_is_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_reachable(f"http://127.0.0.1:{port}")
    assert not is_reachable(f"http://127.0.0.1:{port}")


def test_a_proxy_is_trusted(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert is_reachable("https://huggingface.co")


def test_the_libraries_are_offline_for_as_long_as_the_hub_is_out_of_reach(monkeypatch):
    from datasets import config
    from huggingface_hub import constants

    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with offline_if_unreachable():
        assert (config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE) == (True, True)
    assert (config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE) == (False, False)


def test_a_name_that_nothing_has_is_answered_at_once(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    import datasets  # noqa: F401  importing it takes seconds by itself

    begun = time.monotonic()
    with pytest.raises(ValueError, match="there is no folder 'photoz' here"):
        open_source("photoz")
    assert time.monotonic() - begun < 5
    assert "etry" not in capfd.readouterr().err


def test_a_mistyped_folder_is_not_asked_of_the_hub(monkeypatch, tmp_path):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("senet.data.registry.open_hub", None)
    with pytest.raises(ValueError, match=r"no folder 'photso'. Did you mean photos\?"):
        open_source("photso")


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(reach, "PATIENCE", 0.1)
    ended = threading.Event()

    def look_up(*_):
        ended.wait(20)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "create_connection", look_up)
    begun = time.monotonic()
    assert not reach.is_reachable("https://example.org")
    assert time.monotonic() - begun < 10
    ended.set()
