"""A call as one CUDA graph: its kernels are launched together, and no Python runs between them."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3


def captured(call: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """Return a function that replays ``call``, which must use the same memory every time.

    It runs a few times first, on its own stream, so that kernels are compiled, convolutions chosen
    and optimizer buffers made. Without a GPU, the call stays as it is.
    """
    if device.type != "cuda":

        def plainly() -> None:
            call()

        return plainly
    aside = torch.cuda.Stream(device)
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream(device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
