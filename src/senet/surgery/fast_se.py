"""SE blocks of other projects, by themselves, on the passes."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor

from senet.nn.hooks import hooked
from senet.ops import backend, fused
from senet.surgery.recognise import Layers
from senet.surgery.swap import Swapped


class FastSE(Swapped):
    """An SE block of another project, on the passes."""

    layers: Layers
    lasting = False

    def forward(self: Any, x: Tensor) -> Tensor:
        if x.numel() and backend.fuses(x) and not hooked(self):
            return fused.squeeze_excite(x, self.excitation())
        return super().forward(x)  # type: ignore[misc]

    def excitation(self: Any) -> fused.Excitation:
        return self.layers.excitation(self)


@cache
def fast_se(layers: Layers) -> type[FastSE]:
    """The class of all SE blocks that have their layers in these places."""
    return type("FastSE", (FastSE,), {"layers": layers})
