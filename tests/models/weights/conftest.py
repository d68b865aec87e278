"""A web server on this machine, with the whims of the real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Web:
    """A web of files.

    Attributes:
        files: the content at each path, such as ``{"/a.pth": b"..."}``.
        asked: method, path and range of all requests.
        loses: number of bytes of an answer after which the connection is cut.
        ranges: whether a part of a file can be asked for.
        headers: headers of answers, by their path.
        headers_of_404: headers of the answer about a missing file.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.loses: int | None = None
        self.ranges = True
        self.headers: dict[str, dict[str, str]] = {}
        self.headers_of_404: dict[str, str] = {}
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def do_POST(self) -> None:
                self.send_error(401)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append((request.command, request.path, wanted))
        data = self.files.get(request.path)
        if data is None:
            request.send_response(404)
            self._end(request, {"Content-Length": "0", **self.headers_of_404})
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        start = start if self.ranges else 0
        if start >= len(data) > 0:
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        own = self.headers.get(request.path, {})
        self._end(request, {"Content-Length": str(len(data) - start), **own})
        if request.command == "GET":
            end = len(data) if self.loses is None else start + self.loses
            request.wfile.write(data[start:end])

    def _end(self, request: BaseHTTPRequestHandler, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.close()
