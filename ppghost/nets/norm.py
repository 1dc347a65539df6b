"""Batch norm and ReLU in one pass that trains fast on a CPU.

Paddle's CPU kernels for the two use one thread and pass over the map seven times in a step. `normalise` is
`relu(norm(x))`, by the native kernels where `ppghost.nets.native` allows them.

Brick: imports paddle, `ppghost.nets.native` and the kernels' sizes.
"""

from __future__ import annotations

import math
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812 - the name that every Paddle reader knows

from ppghost.nets.kernels import NormShape
from ppghost.nets.native import NativeFunction, NativeKernels, Walk, kernels_for


def normalise(norm: nn.Layer, x: Tensor, *, relu: bool) -> Tensor:
    """Return `norm(x)`, rectified where `relu` asks for it. `float32 [N, C, H, W]` keeps its shape.

    Side effects: those of `norm`; in training it moves its running mean and variance.
    """
    # A subclass, or a synchronised norm, does something else.
    kernels = kernels_for(norm, x) if type(norm) is nn.BatchNorm2D else None
    if kernels is None or not _is_supported(norm, x):
        y = norm(x)
        return F.relu(y) if relu else y
    batch, channels, height, width = x.shape
    sizes = NormShape(batch, channels, height * width, relu, norm._epsilon, norm._momentum)
    return _NativeNorm.apply(x, norm.weight, norm.bias, norm._mean, norm._variance, kernels, sizes)


class _NativeNorm(NativeFunction):
    """Batch norm with an optional ReLU as a differentiable function of input, scale and shift.

    ReLU's mask is computed again from the input in the backward pass: keeping the output would tie it to its
    own gradient node, and Python would free neither before the next garbage collection.
    """

    @staticmethod
    def forward(  # noqa: D102 - PyLayer's
        ctx: Any,
        walk: Walk,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        kernels: NativeKernels,
        sizes: NormShape,
    ) -> Tensor:
        x = x.contiguous()
        y, stats = paddle.empty(x.shape, dtype="float32"), paddle.empty([2, sizes.channels], dtype="float32")
        kernels.run("norm_forward", sizes, x, weight, bias, y, stats, mean, variance)
        NativeFunction.keep(ctx, walk, x, weight, bias, stats)
        ctx.call = kernels, sizes
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:  # noqa: D102 - PyLayer's
        x, weight, bias, stats = NativeFunction.kept(ctx)
        kernels, sizes = ctx.call
        dx = None if x.stop_gradient else paddle.empty(x.shape, dtype="float32")
        dweight, dbias = (paddle.empty([sizes.channels], dtype="float32") for _ in range(2))
        arrays = x, weight, bias, dy.contiguous(), stats, dx, dweight, dbias
        kernels.run("norm_backward", sizes, *arrays)
        return (
            dx,
            None if weight.stop_gradient else dweight,
            None if bias.stop_gradient else dbias,
            None,
            None,
        )


def _is_supported(norm: nn.Layer, x: Tensor) -> bool:
    return (
        norm.training  # the kernel normalises with the batch's own statistics
        and norm.bias is not None
        and norm._mean.dtype == norm._variance.dtype == paddle.float32
        and not norm._use_global_stats
        and norm._data_format == "NCHW"
        and x.shape[1:2] == norm.weight.shape
        and math.prod(x.shape)
        > x.shape[1]  # of one number there is no variance, and Paddle passes it on as it is
        and not norm._forward_pre_hooks
        and not norm._forward_post_hooks
    )
