"""The native convolutions and batch norm equal Paddle's where used, and leave the rest to Paddle."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn

from ppghost.errors import ConfigError, ToolMissingError
from ppghost.nets import native
from ppghost.nets.depthwise import DepthwiseConv2D
from ppghost.nets.ghostnet import BlockSpec, GhostBottleneck
from ppghost.nets.kernels import load_library
from ppghost.nets.native import NativeKernels, Threads, fast_evaluation, find_threads, native_kernels
from ppghost.nets.norm import normalise
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


def pointwise(in_channels: int, out_channels: int) -> PointwiseConv2D:
    return PointwiseConv2D(in_channels, out_channels, 1, bias_attr=False)


def is_native(y: paddle.Tensor) -> bool:
    return "NativeConvolution" in y.grad_fn.name()


def run(layer: nn.Conv2D, x: np.ndarray, dy: np.ndarray, *, fast: bool) -> list[np.ndarray]:
    """Return output, input gradient and weight gradient, by the kernels or by Paddle's op."""
    picture = paddle.to_tensor(x, stop_gradient=False)
    layer.clear_gradients()
    y = layer(picture) if fast else nn.Conv2D.forward(layer, picture)
    assert is_native(y) is fast
    y.backward(paddle.to_tensor(dy))
    return [y.numpy(), picture.grad.numpy(), layer.weight.grad.numpy()]


