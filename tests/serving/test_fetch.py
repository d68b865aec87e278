"""Images from the web: what is fetched, and what is refused."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from senet.data import ImageError
from senet.serving import fetch as fetching
from senet.serving.fetch import fetch

CONTENT = bytes(range(256)) * 100


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved":
            self._answer(302, {"Location": "/image.jpg"})
        elif self.path == "/elsewhere":
            self._answer(302, {"Location": "ftp://127.0.0.1/image.jpg"})
        elif self.path == "/local":
            self._answer(302, {"Location": "file:///etc/hostname"})
        elif self.path == "/missing":
            self._answer(404, {})
        elif self.path == "/short":
            self._answer(200, {"Content-Length": "999999"}, CONTENT)
        elif self.path == "/slow":
            self._answer(200, {"Content-Length": "10"})
            self.server.released.wait(20)
        elif self.path == "/drip":
            self._answer(200, {})
            while not self.server.released.wait(0.05):
                self.wfile.write(b".")
                self.wfile.flush()
        else:
            self._answer(200, {}, CONTENT)

    def _answer(self, code, headers, content=b""):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.released = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.released.set()
    server.shutdown()
    server.server_close()


def test_an_image_is_fetched_whole_also_where_it_has_moved(server):
    assert fetch(f"{server}/image.jpg") == CONTENT
    assert fetch(f"{server}/moved") == CONTENT


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("missing", "its server says 404"),
        ("short", "the connection was lost with 974,399 bytes to come"),
        ("elsewhere", "unknown url type: ftp"),
        ("local", "its server says 302"),
    ],
)
def test_what_cannot_be_had_says_why(server, path, why):
    with pytest.raises(ImageError, match=why):
        fetch(f"{server}/{path}")


def test_nobody_there_says_so():
    with pytest.raises(ImageError, match="it cannot be reached"):
        fetch("http://127.0.0.1:1/image.jpg")
    with pytest.raises(ImageError, match="it cannot be reached"):
        fetch("http://")


def test_too_large_too_slow_and_too_long_are_refused(server, monkeypatch):
    monkeypatch.setattr(fetching, "MOST", 1000)
    with pytest.raises(ImageError, match="larger than 0 MB"):
        fetch(f"{server}/image.jpg")
    monkeypatch.setattr(fetching, "PATIENCE", 0.3)
    with pytest.raises(ImageError, match="timed out"):
        fetch(f"{server}/slow")
    monkeypatch.setattr(fetching, "ALTOGETHER", 0.2)
    with pytest.raises(ImageError, match="not there after 0 s"):
        fetch(f"{server}/drip")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,a"])
def test_other_kinds_of_address_are_never_opened(url):
    with pytest.raises(ImageError, match="unknown url type"):
        fetch(url)
