"""The fast depthwise convolution equals Paddle's op where it is used, and leaves the rest to it."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppghost.nets.depthwise import DepthwiseConv2D, fast_kernels

needs_kernels = pytest.mark.skipif(
    fast_kernels() is None, reason="no compiled kernels here: install a C compiler (cc, gcc or clang)"
)


def make_layer(channels: int, kernel_size: int, stride: int) -> DepthwiseConv2D:
    return DepthwiseConv2D(
        channels,
        channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=channels,
        bias_attr=False,
    )


def run(layer: DepthwiseConv2D, x: np.ndarray, dy: np.ndarray, *, fast: bool) -> list[np.ndarray]:
    """Return output, input gradient and weight gradient, by the kernels or by Paddle's op."""
    picture = paddle.to_tensor(x, stop_gradient=False)
    layer.train() if fast else layer.eval()
    layer.clear_gradients()
    y = layer(picture)
    y.backward(paddle.to_tensor(dy))
    return [y.numpy(), picture.grad.numpy(), layer.weight.grad.numpy()]


def output_shape(x: np.ndarray, stride: int) -> tuple[int, ...]:
    return (*x.shape[:2], *(-(-side // stride) for side in x.shape[2:]))


def relative_error(given_: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(given_ - expected).max() / max(float(np.abs(expected).max()), 1e-6))


@needs_kernels
@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 35), st.integers(1, 35)).filter(
        lambda shape: np.prod(shape) < 60_000
    ),
    kernel_size=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
def test_equals_paddles_op(shape: tuple[int, ...], kernel_size: int, stride: int, seed: int) -> None:
    draw = np.random.RandomState(seed)
    layer = make_layer(shape[1], kernel_size, stride)
    layer.weight.set_value(draw.randn(*layer.weight.shape).astype("float32"))
    x = draw.randn(*shape).astype("float32")
    dy = draw.randn(*output_shape(x, stride)).astype("float32")
    for ours, paddles in zip(run(layer, x, dy, fast=True), run(layer, x, dy, fast=False)):
        assert relative_error(ours, paddles) < 1e-5