def draw_case(layer: nn.Conv2D, shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the layer random weights; return a random input and a random gradient of its output."""
    draw = np.random.RandomState(seed)
    layer.weight.set_value(draw.randn(*layer.weight.shape).astype("float32"))
    sides = [-(-side // layer._stride[0]) for side in shape[2:]]
    dy_shape = (shape[0], layer._out_channels, *sides)
    return draw.randn(*shape).astype("float32"), draw.randn(*dy_shape).astype("float32")


def assert_close(ours: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for mine, theirs in zip(ours, expected):
        assert np.abs(mine - theirs).max() <= 1e-5 * max(np.abs(theirs).max(), 1e-6)


def assert_equal_to_paddle(layer: nn.Conv2D, shape: tuple[int, ...], seed: int) -> None:
    x, dy = draw_case(layer, shape, seed)
    assert_close(run(layer, x, dy, fast=True), run(layer, x, dy, fast=False))


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
    assert_equal_to_paddle(pointwise(shape[1], out_channels), shape, seed)


def run_norm(x: np.ndarray, dy: np.ndarray, seed: int, *, relu: bool, fast: bool) -> list[np.ndarray]:
    """Return output, three gradients and the moved statistics of a batch norm with a random affine part."""
    draw = np.random.RandomState(seed)
    norm = nn.BatchNorm2D(x.shape[1])
    norm.weight.set_value(draw.randn(x.shape[1]).astype("float32"))
    norm.bias.set_value(draw.randn(x.shape[1]).astype("float32"))
    picture = paddle.to_tensor(x, stop_gradient=False)
    if fast:
        y = normalise(norm, picture, relu=relu)
        assert "NativeNorm" in y.grad_fn.name()
    else:
        y = nn.functional.relu(norm(picture)) if relu else norm(picture)
    y.backward(paddle.to_tensor(dy))
    gradients = [picture.grad, norm.weight.grad, norm.bias.grad]
    return [tensor.numpy() for tensor in (y, *gradients, norm._mean, norm._variance)]


@needs_kernels
@settings(deadline=None, max_examples=60)
@given(ODD_MAPS.filter(lambda shape: shape[0] * shape[2] * shape[3] > 3), st.booleans(), st.integers(0, 1000))
def test_batch_norm_and_relu_equal_paddles(shape: tuple[int, ...], relu: bool, seed: int) -> None:
    draw = np.random.RandomState(seed)
    x = (draw.randn(*shape) * 3 + draw.randn()).astype("float32")
    dy = draw.randn(*shape).astype("float32")
    ours, paddles = (run_norm(x, dy, seed, relu=relu, fast=fast) for fast in (True, False))
    # Where a value is zero to rounding, the two may disagree on whether ReLU lets its gradient through.
    if relu and ((ours[0] > 0) != (paddles[0] > 0)).any():
        return
    for mine, theirs in zip(ours, paddles):
        assert np.abs(mine - theirs).max() <= 2e-5 * max(np.abs(theirs).max(), 1.0)


@needs_kernels
def test_batch_norm_lets_nan_through_relu() -> None:
    x = np.ones([2, 3, 4, 4], "float32")
    x[0, 1, 2, 3] = np.nan
    y = run_norm(x, x, 0, relu=True, fast=True)[0]
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()


@needs_kernels
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("x_there", [9.0, -9.0])
def test_a_gradient_that_is_not_finite_is_not_hidden_by_relu(value: float, x_there: float) -> None:
    draw = np.random.RandomState(0)
    x, dy = draw.randn(2, 3, 4, 4).astype("float32"), draw.randn(2, 3, 4, 4).astype("float32")
    x[0, 1, 2, 3], dy[0, 1, 2, 3] = x_there, value
    ours, paddles = (run_norm(x, dy, 0, relu=True, fast=fast) for fast in (True, False))
    assert not np.isfinite(ours[1]).all()
    for mine, theirs in zip(ours, paddles):
        np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(theirs))


def test_other_norms_are_left_to_paddle() -> None:
    x = paddle.randn([2, 3, 4, 4])
    hooked = nn.BatchNorm2D(3)
    seen = []
    hooked.register_forward_post_hook(lambda *_: seen.append(1))
    evaluated = nn.BatchNorm2D(3)
    evaluated.eval()
    others = [
        hooked,
        evaluated,
        nn.BatchNorm2D(3, use_global_stats=True),
        nn.BatchNorm2D(3, weight_attr=False),
    ]
    for norm in [*others, nn.InstanceNorm2D(3)]:
        y = normalise(norm, x, relu=True)
        np.testing.assert_array_equal(y.numpy(), nn.functional.relu(norm(x)).numpy())
    assert seen
    one = paddle.full([1, 3, 1, 1], 7.0)
    np.testing.assert_array_equal(normalise(nn.BatchNorm2D(3), one, relu=False).numpy(), one.numpy())


@needs_kernels
@pytest.mark.parametrize("shape", [(2, 3, 112, 112), (70, 9, 14, 14), (300, 6, 8, 8), (40, 5, 32, 32)])
def test_large_maps_and_batches_equal_paddles_op(shape: tuple[int, ...]) -> None:
    for stride in (1, 2):
        assert_equal_to_paddle(depthwise(shape[1], 5, stride), shape, seed=0)
    assert_equal_to_paddle(pointwise(shape[1], 20), shape, seed=0)


@needs_kernels
@pytest.mark.parametrize("most", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_of_this_processor_gives_the_same(most: str) -> None:
    try:
        used = NativeKernels(load_library(), find_threads(), most).instructions
        if used != most:
            pytest.skip(f"this processor has no {most}")
        for shape in [(3, 50, 7, 9), (64, 49, 2, 2), (2, 8, 33, 31)]:
            assert_equal_to_paddle(depthwise(shape[1], 3, 1), shape, seed=1)
            assert_equal_to_paddle(depthwise(shape[1], 5, 2), shape, seed=2)
            assert_equal_to_paddle(pointwise(shape[1], 61), shape, seed=3)
    finally:
        NativeKernels(load_library(), find_threads())


@needs_kernels
def test_the_number_of_threads_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    parallel = find_threads().parallel
    for layer, shape in [(depthwise(12, 3, 2), (40, 12, 9, 9)), (pointwise(12, 70), (40, 12, 9, 9))]:
        x, dy = draw_case(layer, shape, seed=0)
        results = []
        for count in (1, 2, 3):
            kernels = NativeKernels(load_library(), Threads(parallel, lambda count=count: count))
            monkeypatch.setattr(native, "native_kernels", lambda kernels=kernels: kernels)
            results.append(run(layer, x, dy, fast=True))
        for other in results[1:]:
            for one, two in zip(results[0], other):
                np.testing.assert_array_equal(one, two)


def convolve64(x: np.ndarray, w: np.ndarray, stride: int, groups: int) -> np.ndarray:
    """Return the convolution in float64, written as its definition: one product per kernel position."""
    kernel_size = w.shape[-1]
    padding = kernel_size // 2
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    rows, columns = (-(-side // stride) for side in x.shape[2:])
    y = np.zeros((x.shape[0], w.shape[0], rows, columns))
    for r in range(kernel_size):
        for c in range(kernel_size):
            seen = padded[:, :, r : r + stride * rows : stride, c : c + stride * columns : stride][
                :, :, :rows, :columns
            ]
            if groups == 1:
                y += np.einsum("oi,nihw->nohw", w[:, :, r, c], seen)
            else:
                y += w[None, :, 0, r, c, None, None] * seen
    return y


@needs_kernels
@pytest.mark.parametrize("layer", [depthwise(3, 3, 1), depthwise(3, 5, 2), pointwise(3, 4)])
def test_gradients_are_those_of_finite_differences_in_float64(layer: nn.Conv2D) -> None:
    x, dy = draw_case(layer, (2, 3, 5, 6), seed=4)
    y, dx, dw = run(layer, x, dy, fast=True)
    w = layer.weight.numpy().astype("float64")
    x64, stride, groups = x.astype("float64"), layer._stride[0], layer._groups
    np.testing.assert_allclose(y, convolve64(x64, w, stride, groups), rtol=1e-5, atol=1e-5)
    for values, gradient in ((x64, dx), (w, dw)):
        for index in np.ndindex(values.shape):
            losses = []
            for step in (1e-4, -2e-4):
                values[index] += step
                losses.append(float((convolve64(x64, w, stride, groups) * dy).sum()))
            values[index] += 1e-4
            assert (losses[0] - losses[1]) / 2e-4 == pytest.approx(gradient[index], rel=1e-4, abs=1e-5)


@needs_kernels
def test_views_that_are_not_contiguous_are_read_right() -> None:
    x = paddle.randn([2, 9, 11, 6]).transpose([0, 3, 2, 1])
    dy = paddle.randn([2, 9, 11, 6]).transpose([0, 3, 2, 1])
    assert not x.is_contiguous()
    for layer in (depthwise(6, 3, 1), pointwise(6, 6)):
        results = []
        for call in (layer, lambda x, layer=layer: nn.Conv2D.forward(layer, x)):
            picture = x.detach()
            picture.stop_gradient = False
            y = call(picture)
            results.append([y.numpy(), *(g.numpy() for g in paddle.grad(y, [picture, layer.weight], dy))])
        assert_close(*results)


@needs_kernels
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["x", "dy", "weight"])
def test_what_is_not_finite_spreads_as_in_paddles_op(value: float, place: str) -> None:
    for layer in (depthwise(3, 3, 1), depthwise(3, 5, 2), pointwise(3, 4)):
        x, dy = draw_case(layer, (2, 3, 4, 6), seed=5)
        spoiled = {"x": x, "dy": dy, "weight": layer.weight.numpy().copy()}
        spoiled[place][0, 0, 0, -1] = spoiled[place][1, -1, -1, 0] = value
        layer.weight.set_value(spoiled["weight"])
        for ours, paddles in zip(run(layer, x, dy, fast=True), run(layer, x, dy, fast=False)):
            np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(paddles))
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(paddles))


@needs_kernels
def test_frozen_weights_and_inputs_get_no_gradient() -> None:
    for make in (lambda: depthwise(4, 3, 2), lambda: pointwise(4, 4)):
        for is_frozen in (True, False):
            layer, x = make(), paddle.randn([2, 4, 6, 6])
            layer.weight.stop_gradient = is_frozen
            x.stop_gradient = not is_frozen
            layer(x).sum().backward()
            assert (layer.weight.grad is None) is is_frozen
            assert (x.grad is None) is not is_frozen


class Norm(nn.Layer):
    """A layer that is one call of `normalise`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._norm = nn.BatchNorm2D(channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return normalise(self._norm, x, relu=True)


@pytest.fixture(params=["depthwise", "pointwise", "norm"])
def walked(request: pytest.FixtureRequest) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Return a leaf, the input of a native layer made from it, and the mean of the layer's squared output."""
    layer = {"depthwise": depthwise(4, 3, 1), "pointwise": pointwise(4, 4), "norm": Norm(4)}[request.param]
    leaf = paddle.randn([2, 4, 5, 5])
    leaf.stop_gradient = False
    x = leaf * 2
    return leaf, x, layer(x).square().mean()


@needs_kernels
def test_an_input_that_was_changed_in_place_is_an_error(walked: tuple[paddle.Tensor, ...]) -> None:
    _, x, loss = walked
    x.add_(x)
    with pytest.raises(OSError, match="changed in place"):
        loss.backward()


@needs_kernels
def test_gradients_of_gradients_are_an_error_with_the_remedy(walked: tuple[paddle.Tensor, ...]) -> None:
    _, _, loss = walked
    with pytest.raises(OSError, match="PPGHOST_DEPTHWISE=native"):
        paddle.grad(loss, walked[0], create_graph=True)


@needs_kernels
def test_a_second_walk_over_a_graph_is_an_error_and_no_crash(walked: tuple[paddle.Tensor, ...]) -> None:
    leaf, _, loss = walked
    loss.backward(retain_graph=True)
    first = leaf.grad.numpy()
    with pytest.raises(OSError, match="twice"):
        loss.backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), first)


