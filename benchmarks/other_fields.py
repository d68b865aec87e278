"""SE blocks of other fields, written as their projects describe them.

The arguments and the keys of the state dicts are those that each project publishes; the text is
ours. Where a block's place in a network matters (what norm stands before it, what is added after
it), a small network of the project's own layers is around it. `tests/world/test_blocks.py` holds
each of `NETWORKS` to its results, `benchmarks/models/blocks.py` times it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOLS = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


def after_norm(block: nn.Module, channels: int, dims: int, activation: nn.Module | None = None):
    """Return a network of a convolution, a batch norm, an activation if any, and the block."""
    layers = [CONVOLUTIONS[dims](channels, channels, 3, padding=1), NORMS[dims](channels)]
    return nn.Sequential(*layers, *([activation] if activation else []), block)


# --- MONAI: monai.networks.blocks.squeeze_and_excitation, monai.networks.nets.senet ---------------


class MonaiChannelSELayer(nn.Module):
    """MONAI's ``ChannelSELayer``, for maps of one to three dimensions."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        r: int = 2,
        acti_type_1: type[nn.Module] = nn.ReLU,
        acti_type_2: type[nn.Module] = nn.Sigmoid,
        add_residual: bool = False,
    ) -> None:
        super().__init__()
        self.add_residual = add_residual
        self.avg_pool = POOLS[spatial_dims](1)
        inner = in_channels // r
        self.fc = nn.Sequential(
            nn.Linear(in_channels, inner),
            acti_type_1(),
            nn.Linear(inner, in_channels),
            acti_type_2(),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        s = self.fc(self.avg_pool(x).view(b, c))
        y = x * s.view([b, c] + [1] * (x.ndim - 2))
        if self.add_residual:
            y += x
        return y


class MonaiResidualSELayer(MonaiChannelSELayer):
    """MONAI's ``ResidualSELayer``: a leaky ReLU, a ReLU for a gate, and the map itself added."""

    def __init__(self, spatial_dims: int, in_channels: int, r: int = 2) -> None:
        super().__init__(spatial_dims, in_channels, r, nn.LeakyReLU, nn.ReLU, add_residual=True)


class MonaiConvolution(nn.Sequential):
    """MONAI's ``Convolution``: the norm and the activation are ``adn.N`` and ``adn.A``."""

    def __init__(
        self,
        spatial_dims: int,
        inputs: int,
        outputs: int,
        kernel_size: int,
        strides: int = 1,
        act: bool = True,
        bias: bool = True,
        groups: int = 1,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        conv = CONVOLUTIONS[spatial_dims](
            inputs, outputs, kernel_size, strides, padding, groups=groups, bias=bias
        )
        self.add_module("conv", conv)
        adn = nn.Sequential()
        adn.add_module("N", NORMS[spatial_dims](outputs))
        if act:
            adn.add_module("A", nn.ReLU(inplace=True))
        self.add_module("adn", adn)


class MonaiSEBlock(nn.Module):
    """MONAI's ``SEBlock``: three convolutions, SE, and ``x += residual``."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        n_chns_1: int,
        n_chns_2: int,
        n_chns_3: int,
        r: int = 2,
        strides: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = True,
        project: nn.Module | None = None,
    ) -> None:
        super().__init__()
        conv = MonaiConvolution
        if project is None and in_channels != n_chns_3:
            project = conv(spatial_dims, in_channels, n_chns_3, 1, act=False)
        self.convs = nn.Sequential()
        self.convs.add_module(
            "conv1", conv(spatial_dims, in_channels, n_chns_1, 1, strides[0], bias=bias)
        )
        self.convs.add_module(
            "conv2",
            conv(spatial_dims, n_chns_1, n_chns_2, 3, strides[1], bias=bias, groups=groups),
        )
        self.convs.add_module(
            "conv3", conv(spatial_dims, n_chns_2, n_chns_3, 1, act=False, bias=bias)
        )
        self.project = project
        self.se_layer = MonaiChannelSELayer(spatial_dims, n_chns_3, r)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.project is None else self.project(x)
        x = self.se_layer(self.convs(x))
        x += residual
        return self.act(x)


class MonaiSENet(nn.Module):
    """MONAI's ``SENet``: with ``planes=64`` its ``SEResNet50``, with 64 groups its ``SENet154``."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        layers: tuple[int, ...],
        num_classes: int = 1000,
        groups: int = 1,
        planes: int = 64,
    ) -> None:
        super().__init__()
        deep = groups > 1
        self.spatial_dims, self.groups = spatial_dims, groups
        self.inplanes = 2 * planes if deep else planes
        stem = [(in_channels, planes, 3 if deep else 7, 2)]
        if deep:
            stem += [(planes, planes, 3, 1), (planes, self.inplanes, 3, 1)]
        self.layer0 = nn.Sequential()
        for i, (inputs, outputs, kernel, stride) in enumerate(stem, 1):
            conv = CONVOLUTIONS[spatial_dims](
                inputs, outputs, kernel, stride, padding=kernel // 2, bias=False
            )
            self.layer0.add_module(f"conv{i}", conv)
            self.layer0.add_module(f"bn{i}", NORMS[spatial_dims](outputs))
            self.layer0.add_module(f"relu{i}", nn.ReLU(inplace=True))
        pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims]
        self.layer0.add_module("pool", pool(3, stride=2, ceil_mode=True))
        for i, blocks in enumerate(layers):
            self.add_module(f"layer{i + 1}", self._make_layer(planes << i, blocks, 2 if i else 1))
        self.adaptive_avg_pool = POOLS[spatial_dims](1)
        self.last_linear = nn.Linear(self.inplanes, num_classes)

    def _make_layer(self, planes: int, blocks: int, stride: int) -> nn.Sequential:
        stage, outputs, deep = nn.Sequential(), 4 * planes, self.groups > 1
        widths = (2 * planes, 4 * planes) if deep else (planes, planes)
        for j in range(blocks):
            strides, project = (stride if j == 0 else 1), None
            if strides != 1 or self.inplanes != outputs:
                kernel = 3 if deep and strides > 1 else 1
                project = MonaiConvolution(
                    self.spatial_dims, self.inplanes, outputs, kernel, strides, False, False
                )
            stage.append(
                MonaiSEBlock(
                    self.spatial_dims, self.inplanes, *widths, outputs, r=16,
                    strides=(1, strides) if deep else (strides, 1), groups=self.groups,
                    bias=False, project=project,
                )
            )  # fmt: skip
            self.inplanes = outputs
        return stage

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer0(x)
        for name, stage in self.named_children():
            if name in ("layer1", "layer2", "layer3", "layer4"):
                x = stage(x)
        return self.last_linear(torch.flatten(self.adaptive_avg_pool(x), 1))


