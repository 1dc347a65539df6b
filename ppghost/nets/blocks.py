"""Bricks that the GhostNet family shares: convolution with batch norm, squeeze-and-excitation, rounding.

Attribute names are PaddleClas' (`_conv`, `_batch_norm`, `squeeze`, `excitation`): they are the keys of the
published weight files, so they are API.

Brick: imports paddle and the parts that train fast on a CPU.
"""

from __future__ import annotations

import math
from typing import Optional

import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn import functional as F  # noqa: N812 - the name that every Paddle reader knows
from paddle.nn.initializer import KaimingNormal, Uniform
from paddle.regularizer import L2Decay

from ppghost.nets.depthwise import DepthwiseConv2D
from ppghost.nets.norm import normalise
from ppghost.nets.pointwise import PointwiseConv2D


def round_channels(channels: float, divisor: int = 4) -> int:
    """Round a scaled channel count to the nearest multiple of `divisor`, never losing more than 10 %.

    Source: MobileNet's `make_divisible`; GhostNet (arXiv:1911.11907) uses a divisor of 4.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def uniform_linear(in_features: int, out_features: int, bound: Optional[float] = None) -> nn.Linear:
    """Return a linear layer with weights drawn from U(-bound, bound), by default bound = 1 / sqrt(in)."""
    limit = 1.0 / math.sqrt(in_features) if bound is None else bound
    return nn.Linear(in_features, out_features, weight_attr=ParamAttr(initializer=Uniform(-limit, limit)))


class ConvBN(nn.Layer):
    """A convolution without bias, batch norm, and ReLU unless `relu` is off.

    Padding keeps the size at stride 1. Batch norm's scale and shift are exempt from weight decay, as in
    PaddleClas. `float32 [N, in_channels, H, W]` becomes `float32 [N, out_channels, ceil(H/s), ceil(W/s)]`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self._conv = _convolution_class(kernel_size, is_depthwise=groups == in_channels == out_channels)(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=(kernel_size - 1) // 2,
            groups=groups,
            weight_attr=ParamAttr(initializer=KaimingNormal()),
            bias_attr=False,
        )
        self._batch_norm = nn.BatchNorm2D(
            out_channels,
            weight_attr=ParamAttr(regularizer=L2Decay(0.0)),
            bias_attr=ParamAttr(regularizer=L2Decay(0.0)),
        )
        self._relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise and, where asked, rectify."""
        return normalise(self._batch_norm, self._conv(x), relu=self._relu)


def _convolution_class(kernel_size: int, *, is_depthwise: bool) -> type[nn.Conv2D]:
    """Return the convolution that trains fastest on a CPU; all are `nn.Conv2D` in every other respect."""
    if is_depthwise:
        return DepthwiseConv2D
    return PointwiseConv2D if kernel_size == 1 else nn.Conv2D


def depthwise(channels: int, kernel_size: int, *, stride: int = 1, relu: bool = False) -> ConvBN:
    """Return a depthwise `ConvBN`: one filter per channel."""
    return ConvBN(channels, channels, kernel_size, stride=stride, groups=channels, relu=relu)


class SqueezeExcitation(nn.Layer):
    """Scale each channel by a gate computed from the channel means; the gate is clip(z, 0, 1).

    Source: arXiv:1709.01507; the hard gate without shift is PaddleClas' GhostNet's (Huawei's is
    relu6(z + 3) / 6). Shape and dtype are kept.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self._channels = channels
        self.squeeze = uniform_linear(channels, channels // reduction)
        self.excitation = uniform_linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with every channel scaled into [0, 1] of itself."""
        # reshape, not flatten: Paddle Lite's converter for x86 dies on flatten before a linear layer.
        mean = F.adaptive_avg_pool2d(x, 1).reshape([-1, self._channels])
        gate = paddle.clip(self.excitation(F.relu(self.squeeze(mean))), 0.0, 1.0)
        # `*`, not paddle.multiply: the latter fails in the export for the older format.
        return x * gate.reshape([-1, self._channels, 1, 1])
