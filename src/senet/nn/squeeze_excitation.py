"""The squeeze-and-excitation block as a module: Figure 1 and equations 2 to 4 of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, fx, nn

from senet.nn.channel_attention import ChannelAttention
from senet.nn.sequence import Stream, causal_mean, continued_mean, window_mean
from senet.ops import reference

fx.wrap("peak")
fx.wrap("causal_mean")
fx.wrap("window_mean")


class ScaledSigmoid(nn.Module):
    """The gate 2 σ(x): 1 after a layer of zeros, so that the block changes nothing.

    Example:
        >>> import torch
        >>> ScaledSigmoid()(torch.tensor([0.0, 9.0]))
        tensor([1.0000, 1.9998])
    """

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x.sigmoid()


GATES: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "hardsigmoid": nn.Hardsigmoid,
    "scaled_sigmoid": ScaledSigmoid,
}
SQUEEZES = ("avg", "max", "none", "causal", "window")


class SqueezeExcitation(ChannelAttention):
    """Rescale every channel by a number that depends on the whole image.

    z = squeeze(u), s = gate(fc2(activation(fc1(z)))), output = s · u: section 3 of arXiv
    1709.01507v4. ``fc1`` and ``fc2`` are 1×1 convolutions, so that published two-dimensional state
    dicts load as they are; the block itself takes any number of spatial dimensions.

    Args:
        channels: C, the channels of the feature map.
        reduction: r of the paper; the bottleneck has R = C // r channels.
        squeeze_channels: R itself, where C // r is not what is wanted.
        squeeze: ``"avg"`` (the paper's choice), ``"max"``, or ``"none"``: the paper's NoSqueeze
            (Table 16), which gates every position by itself, with no view of the whole image. For
            sequences ``[B, C, T]`` also ``"causal"``, the mean of all positions up to each one,
            and ``"window"``, the mean of those around it: every position has gates of its own.
        window: number of positions of a window, with ``squeeze="window"``; see
            :func:`~senet.nn.sequence.window_mean`.
        gate: ``"sigmoid"`` (the paper's choice), ``"tanh"``, ``"relu"``, ``"hardsigmoid"`` as in
            MobileNetV3, or ``"scaled_sigmoid"``, 2σ, which opens to 1: for SE that is put into a
            trained network.
        activation: a function that makes the module between the two layers.
        bias: whether the two layers have biases. The authors' networks have them; the paper's
            ablation tables count without.
        gate_bias: initial value of ``fc2.bias``. The usual 0 opens a sigmoid gate to 0.5; 2 opens
            it to 0.88, nearer to the plain network, which helps short training.

    Shape:
        ``[B, C, *space]`` to the same, of the same memory format and type.

    Raises:
        ValueError: if R would be less than one channel, or a name is unknown.

    Example:
        >>> import torch
        >>> se = SqueezeExcitation(64, reduction=16)
        >>> se(torch.randn(2, 64, 7, 7)).shape
        torch.Size([2, 64, 7, 7])
        >>> se.gates(torch.randn(2, 64, 7, 7)).shape
        torch.Size([2, 64])

        Sequences of unequal length are padded to one, and a mask hides the padding:

        >>> lengths = torch.tensor([100, 60])
        >>> mask = torch.arange(100) < lengths[:, None]
        >>> u = torch.randn(2, 64, 100)
        >>> alone = se(u[1:, :, :60])
        >>> torch.allclose(se(u, mask)[1:, :, :60], alone, atol=1e-6)
        True
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        *,
        squeeze_channels: int | None = None,
        squeeze: str = "avg",
        window: int | None = None,
        gate: str = "sigmoid",
        activation: Callable[[], nn.Module] = nn.ReLU,
        bias: bool = True,
        gate_bias: float = 0.0,
    ) -> None:
        super().__init__()
        if squeeze not in SQUEEZES:
            raise ValueError(f"squeeze must be one of {SQUEEZES}, got {squeeze!r}")
        if (squeeze == "window") != (window is not None) or (window is not None and window < 1):
            raise ValueError(
                'window is the number of positions of squeeze="window", at least 1: '
                f"got window={window} with squeeze={squeeze!r}"
            )
        if gate not in GATES:
            raise ValueError(f"gate must be one of {tuple(GATES)}, got {gate!r}")
        if gate_bias and not bias:
            raise ValueError(f"gate_bias={gate_bias} has no place to go: bias is False")
        if squeeze_channels is None:
            squeeze_channels = bottleneck(channels, reduction)
        elif squeeze_channels < 1:
            raise ValueError(f"squeeze_channels must be at least 1, got {squeeze_channels}")
        self.squeeze = squeeze
        self.window = window or 0
        self.gate_bias = gate_bias
        self.fc1 = nn.Conv2d(channels, squeeze_channels, 1, bias=bias)
        self.activation = activation()
        self.fc2 = nn.Conv2d(squeeze_channels, channels, 1, bias=bias)
        self.gate_name = gate
        self.gate = GATES[gate]()
        self.reset_gate()

    def reset_gate(self) -> None:
        """Set the bias of the gate to its initial value."""
        if self.fc2.bias is not None:
            nn.init.constant_(self.fc2.bias, self.gate_bias)

    def forward(self, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return s · u, the rescaled feature map.

        With a mask, s is computed from the positions that the mask keeps, see :meth:`gates`; the
        other positions of the output are 0.
        """
        return reference.scale(u, self.excitation(u, mask), mask)

    def excitation(self, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the gates s, ``[B, C, 1, 1]``, or of the shape of ``u``.

        The latter with the squeezes ``"none"``, ``"causal"`` and ``"window"``, which give every
        position gates of its own.
        """
        if self.squeeze == "none":
            if mask is not None:
                raise ValueError(
                    'squeeze="none" looks at every position by itself, so a mask changes nothing: '
                    'leave it out, or use squeeze="avg" or "max"'
                )
            return self.excite(u)
        if self.squeeze == "causal":
            return self.excite(causal_mean(u, mask))
        if self.squeeze == "window":
            return self.excite(window_mean(u, self.window, mask))
        z = peak(u, mask) if self.squeeze == "max" else reference.squeeze(u, mask)
        return self.gate(self.fc2(self.activation(self.fc1(z[:, :, None, None]))))

    def excite(self, z: Tensor) -> Tensor:
        """Return the gates of squeezes ``[B, C, *space]`` that every position has for itself."""
        flat = z.flatten(2).unsqueeze(2)  # two dimensions, whatever the map has
        return self.gate(self.fc2(self.activation(self.fc1(flat)))).reshape_as(z)

    def gates(self, u: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the gates s, ``[B, C]``, that the block computes from ``u``, ``[B, C, *space]``.

        With the squeezes ``"none"``, ``"causal"`` and ``"window"`` every position has gates of its
        own, and s has the shape of ``u``.

        Args:
            u: the feature map.
            mask: the positions that count, boolean, ``[B, *space]`` or ``[B, 1, *space]``: those
                of the sequence, not of its padding. All by default.

        Raises:
            ValueError: if the mask does not fit the map, or there is no squeeze to mask.
        """
        s = self.excitation(u, mask)
        return s.flatten(1) if self.squeeze in ("avg", "max") else s

    @torch.jit.unused
    def step(
        self, u: Tensor, stream: Stream | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Stream]:
        """Rescale the next piece of a stream, with ``squeeze="causal"``.

        Piece by piece the outputs are those of the whole sequence, however it is cut.

        Args:
            u: the next positions, ``[B, C, T]``; one or many.
            stream: what the previous piece returned; ``None`` at the start. Gradients flow through
                it: detach it, or use ``torch.no_grad()``, where they should end.
            mask: the positions of the piece that count, as for :meth:`gates`.

        Returns:
            s · u, and the stream for the next piece.

        Raises:
            ValueError: if the squeeze is another, or the shapes do not fit.

        Example:
            >>> import torch
            >>> se, u = SqueezeExcitation(16, 4, squeeze="causal"), torch.randn(2, 16, 50)
            >>> start, stream = se.step(u[..., :20])
            >>> rest, stream = se.step(u[..., 20:], stream)
            >>> torch.allclose(torch.cat([start, rest], 2), se(u), atol=1e-6)
            True
        """
        if self.squeeze != "causal":
            raise ValueError(
                f'a stream has no end to wait for: step needs squeeze="causal", and this block has '
                f"squeeze={self.squeeze!r}"
            )
        z, after = continued_mean(u, stream, mask)
        return reference.scale(u, self.excite(z), mask), after

    def extra_repr(self) -> str:
        window = f", window={self.window}" if self.window else ""
        return f"squeeze={self.squeeze!r}{window}"


def peak(u: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the maximum of every channel over all positions or those of the mask; 0 over none.

    Args:
        u: the feature map, ``[B, C, *space]``.
        mask: as for :func:`senet.ops.reference.squeeze`.

    Returns:
        The maxima, ``[B, C]``.

    Example:
        >>> import torch
        >>> peak(torch.tensor([[[1.0, 3.0], [5.0, 7.0]]]))
        tensor([[3., 7.]])
    """
    if mask is None:
        return u.flatten(2).amax(2)
    seen = reference.mask_of(u, mask)
    found = u.masked_fill(~seen, -math.inf).flatten(2).amax(2)
    return found.masked_fill(~seen.flatten(2).any(2), 0)


def bottleneck(channels: int, reduction: int) -> int:
    """Return the channels of the bottleneck, R = C // r; an error says what would fit.

    Example:
        >>> bottleneck(100, 16)
        6
    """
    if channels < 1 or reduction < 1:
        raise ValueError(f"channels={channels} and reduction={reduction} must be at least 1")
    if channels // reduction < 1:
        raise ValueError(
            f"reduction={reduction} leaves no channel of channels={channels}: "
            f"use a reduction of at most {channels}, or give squeeze_channels"
        )
    return channels // reduction