# --- nnU-Net: dynamic_network_architectures.building_blocks.regularization ------------------------


class NnunetSqueezeExcite(nn.Module):
    """nnU-Net's ``SqueezeExcite``: the mean is over the first two spatial dimensions.

    Of a volume that is one mean for each slice, not one for the channel.
    """

    def __init__(
        self,
        channels: int,
        conv_op: type[nn.Module],
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
        rd_divisor: int = 8,
    ) -> None:
        super().__init__()
        if rd_channels is None:
            rd_channels = max(rd_divisor, round(channels * rd_ratio / rd_divisor) * rd_divisor)
        self.fc1 = conv_op(channels, rd_channels, 1)
        self.bn = nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.fc2 = conv_op(rd_channels, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.fc2(self.act(self.bn(self.fc1(z)))))


# --- speechbrain: speechbrain.lobes.models.ECAPA_TDNN ---------------------------------------------


class SpeechbrainConv1d(nn.Module):
    """speechbrain's ``Conv1d``, which holds PyTorch's."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SpeechbrainSEBlock(nn.Module):
    """speechbrain's ``SEBlock``: with ``lengths``, shares of the longest, a mean of what counts."""

    def __init__(self, in_channels: int, se_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = SpeechbrainConv1d(in_channels, se_channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = SpeechbrainConv1d(se_channels, out_channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        T = x.shape[-1]
        if lengths is None:
            s = x.mean(dim=2, keepdim=True)
        else:
            mask = (torch.arange(T, device=x.device) < (lengths * T)[:, None]).to(x.dtype)[:, None]
            s = (x * mask).sum(dim=2, keepdim=True) / mask.sum(dim=2, keepdim=True)
        s = self.sigmoid(self.conv2(self.relu(self.conv1(s))))
        return s * x


class SpeechbrainBatchNorm1d(nn.Module):
    """speechbrain's ``BatchNorm1d``, which holds PyTorch's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class SpeechbrainTDNNBlock(nn.Module):
    """speechbrain's ``TDNNBlock``: a convolution, a ReLU, and then the norm."""

    def __init__(self, channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        self.conv = SpeechbrainConv1d(channels, channels, kernel_size)
        self.activation = nn.ReLU()
        self.norm = SpeechbrainBatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.conv(x)))


class SpeechbrainSERes2NetBlock(nn.Module):
    """The end of speechbrain's ``SERes2NetBlock``: a TDNN block, SE, and the shortcut."""

    def __init__(self, channels: int, se_channels: int = 8) -> None:
        super().__init__()
        self.tdnn1 = SpeechbrainTDNNBlock(channels)
        self.tdnn2 = SpeechbrainTDNNBlock(channels)
        self.se_block = SpeechbrainSEBlock(channels, se_channels, channels)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        residual = x
        x = self.se_block(self.tdnn2(self.tdnn1(x)), lengths)
        return x + residual


# --- wespeaker: wespeaker.models.ecapa_tdnn -------------------------------------------------------


class WespeakerSEConnect(nn.Module):
    """wespeaker's ``SE_Connect``: two linear layers called as functions of a mean over time."""

    def __init__(self, channels: int, se_bottleneck_dim: int = 128) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, se_bottleneck_dim)
        self.linear2 = nn.Linear(se_bottleneck_dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        s = F.relu(self.linear1(x.mean(dim=2)))
        s = torch.sigmoid(self.linear2(s))
        return x * s.unsqueeze(2)


class WespeakerConv1dReluBn(nn.Module):
    """wespeaker's ``Conv1dReluBn``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(F.relu(self.conv(x)))


class WespeakerSERes2Block(nn.Module):
    """The end of wespeaker's ``SE_Res2Block``."""

    def __init__(self, channels: int, se_bottleneck_dim: int = 8) -> None:
        super().__init__()
        self.se_res2block = nn.Sequential(
            WespeakerConv1dReluBn(channels),
            WespeakerConv1dReluBn(channels),
            WespeakerSEConnect(channels, se_bottleneck_dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.se_res2block(x)


# --- NeMo: nemo.collections.asr.parts.submodules.jasper -------------------------------------------


class NemoSqueezeExcite(nn.Module):
    """NeMo's ``SqueezeExcite`` (ContextNet, Citrinet): a mean over all that counts, or of windows.

    The windows slide by one; their gates are spread over the sequence again by interpolation.
    """

    def __init__(
        self,
        channels: int,
        reduction_ratio: int,
        context_window: int = -1,
        interpolation_mode: str = "nearest",
    ) -> None:
        super().__init__()
        self.context_window = context_window
        self.interpolation_mode = interpolation_mode
        inner = channels // reduction_ratio
        self.fc = nn.Sequential(
            nn.Linear(channels, inner, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(inner, channels, bias=False),
        )

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        T = x.shape[-1]
        mask = (torch.arange(T, device=x.device) < lengths[:, None])[:, None]
        x = x.masked_fill(~mask, 0)
        counts = mask.to(x.dtype)
        if self.context_window <= 0 or self.context_window > T:
            z = x.sum(-1, keepdim=True) / counts.sum(-1, keepdim=True)
        else:
            seen = counts.unfold(-1, self.context_window, 1).sum(-1)
            z = x.unfold(-1, self.context_window, 1).sum(-1) / seen.clamp(min=1)
        s = self.fc(z.transpose(1, 2)).transpose(1, 2)
        if self.context_window > 0:
            s = F.interpolate(s, size=T, mode=self.interpolation_mode)
        return x * torch.sigmoid(s)


class NemoJasperBlock(nn.Module):
    """The end of one of NeMo's ``JasperBlock``: convolution, norm, SE, residual, ReLU."""

    def __init__(self, channels: int, context_window: int = -1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm1d(channels, eps=1e-3)
        self.se = NemoSqueezeExcite(channels, 4, context_window)
        self.mout = nn.Sequential(nn.ReLU(inplace=True))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.mout(self.se(self.bn(self.conv(x)), lengths) + x)


# --- segmentation_models_pytorch: segmentation_models_pytorch.base.modules ------------------------


class SmpSCSEModule(nn.Module):
    """segmentation_models_pytorch's ``SCSEModule``: the sum of two products."""

    def __init__(self, in_channels: int, reduction: int = 16) -> None:
        super().__init__()
        inner = in_channels // reduction
        self.cSE = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, in_channels, 1),
            nn.Sigmoid(),
        )
        self.sSE = nn.Sequential(nn.Conv2d(in_channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.cSE(x) + x * self.sSE(x)


# --- mmpretrain: mmpretrain.models.utils.se_layer, mmcv.cnn.ConvModule ----------------------------


class MmcvConvModule(nn.Module):
    """mmcv's ``ConvModule`` without a norm: a convolution and an activation."""

    def __init__(self, in_channels: int, out_channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.activate = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x))


class MmpretrainSELayer(nn.Module):
    """mmpretrain's ``SELayer``, of two ``ConvModule``."""

    def __init__(
        self, channels: int, squeeze_channels: int | None = None, ratio: int = 16, divisor: int = 8
    ) -> None:
        super().__init__()
        if squeeze_channels is None:
            squeeze_channels = max(divisor, round(channels // ratio / divisor) * divisor)
        self.global_avgpool = nn.AdaptiveAvgPool2d(1)
        self.conv1 = MmcvConvModule(channels, squeeze_channels, nn.ReLU())
        self.conv2 = MmcvConvModule(squeeze_channels, channels, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv2(self.conv1(self.global_avgpool(x)))


class MmpretrainSEBottleneck(nn.Module):
    """The end of mmpretrain's ``SEBottleneck``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.se_layer = MmpretrainSELayer(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.se_layer(self.bn3(self.conv3(x)))
        out += x
        return self.relu(out)


# --- fastai: fastai.layers ------------------------------------------------------------------------


class FastaiProdLayer(nn.Module):
    """fastai's ``ProdLayer``: the product with the map that ``SequentialEx`` has noted on it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.orig  # type: ignore[attr-defined]


class FastaiSEModule(nn.Module):
    """fastai's ``SEModule``, a ``SequentialEx``: each layer finds the block's input on its own."""

    def __init__(self, ch: int, reduction: int) -> None:
        super().__init__()
        inner = math.ceil(ch // reduction / 8) * 8
        self.layers = nn.ModuleList(
            [
                nn.AdaptiveAvgPool2d(1),
                nn.Sequential(nn.Conv2d(ch, inner, 1), nn.ReLU()),
                nn.Sequential(nn.Conv2d(inner, ch, 1), nn.Sigmoid()),
                FastaiProdLayer(),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y.orig = x  # type: ignore[attr-defined]
            made = layer(y)
            y.orig = made.orig = None  # type: ignore[attr-defined]
            y = made
        return y


# --- pytorchvideo (X3D): pytorchvideo.layers.squeeze_excitation -----------------------------------


class PytorchvideoSqueezeExcitation(nn.Module):
    """pytorchvideo's ``SqueezeExcitation``, of volumes of a video."""

    def __init__(
        self, num_channels: int, num_channels_reduced: int | None = None, is_3d: bool = True
    ) -> None:
        super().__init__()
        inner = num_channels_reduced or num_channels // 2
        dims = 3 if is_3d else 2
        conv = CONVOLUTIONS[dims]
        self.is_3d = is_3d
        self.block = nn.Sequential(
            POOLS[dims](1),
            conv(num_channels, inner, 1),
            nn.ReLU(),
            conv(inner, num_channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, input_tensor: Tensor) -> Tensor:
        return input_tensor * self.block(input_tensor)


class PytorchvideoX3DBlock(nn.Module):
    """The middle of a bottleneck of X3D: a depthwise convolution, then norm and SE, then Swish."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_b = nn.Conv3d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm_b = nn.Sequential(
            nn.BatchNorm3d(channels), PytorchvideoSqueezeExcitation(channels, 8)
        )
        self.act_b = nn.SiLU()
        self.conv_c = nn.Conv3d(channels, channels, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm_c(self.conv_c(self.act_b(self.norm_b(self.conv_b(x)))))


# --- torchaudio: torchaudio.models.conformer ------------------------------------------------------


class TorchaudioConvolutionModule(nn.Module):
    """The convolution module of torchaudio's Conformer, which has a batch norm but no SE."""

    def __init__(self, input_dim: int, num_channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(input_dim)
        self.sequential = nn.Sequential(
            nn.Conv1d(input_dim, 2 * num_channels, 1),
            nn.GLU(dim=1),
            nn.Conv1d(num_channels, num_channels, kernel, padding=kernel // 2, groups=num_channels),
            nn.BatchNorm1d(num_channels),
            nn.SiLU(),
            nn.Conv1d(num_channels, input_dim, 1),
            nn.Dropout(0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.sequential(self.layer_norm(x).transpose(1, 2)).transpose(1, 2)


# --- SE in the neck of a detector, as many forks of YOLO have it ----------------------------------


class YoloSE(nn.Module):
    """The tutorial's block with arguments and names of those forks."""

    def __init__(self, c1: int, c2: int, ratio: int = 16) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.l1 = nn.Linear(c1, c1 // ratio, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.l2 = nn.Linear(c1 // ratio, c1, bias=False)
        self.sig = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        s = self.sig(self.l2(self.relu(self.l1(self.avgpool(x).view(b, c)))))
        return x * s.view(b, c, 1, 1).expand_as(x)


class YoloConv(nn.Module):
    """YOLO's ``Conv``: a convolution, a norm, SiLU."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c2, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class YoloNeck(nn.Module):
    """One level of a neck: SE on each of two maps, upsampling, concatenation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Sequential(YoloConv(channels, channels, 3, 2), YoloSE(channels, channels, 4))
        self.side = nn.Sequential(YoloConv(channels, channels), YoloSE(channels, channels, 4))
        self.merge = YoloConv(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        up = F.interpolate(self.down(x), size=x.shape[2:], mode="nearest")
        return self.merge(torch.cat([up, self.side(x)], 1))


# --- each of them in a network, by the row of docs/surgery.md that tells of it --------------------

# Makes the network for a number of channels.
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "MONAI ChannelSELayer, 1-D": lambda c: after_norm(MonaiChannelSELayer(1, c), c, 1),
    "MONAI ChannelSELayer, 2-D": lambda c: after_norm(MonaiChannelSELayer(2, c), c, 2),
    "MONAI ChannelSELayer, 3-D": lambda c: after_norm(MonaiChannelSELayer(3, c), c, 3),
    "MONAI ResidualSELayer": lambda c: after_norm(MonaiResidualSELayer(3, c), c, 3),
    "MONAI SEBlock": lambda c: MonaiSEBlock(3, c, c // 2, c // 2, 2 * c),
    "MONAI SEResNet50, 2-D": lambda c: MonaiSENet(2, 3, (1, 1), 5, planes=c),
    "MONAI SEResNet50, 3-D": lambda c: MonaiSENet(3, 1, (1, 1), 5, planes=c),
    "MONAI SENet154": lambda c: MonaiSENet(2, 3, (1, 1), 5, groups=c, planes=c),
    "nnU-Net SqueezeExcite, 2-D": lambda c: after_norm(NnunetSqueezeExcite(c, nn.Conv2d), c, 2),
    "nnU-Net SqueezeExcite, 3-D": lambda c: after_norm(NnunetSqueezeExcite(c, nn.Conv3d), c, 3),
    "speechbrain SEBlock": lambda c: SpeechbrainSERes2NetBlock(c, c // 4),
    "speechbrain SEBlock with lengths": lambda c: SpeechbrainSERes2NetBlock(c, c // 4),
    "wespeaker SE_Connect": lambda c: WespeakerSERes2Block(c, c // 4),
    "NeMo SqueezeExcite": lambda c: NemoJasperBlock(c),
    "NeMo SqueezeExcite, windowed": lambda c: NemoJasperBlock(c, 8),
    "segmentation_models_pytorch SCSEModule": lambda c: after_norm(
        SmpSCSEModule(c, 4), c, 2, nn.ReLU()
    ),
    "mmpretrain SELayer": MmpretrainSEBottleneck,
    "fastai SEModule": lambda c: after_norm(FastaiSEModule(c, 2), c, 2),
    "pytorchvideo SqueezeExcitation (X3D)": PytorchvideoX3DBlock,
    "torchaudio Conformer": lambda c: TorchaudioConvolutionModule(c, c),
    "SE in the neck of a YOLO": YoloNeck,
}
