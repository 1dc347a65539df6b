"""GhostNet: more features from cheap operations (arXiv:1911.11907), in PaddleClas' variant.

A ghost module makes half of its output with a 1x1 convolution and the other half ("ghosts") from the first
by a depthwise convolution. PaddleClas' variant differs from Huawei's in the squeeze-and-excitation (linear
layers, width C // 4, gate clip(z, 0, 1)) and in the head (batch norm, no bias). Attribute names are the keys
of PaddleClas' weight files (435 at every width); layers are made in PaddleClas' order, so that one
`paddle.seed` draws the same initial weights.

Brick: imports paddle and the shared bricks only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812 - the name that every Paddle reader knows

from ppghost.nets.blocks import ConvBN, SqueezeExcitation, depthwise, round_channels, uniform_linear


class BlockSpec(NamedTuple):
    """One ghost bottleneck at width 1.0."""

    kernel_size: int
    hidden_channels: int
    out_channels: int
    use_se: bool
    stride: int


STEM_CHANNELS = 16
HEAD_CHANNELS = 1280
BLOCKS = (
    BlockSpec(3, 16, 16, False, 1),
    BlockSpec(3, 48, 24, False, 2),
    BlockSpec(3, 72, 24, False, 1),
    BlockSpec(5, 72, 40, True, 2),
    BlockSpec(5, 120, 40, True, 1),
    BlockSpec(3, 240, 80, False, 2),
    BlockSpec(3, 200, 80, False, 1),
    BlockSpec(3, 184, 80, False, 1),
    BlockSpec(3, 184, 80, False, 1),
    BlockSpec(3, 480, 112, True, 1),
    BlockSpec(3, 672, 112, True, 1),
    BlockSpec(5, 672, 160, True, 2),
    BlockSpec(5, 960, 160, False, 1),
    BlockSpec(5, 960, 160, True, 1),
    BlockSpec(5, 960, 160, False, 1),
    BlockSpec(5, 960, 160, True, 1),
)


class GhostModule(nn.Layer):
    """Half of the channels by a 1x1 convolution, the other half from those by a 3x3 depthwise one.

    `float32 [N, in_channels, H, W]` becomes `float32 [N, out_channels, H, W]`; an odd `out_channels` is
    rounded up. Source: arXiv:1911.11907, section 3.1, ratio 2.
    """

    def __init__(self, in_channels: int, out_channels: int, *, relu: bool) -> None:
        super().__init__()
        intrinsic_channels = math.ceil(out_channels / 2)
        self.primary_conv = ConvBN(in_channels, intrinsic_channels, 1, relu=relu)
        self.cheap_operation = depthwise(intrinsic_channels, 3, relu=relu)

    def forward(self, x: Tensor) -> Tensor:
        """Return intrinsic features and their ghosts, concatenated."""
        intrinsic = self.primary_conv(x)
        return paddle.concat([intrinsic, self.cheap_operation(intrinsic)], axis=1)


class GhostBottleneck(nn.Layer):
    """Expand by a ghost module, optionally down-sample and gate, project by a second one, add the shortcut.

    `float32 [N, in_channels, H, W]` becomes `float32 [N, out_channels, ceil(H/s), ceil(W/s)]`. Source:
    arXiv:1911.11907, section 3.2.
    """

    def __init__(self, in_channels: int, spec: BlockSpec) -> None:
        super().__init__()
        kernel_size, hidden_channels, out_channels, use_se, stride = spec
        self._downsamples = stride == 2
        self._use_se = use_se
        self._is_identity = stride == 1 and in_channels == out_channels
        self.ghost_module_1 = GhostModule(in_channels, hidden_channels, relu=True)
        if self._downsamples:
            self.depthwise_conv = depthwise(hidden_channels, kernel_size, stride=stride)
        if use_se:
            self.se_block = SqueezeExcitation(hidden_channels)
        self.ghost_module_2 = GhostModule(hidden_channels, out_channels, relu=False)
        if not self._is_identity:
            self.shortcut_depthwise = depthwise(in_channels, kernel_size, stride=stride)
            self.shortcut_conv = ConvBN(in_channels, out_channels, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the bottleneck's output plus the shortcut, without activation."""
        shortcut = x if self._is_identity else self.shortcut_conv(self.shortcut_depthwise(x))
        x = self.ghost_module_1(x)
        if self._downsamples:
            x = self.depthwise_conv(x)
        if self._use_se:
            x = self.se_block(x)
        return self.ghost_module_2(x) + shortcut


class GhostNet(nn.Layer):
    """GhostNet of a given width.

    Args:
        scale: width multiplier; channel counts are rounded to multiples of 4, the head stays at 1280.
        class_num: number of classes.
        dropout: share of head features dropped in training, in [0, 1).

    `float32 [N, 3, H, W]`, RGB, normalised, becomes logits `float32 [N, class_num]`. Any H and W from 32
    up; published figures are for 224.
    """

    def __init__(self, scale: float = 1.0, class_num: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        self.class_num = class_num
        channels = round_channels(STEM_CHANNELS * scale)
        self.conv1 = ConvBN(3, channels, 3, stride=2)
        self._blocks: list[GhostBottleneck] = []
        for index, spec in enumerate(BLOCKS):
            scaled = spec._replace(
                hidden_channels=round_channels(spec.hidden_channels * scale),
                out_channels=round_channels(spec.out_channels * scale),
            )
            self._blocks.append(
                self.add_sublayer(f"_ghostbottleneck_{index}", GhostBottleneck(channels, scaled))
            )
            channels = scaled.out_channels
        last_channels = round_channels(BLOCKS[-1].hidden_channels * scale)
        self.conv_last = ConvBN(channels, last_channels, 1)
        self.fc_0 = ConvBN(last_channels, HEAD_CHANNELS, 1)
        self.dropout = nn.Dropout(dropout)
        self.fc_1 = uniform_linear(HEAD_CHANNELS, class_num)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for a batch of normalised pictures."""
        x = self.conv1(x)
        for block in self._blocks:
            x = block(x)
        x = F.adaptive_avg_pool2d(self.conv_last(x), 1)
        x = self.dropout(self.fc_0(x)).reshape([-1, HEAD_CHANNELS])
        return self.fc_1(x)
