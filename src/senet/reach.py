"""Whether the Hugging Face hub can be reached, found out at once."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

PATIENCE = 2.0  # seconds, for a connection


def is_reachable(address: str) -> bool:
    """Return whether a server takes connections, within two seconds.

    They are counted here, since looking up the name of a server has no limit of its own, and takes
    half a minute where a name server does not answer.

    Through a proxy that cannot be told in advance, so the answer is yes.

    Example:
        >>> is_reachable("http://localhost:9")  # nothing listens there
        False
    """
    parts = urlsplit(address)
    if parts.scheme in getproxies() or "all" in getproxies():
        return True
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = Event()

    def connect() -> None:
        with suppress(OSError):
            socket.create_connection((parts.hostname or "", port), PATIENCE).close()
            found.set()

    asking = Thread(target=connect, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return found.is_set()


@contextmanager
def offline_if_unreachable() -> Iterator[None]:
    """Have the hub's libraries look into their caches alone while the hub is out of reach.

    They would try again for half a minute, and print each try.
    """
    from huggingface_hub import constants

    datasets = sys.modules.get("datasets.config")  # it has a copy, if somebody has imported it
    switches: list[Any] = [constants, datasets] if datasets else [constants]
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    if not any(before) and not is_reachable(endpoint):
        for switch in switches:
            switch.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for switch, was in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = was
