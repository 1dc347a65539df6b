"""The native convolutions equal Paddle's where they are used, and leave everything else to Paddle."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn

from ppghost.nets.depthwise import DepthwiseConv2D
from ppghost.nets.native import native_kernels
from ppghost.nets.pointwise import PointwiseConv2D

needs_kernels = pytest.mark.skipif(
    native_kernels() is None, reason="no compiled kernels here: install a C compiler (cc, gcc or clang)"
)
ODD_MAPS = st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 35), st.integers(1, 35)).filter(
    lambda shape: np.prod(shape) < 60_000
)


def depthwise(channels: int, kernel_size: int, stride: int) -> DepthwiseConv2D:
    padding = kernel_size // 2
    return DepthwiseConv2D(
        channels, channels, kernel_size, stride=stride, padding=padding, groups=channels, bias_attr=False
    )


def run(layer: nn.Conv2D, x: np.ndarray, dy: np.ndarray, *, fast: bool) -> list[np.ndarray]:
    """Return output, input gradient and weight gradient, by the kernels or by Paddle's op."""
    picture = paddle.to_tensor(x, stop_gradient=False)
    layer.clear_gradients()
    y = layer(picture) if fast else nn.Conv2D.forward(layer, picture)
    assert ("Native" in type(y.grad_fn).__name__ + str(y.grad_fn.name())) is fast
    y.backward(paddle.to_tensor(dy))
    return [y.numpy(), picture.grad.numpy(), layer.weight.grad.numpy()]


def assert_equal_to_paddle(layer: nn.Conv2D, shape: tuple[int, ...], seed: int) -> None:
    draw = np.random.RandomState(seed)
    layer.weight.set_value(draw.randn(*layer.weight.shape).astype("float32"))
    x = draw.randn(*shape).astype("float32")
    stride = layer._stride[0]
    out_shape = (shape[0], layer._out_channels, *(-(-side // stride) for side in shape[2:]))
    dy = draw.randn(*out_shape).astype("float32")
    for ours, paddles in zip(run(layer, x, dy, fast=True), run(layer, x, dy, fast=False)):
        assert np.abs(ours - paddles).max() <= 1e-5 * max(np.abs(paddles).max(), 1e-6)


@needs_kernels
@settings(deadline=None, max_examples=60)
@given(ODD_MAPS, st.sampled_from([3, 5]), st.sampled_from([1, 2]), st.integers(0, 1000))
def test_depthwise_equals_paddles_op(
    shape: tuple[int, ...], kernel_size: int, stride: int, seed: int
) -> None:
    assert_equal_to_paddle(depthwise(shape[1], kernel_size, stride), shape, seed)


@needs_kernels
@settings(deadline=None, max_examples=60)
@given(ODD_MAPS, st.integers(1, 100), st.integers(0, 1000))
def test_pointwise_equals_paddles_op(shape: tuple[int, ...], out_channels: int, seed: int) -> None:
    assert_equal_to_paddle(PointwiseConv2D(shape[1], out_channels, 1, bias_attr=False), shape, seed)
