"""Images from the web: fetched whole within limits, and kept in memory only."""

from __future__ import annotations

import ssl
import time
from http.client import HTTPException
from urllib import request
from urllib.error import HTTPError, URLError

from senet.data import ImageError

MOST = 64_000_000
"""Bytes of the largest image that is fetched."""
PATIENCE = 10.0
"""Seconds to wait for a connection, and for the next bytes."""
ALTOGETHER = 60.0
"""Seconds for a whole image."""


def fetch(url: str) -> bytes:
    """Return the bytes at an http or https address.

    Redirections to any other kind of address are refused.

    Raises:
        ImageError: if it cannot be reached, answers with an error, takes too long, or is too large.
    """
    begun, parts, length = time.monotonic(), [], 0
    try:
        asked = request.Request(url, headers={"User-Agent": "senet"})
        with _opener().open(asked, timeout=PATIENCE) as answer:
            while part := answer.read1(1 << 16):
                parts.append(part)
                length += len(part)
                if length > MOST:
                    raise _refused(url, f"larger than {MOST // 1_000_000} MB")
                if time.monotonic() - begun > ALTOGETHER:
                    raise _refused(url, f"not there after {ALTOGETHER:.0f} s")
            missing = int(answer.headers.get("Content-Length") or length) - length
    except HTTPError as error:
        raise _refused(url, f"its server says {error.code} {error.reason}") from error
    except (URLError, HTTPException, OSError, ssl.SSLError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        reason = getattr(error, "reason", error)
        raise _refused(url, f"it cannot be reached ({reason or type(error).__name__})") from error
    if missing > 0:
        raise _refused(url, f"the connection was lost with {missing:,} bytes to come")
    return b"".join(parts)


def _opener() -> request.OpenerDirector:
    """Return an opener for http and https alone: the usual one also reads files and FTP."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _refused(url: str, reason: str) -> ImageError:
    return ImageError(f"{url}: {reason}", reason)
