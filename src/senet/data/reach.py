"""Whether the Hugging Face hub can be reached, found out at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 2.0  # seconds, for a connection


def is_reachable(address: str) -> bool:
    """Return whether a server takes connections, within two seconds.

    Through a proxy that cannot be told in advance, so the answer is yes.

    Example:
        >>> is_reachable("http://localhost:9")  # nothing listens there
        False
    """
    parts = urlsplit(address)
    if parts.scheme in getproxies() or "all" in getproxies():
        return True
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), PATIENCE).close()
    except OSError:
        return False
    return True


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Have the hub's libraries look into their caches alone while the hub is out of reach.

    They would try again for half a minute, and print each try.
    """
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    if not any(before) and not is_reachable(endpoint):
        config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