def test_everything_else_is_left_to_paddle() -> None:
    def conv(channels: int = 4, kernel_size: int = 3, **kwargs: object) -> DepthwiseConv2D:
        settings_ = {"padding": kernel_size // 2, "groups": channels, "bias_attr": False, **kwargs}
        return DepthwiseConv2D(channels, channels, kernel_size, **settings_)

    x = paddle.randn([2, 4, 8, 8])
    others = [
        conv(kernel_size=7),
        conv(padding=0),
        conv(padding="SAME"),
        conv(padding=[1, 2]),
        conv(padding_mode="reflect"),
        conv(dilation=2, padding=2),
        conv(stride=3),
        conv(stride=[1, 2]),
        conv(groups=2),
        conv(bias_attr=None),
        PointwiseConv2D(4, 4, 1),
        PointwiseConv2D(4, 4, 1, stride=2, bias_attr=False),
        PointwiseConv2D(4, 4, 1, groups=2, bias_attr=False),
        PointwiseConv2D(4, 4, 3, padding=1, bias_attr=False),
    ]
    for layer in others:
        y = layer(x)
        assert not is_native(y), layer
        np.testing.assert_array_equal(y.numpy(), nn.Conv2D.forward(layer, x).numpy())
    evaluated = conv()
    evaluated.eval()
    assert not is_native(evaluated(x))
    assert not is_native(conv().to(dtype="float64")(x.astype("float64")))
    layer = conv()
    with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):  # which Paddle itself ignores on most CPUs
        assert layer(x).dtype == nn.Conv2D.forward(layer, x).dtype


