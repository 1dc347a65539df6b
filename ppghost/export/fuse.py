"""Deploy graphs: a trained network converted into one that computes the same numbers with fewer operations.

`fold` puts every batch norm into the convolution before it. `fuse` does that and takes the concatenation out
of GhostNet's bottlenecks: a ghost module yields a pair of maps, what follows reads the two by themselves, and
only the bottleneck's output is one map. Engines copy for a concatenation, so fewer of them is faster.

Tried on Paddle Inference, OpenVINO and ONNX Runtime, and left out because it was not faster: the pair carried
on through the shortcut, halves padded to 16 channels, linear layers instead of 1x1 convolutions in the gate,
a squeeze of each half by itself. Left out because it would cost more: merging linear neighbours, as a 1x1 and
a depthwise convolution merge into a dense one; gating weights instead of maps, as every picture has its own
gate. Normalisation stays outside of the first convolution: its zero padding is a zero after normalisation,
and the input stays the one that PaddleClas' programs give.

A conversion returns a new network and leaves the given one as it is; what it returns is for inference only.

This module imports paddle and the networks; never `train` or `data`.
"""

from __future__ import annotations

import copy
from typing import Callable, Optional

import numpy as np
import paddle
from paddle import ParamAttr, Tensor, nn
from paddle.nn import functional as F  # noqa: N812 - the name that every Paddle reader knows
from paddle.nn.initializer import Assign

from ppghost.errors import GhostError, suggest
from ppghost.nets.blocks import ConvBN, SqueezeExcitation
from ppghost.nets.ghostnet import GhostBottleneck, GhostNet

# The intrinsic maps of a ghost module and their ghosts, both `float32 [N, C, H, W]`.
Pair = tuple[Tensor, Tensor]


