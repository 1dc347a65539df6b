"""Deploy graphs: a trained network converted into one that computes the same numbers with fewer operations.

`fold` puts every batch norm into the convolution before it. A conversion returns a new network and leaves the
given one as it is; what it returns is for inference only.

This module imports paddle and the networks; never `train` or `data`.
"""

from __future__ import annotations

import copy

import numpy as np
from paddle import ParamAttr, Tensor, nn
from paddle.nn import functional as F  # noqa: N812 - the name that every Paddle reader knows
from paddle.nn.initializer import Assign

from ppghost.errors import GhostError
from ppghost.nets.blocks import ConvBN


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


class FoldedConv(nn.Layer):
    """A convolution with bias and, where asked, ReLU: what a `ConvBN` becomes.

    `float32 [N, in_channels, H, W]` becomes `float32 [N, out_channels, ceil(H/s), ceil(W/s)]`.

    Args:
        source: the trained `ConvBN`; nothing of it is shared.
    """

    def __init__(self, source: ConvBN) -> None:
        super().__init__()
        conv, norm = source._conv, source._batch_norm
        weight, bias = fold_batch_norm(
            np.asarray(conv.weight),
            np.asarray(norm.weight),
            np.asarray(norm.bias),
            np.asarray(norm._mean),
            np.asarray(norm._variance),
            norm._epsilon,
        )
        self.conv = nn.Conv2D(
            conv._in_channels,
            conv._out_channels,
            conv._kernel_size,
            stride=conv._stride,
            padding=conv._padding,
            groups=conv._groups,
            # Assign, as a random initial value would move Paddle's generator.
            weight_attr=ParamAttr(initializer=Assign(weight)),
            bias_attr=ParamAttr(initializer=Assign(bias)),
        )
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
