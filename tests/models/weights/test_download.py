"""Downloads from a server on this machine."""

import hashlib
import socket
import threading

import pytest

from senet.models.weights import download as module
from senet.models.weights.download import cached, download, hash_in_name

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = f"/weights/net-{SHA256[:8]}.pth"


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("SENET_HOME", str(tmp_path / "home"))


@pytest.fixture
def url(web):
    web.files[NAME] = DATA
    return web.url + NAME


def kept(url):
    """Return the files in the cache for ``url``, except locks."""
    folder = cached(url).parent
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_a_file_is_downloaded_once(web, url):
    file = download(url)
    assert file.read_bytes() == DATA
    assert kept(url) == [file.name] == [f"net-{SHA256[:8]}.pth"]
    web.close()  # offline from here on
    assert download(url) == file
    assert len(web.asked) == 1


def test_an_interrupted_download_goes_on_where_it_stopped(web, url):
    web.loses = 5_000
    with pytest.raises(ValueError, match=r"connection was lost .* The 5,000 bytes that came are"):
        download(url)
    assert kept(url) == [f"net-{SHA256[:8]}.pth.part"]
    web.loses = None
    assert download(url).read_bytes() == DATA
    assert web.asked[-1] == ("GET", NAME, "bytes=5000-")
    assert kept(url) == [f"net-{SHA256[:8]}.pth"]


def test_a_server_without_ranges_begins_again(web, url):
    web.loses, web.ranges = 5_000, False
    with pytest.raises(ValueError, match="connection was lost"):
        download(url)
    web.loses = None
    assert download(url).read_bytes() == DATA


def test_what_cannot_be_checked_is_not_gone_on_with(web):
    web.files["/model.pth"] = DATA
    web.loses = 5_000
    with pytest.raises(ValueError, match="cannot be reached"):
        download(f"{web.url}/model.pth")
    web.loses, web.files["/model.pth"] = None, DATA[::-1]
    assert download(f"{web.url}/model.pth").read_bytes() == DATA[::-1]
    assert web.asked[-1] == ("GET", "/model.pth", None)


def test_a_part_of_another_file_is_left_behind(web, url):
    """The server has nothing after it, so it cannot be the beginning of the wanted file."""
    part = cached(url).with_name(f"{cached(url).name}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(DATA) + 1))
    assert download(url).read_bytes() == DATA


@pytest.mark.parametrize("where", ["name", "argument"])
def test_a_wrong_hash_is_refused_and_nothing_is_kept(web, url, where):
    web.files[NAME] = web.files["/model.pth"] = DATA[:-1] + b"?"
    target = url if where == "name" else f"{web.url}/model.pth"
    with pytest.raises(ValueError, match=rf"not kept: .* not with {SHA256[:8]}"):
        download(target, None if where == "name" else SHA256)
    assert kept(target) == []
    web.files[NAME] = web.files["/model.pth"] = DATA
    assert download(target).read_bytes() == DATA


def test_offline_without_a_cache():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/net-{SHA256[:8]}.pth"
    with pytest.raises(ValueError, match=r"cannot be reached .*Get online, or bring the file"):
        download(url)
    assert kept(url) == []


def test_a_file_that_is_not_there(web):
    with pytest.raises(ValueError, match=r"/gone\.pth cannot be downloaded: 404"):
        download(f"{web.url}/gone.pth")


def test_a_server_that_says_nothing(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ValueError, match=r"cannot be reached .*timed out"),
    ):
        download(f"http://127.0.0.1:{silent.getsockname()[1]}/model.pth")


def test_two_that_want_the_same_file_get_it_once(web, url):
    found = []
    both = [threading.Thread(target=lambda: found.append(download(url))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [file.read_bytes() for file in found] == [DATA, DATA]
    assert len(web.asked) == 1


def test_files_of_one_name_are_kept_apart(web):
    for place in ("a", "b"):
        web.files[f"/{place}/model.pth"] = place.encode()
    assert [download(f"{web.url}/{p}/model.pth").read_bytes() for p in "ab"] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seresnet50_a1_0-ffa00869.pth", "ffa00869"),
        ("seresnet50-60a8950a85b2b.pkl", "60a8950a85b2b"),
        ("net-ABCDEF01.pth", None),
        ("net-abc.pth", None),
        ("resnet50-decades.pth", None),
        ("model.safetensors", None),
    ],
)
def test_the_hash_in_a_name(name, expected):
    assert hash_in_name(name) == expected