def fold_batch_norm(
    weight: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of the convolution that does what a convolution and its batch norm do.

    Exact up to the last rounding: all of it is computed in float64. Padding stays exact, too, as the
    convolution's input is not changed.

    Args:
        weight: of the convolution, which has no bias, `[C, ...]`.
        gamma: scale of the batch norm, `[C]`.
        beta: shift, `[C]`.
        mean: running mean, `[C]`.
        variance: running variance, `[C]`, not negative.
        epsilon: what is added to the variance.

    Returns:
        Weight `float32 [C, ...]` and bias `float32 [C]`.
    """
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    bias = beta.astype(np.float64) - mean.astype(np.float64) * scale
    columns = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return (weight.astype(np.float64) * columns).astype(np.float32), bias.astype(np.float32)


def folded_arrays(source: ConvBN) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of the convolution that does what a trained `ConvBN` does before its ReLU."""
    norm = source._batch_norm
    return fold_batch_norm(
        np.asarray(source._conv.weight),
        np.asarray(norm.weight),
        np.asarray(norm.bias),
        np.asarray(norm._mean),
        np.asarray(norm._variance),
        norm._epsilon,
    )


def _convolution(
    weight: np.ndarray, bias: Optional[np.ndarray] = None, *, stride: int = 1, groups: int = 1
) -> nn.Conv2D:
    """Return the convolution with these values that keeps the size at stride 1, as those of `ConvBN` do.

    Args:
        weight: `float32 [out_channels, in_channels / groups, k, k]`.
        bias: `float32 [out_channels]`; None for none.
        stride: in both directions.
        groups: 1, or the number of channels for a depthwise convolution.
    """
    out_channels, in_channels, kernel_size, _ = weight.shape
    return nn.Conv2D(
        in_channels * groups,
        out_channels,
        kernel_size,
        stride=stride,
        padding=(kernel_size - 1) // 2,
        groups=groups,
        # Assign, as a random initial value would move Paddle's generator.
        weight_attr=ParamAttr(initializer=Assign(weight)),
        bias_attr=False if bias is None else ParamAttr(initializer=Assign(bias)),
    )


class FoldedConv(nn.Layer):
    """A convolution with bias and, where asked, ReLU: what a `ConvBN` becomes.

    `float32 [N, in_channels, H, W]` becomes `float32 [N, out_channels, ceil(H/s), ceil(W/s)]`.

    Args:
        source: the trained `ConvBN`; nothing of it is shared.
    """

    def __init__(self, source: ConvBN) -> None:
        super().__init__()
        weight, bias = folded_arrays(source)
        self.conv = _convolution(weight, bias, stride=source._conv._stride[0], groups=source._conv._groups)
        self._relu = source._relu

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and, where asked, rectify."""
        x = self.conv(x)
        return F.relu(x) if self._relu else x


def fold(net: nn.Layer) -> nn.Layer:
    """Return a copy of `net` whose batch norms are folded into the convolutions before them.

    Every `ConvBN` becomes a `FoldedConv`; all other layers, batch norms elsewhere included, are copied as
    they are. The copy is in evaluation mode and must not be trained. `net` stays as it is.

    Raises:
        GhostError: there is no `ConvBN` in `net`.
    """
    if not any(type(layer) is ConvBN for layer in net.sublayers()):
        raise GhostError(
            f"{type(net).__name__} has no ppghost.nets.blocks.ConvBN, so there is no batch norm to fold. "
            "Build the network from ConvBN, or export its graph as it is: --graph stock"
        )
    folded = copy.deepcopy(net)
    for parent in folded.sublayers(include_self=True):
        for name, child in list(parent.named_children()):
            if type(child) is ConvBN:  # a subclass may compute something else
                setattr(parent, name, FoldedConv(child))
    folded.eval()
    return folded


class _PairProjection(nn.Layer):
    """A 1x1 convolution of a pair: one convolution of each half, added up, which engines do in place."""

    def __init__(self, folded: FoldedConv) -> None:
        super().__init__()
        weight, bias = np.asarray(folded.conv.weight), np.asarray(folded.conv.bias)
        half = weight.shape[1] // 2
        self.of_intrinsic = _convolution(weight[:, :half], bias)
        self.of_ghosts = _convolution(weight[:, half:])

    def forward(self, pair: Pair) -> Tensor:
        return self.of_intrinsic(pair[0]) + self.of_ghosts(pair[1])


class _PairDepthwise(nn.Layer):
    """A depthwise convolution of a pair, each half by itself."""

    def __init__(self, folded: FoldedConv) -> None:
        super().__init__()
        weight, bias = np.asarray(folded.conv.weight), np.asarray(folded.conv.bias)
        half, stride = len(weight) // 2, folded.conv._stride[0]
        self.of_intrinsic = _convolution(weight[:half], bias[:half], stride=stride, groups=half)
        self.of_ghosts = _convolution(weight[half:], bias[half:], stride=stride, groups=half)

    def forward(self, pair: Pair) -> Pair:
        return self.of_intrinsic(pair[0]), self.of_ghosts(pair[1])


class _PairGate(nn.Layer):
    """Squeeze-and-excitation of a pair; the linear layers are 1x1 convolutions, which need no reshape."""

    def __init__(self, source: SqueezeExcitation) -> None:
        super().__init__()
        squeeze, excitation = source.squeeze, source.excitation
        weight, bias = _as_pointwise(excitation), np.asarray(excitation.bias)
        half = len(weight) // 2
        self.squeeze = _convolution(_as_pointwise(squeeze), np.asarray(squeeze.bias))
        self.of_intrinsic = _convolution(weight[:half], bias[:half])
        self.of_ghosts = _convolution(weight[half:], bias[half:])

    def forward(self, pair: Pair) -> Pair:
        means = paddle.concat([F.adaptive_avg_pool2d(half, 1) for half in pair], axis=1)
        squeezed = F.relu(self.squeeze(means))
        # `*`, not paddle.multiply: the latter fails in the export for the older format.
        return (
            pair[0] * paddle.clip(self.of_intrinsic(squeezed), 0.0, 1.0),
            pair[1] * paddle.clip(self.of_ghosts(squeezed), 0.0, 1.0),
        )


def _as_pointwise(linear: nn.Linear) -> np.ndarray:
    """Return the weight of a linear layer as that of a 1x1 convolution, `float32 [out, in, 1, 1]`."""
    return np.ascontiguousarray(np.asarray(linear.weight).T)[:, :, None, None]


class FusedBottleneck(nn.Layer):
    """A folded `GhostBottleneck` that concatenates once, at its end.

    `float32 [N, in_channels, H, W]` becomes `float32 [N, out_channels, ceil(H/s), ceil(W/s)]`.

    Args:
        source: the bottleneck after `fold`; layers that need no change are taken over, not copied.
    """

    def __init__(self, source: GhostBottleneck) -> None:
        super().__init__()
        first, second = source.ghost_module_1, source.ghost_module_2
        self.expand, self.expand_ghosts = first.primary_conv, first.cheap_operation
        self.depthwise = _PairDepthwise(source.depthwise_conv) if source._downsamples else None
        self.gate = _PairGate(source.se_block) if source._use_se else None
        self.project, self.project_ghosts = _PairProjection(second.primary_conv), second.cheap_operation
        self.shortcut = (
            None if source._is_identity else nn.Sequential(source.shortcut_depthwise, source.shortcut_conv)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the bottleneck's output plus the shortcut, without activation."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        intrinsic = self.expand(x)
        pair = intrinsic, self.expand_ghosts(intrinsic)
        if self.depthwise is not None:
            pair = self.depthwise(pair)
        if self.gate is not None:
            pair = self.gate(pair)
        intrinsic = self.project(pair)
        return paddle.concat([intrinsic, self.project_ghosts(intrinsic)], axis=1) + shortcut


def fuse(net: nn.Layer) -> nn.Layer:
    """Return a copy of `net` with folded batch norms and a single concatenation in each bottleneck.

    The copy is in evaluation mode and must not be trained. `net` stays as it is.

    Raises:
        GhostError: `net` is no GhostNet; the graphs of other networks are not known here.
    """
    if type(net) is not GhostNet:
        raise GhostError(
            f"{type(net).__name__} has no fused graph: only ppghost.nets.ghostnet.GhostNet has one. "
            "Export another graph: --graph folded or --graph stock"
        )
    fused = fold(net)
    fused._blocks = []
    for name, block in list(fused.named_children()):
        if isinstance(block, GhostBottleneck):
            setattr(fused, name, FusedBottleneck(block))
            fused._blocks.append(getattr(fused, name))
    fused.eval()
    return fused


_CONVERSIONS: dict[str, Callable[[nn.Layer], nn.Layer]] = {
    "stock": copy.deepcopy,
    "folded": fold,
    "fused": fuse,
}


def fastest_graph(net: nn.Layer) -> str:
    """Return the graph that measures fastest for a network: "fused" for GhostNet, else "stock"."""
    return "fused" if type(net) is GhostNet else "stock"


def to_graph(net: nn.Layer, graph: str) -> nn.Layer:
    """Return a copy of `net` in evaluation mode, with the graph of a name in `ppghost.artifact.GRAPHS`.

    Raises:
        GhostError: there is no such graph, or `net` has none.
    """
    if graph not in _CONVERSIONS:
        raise GhostError(f"Unknown graph '{graph}'. {suggest(graph, _CONVERSIONS)}")
    converted = _CONVERSIONS[graph](net)
    converted.eval()
    return converted