@needs_kernels
def test_evaluations_of_a_training_run_use_the_kernels_and_change_nothing() -> None:
    net = GhostBottleneck(3, BlockSpec(5, 12, 8, True, 2))
    for _ in range(20):  # the running statistics become those of the pictures
        net(paddle.randn([8, 3, 17, 9]) * 3 + 1)
    net.eval()
    x = paddle.randn([4, 3, 17, 9], "float32") * 3 + 1
    statistics = {name: value.numpy() for name, value in net.state_dict().items()}
    expected = net(x)
    with fast_evaluation():
        y = net(x)
        assert is_native(net.ghost_module_1.primary_conv._conv(x))
    assert not is_native(net.ghost_module_1.primary_conv._conv(x))
    assert_close([y.numpy()], [expected.numpy()])
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), statistics[name], err_msg=name)


@needs_kernels
def test_a_wrong_number_of_channels_is_paddles_error() -> None:
    with pytest.raises(ValueError, match="channel"):
        pointwise(4, 4)(paddle.randn([1, 5, 2, 2]))


def test_export_does_not_notice(tmp_path: Path) -> None:
    net = GhostBottleneck(3, BlockSpec(3, 8, 6, False, 2))
    net.eval()
    x = paddle.randn([1, 3, 8, 8])
    spec = [paddle.static.InputSpec([None, 3, 8, 8], "float32")]
    paddle.jit.save(net, str(tmp_path / "net"), input_spec=spec)
    loaded = paddle.jit.load(str(tmp_path / "net"))
    np.testing.assert_allclose(loaded(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)


def test_a_static_graph_of_a_training_network_uses_paddles_ops() -> None:
    layer = depthwise(3, 3, 1)
    x = paddle.randn([2, 3, 8, 8])
    for full_graph in (True, False):
        static = paddle.jit.to_static(depthwise(3, 3, 1), full_graph=full_graph)
        static.weight.set_value(layer.weight)
        np.testing.assert_allclose(static(x).numpy(), layer(x).numpy(), rtol=1e-4, atol=1e-5)


@needs_kernels
def test_200_steps_end_at_the_loss_of_paddles_op(monkeypatch: pytest.MonkeyPatch) -> None:
    def train() -> float:
        paddle.seed(0)
        net = nn.Sequential(
            GhostBottleneck(3, BlockSpec(5, 12, 8, True, 2)),
            GhostBottleneck(8, BlockSpec(3, 16, 8, False, 1)),
            nn.Flatten(),
            nn.Linear(8 * 16, 4),
        )
        optimizer = paddle.optimizer.Momentum(0.02, parameters=net.parameters())
        draw = np.random.RandomState(0)
        pictures = draw.randn(200, 8, 3, 8, 8).astype("float32")
        losses = []
        for x in pictures:
            label = paddle.to_tensor((x.mean(axis=(1, 2, 3)) > 0) * 2 + (x[:, 0].mean(axis=(1, 2)) > 0))
            loss = nn.functional.cross_entropy(net(paddle.to_tensor(x)), label.astype("int64"))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
            losses.append(float(loss))
        return float(np.mean(losses[-20:]))

    fast = train()
    monkeypatch.setenv("PPGHOST_DEPTHWISE", "native")
    assert fast == pytest.approx(train(), rel=0.01)


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Forget which kernels were loaded, before and after."""
    native._load_kernels.cache_clear()
    yield
    native._load_kernels.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_an_unknown_choice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPGHOST_DEPTHWISE", "quick")
    with pytest.raises(ConfigError, match="auto, fast, native"):
        native_kernels()


@pytest.mark.usefixtures("forgetful")
def test_native_keeps_paddles_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPGHOST_DEPTHWISE", "native")
    assert not is_native(depthwise(2, 3, 1)(paddle.randn([1, 2, 3, 3])))


@needs_kernels
def test_an_empty_choice_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPGHOST_DEPTHWISE", "")
    assert native_kernels() is not None


@pytest.mark.usefixtures("forgetful")
def test_without_a_compiler_training_goes_on_and_says_why_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PPGHOST_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.delenv("PPGHOST_DEPTHWISE", raising=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not is_native(depthwise(2, 3, 1)(paddle.randn([1, 2, 3, 3])))
    assert len(caplog.records) == 1
    assert "no-such-compiler" in caplog.text
    assert "gcc" in caplog.text
    monkeypatch.setenv("PPGHOST_DEPTHWISE", "fast")
    with pytest.raises(ToolMissingError, match="no-such-compiler"):
        native_kernels()


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("fault", ["a compiler that fails", "a cache that cannot be written"])
def test_a_failed_build_falls_back_with_the_reason(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PPGHOST_DEPTHWISE", raising=False)
    if fault == "a compiler that fails":
        monkeypatch.setenv("PPGHOST_HOME", str(tmp_path))
        monkeypatch.setenv("CC", "false")
    else:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("PPGHOST_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert native_kernels() is None
    assert ("compiler failed" if fault == "a compiler that fails" else "file") in caplog.text
    assert not list(tmp_path.glob("**/*.so"))
