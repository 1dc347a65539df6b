"""Mixed precision: nothing where there is none, a refusal on the CPU, the real thing on a GPU."""

from __future__ import annotations

import paddle
import pytest
from recipe_reference import toy_net

from ppghost.config import recipe
from ppghost.errors import ConfigError
from ppghost.train.amp import MixedPrecision

needs_gpu = pytest.mark.skipif(
    not paddle.is_compiled_with_cuda(), reason="mixed precision needs a GPU: install paddlepaddle-gpu"
)


def train(amp, steps=3):
    """Train the toy for some steps and return its weights by name."""
    net = toy_net()
    optimizer = paddle.optimizer.SGD(0.1, parameters=net.parameters())
    amp.prepare(net, [optimizer])
    data = paddle.to_tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [0.0, 1.0, 5.0]])
    for _ in range(steps):
        with amp.autocast(training=True):
            loss = (net(data) ** 2).mean()
        amp.scale(loss.astype("float32")).backward()
        amp.step(optimizer)
        optimizer.clear_grad()
    return {name: tensor.astype("float32").numpy() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("spec", [None, recipe.AMP(use_amp=False, level="O2", scale_loss=128.0)])
def test_full_precision_is_plain_training(spec, recwarn):
    amp = MixedPrecision(spec, "cpu")
    loss = paddle.to_tensor(2.0)
    assert amp.scale(loss) is loss
    assert amp.state_dict() == {}
    amp.load_state_dict({"scale": 3.0})
    weights = train(amp)
    plain = train(MixedPrecision(None, "gpu:0"))
    assert all((weights[name] == plain[name]).all() for name in plain)
    assert not [warning for warning in recwarn.list if "amp" in str(warning.message).lower()]


def test_one_step_updates_all_optimizers():
    net = toy_net()
    optimizers = [
        paddle.optimizer.SGD(1.0, parameters=net.fc.parameters()),
        paddle.optimizer.SGD(2.0, parameters=net.bn.parameters()),
    ]
    before = net.fc.bias.numpy().copy(), net.bn.bias.numpy().copy()
    for parameter in net.parameters():
        parameter.grad = paddle.ones_like(parameter)
    MixedPrecision(None, "cpu").step(*optimizers)
    assert before[0] - net.fc.bias.numpy() == pytest.approx(1.0, abs=1e-5)
    assert before[1] - net.bn.bias.numpy() == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("level", ["O1", "O2"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_cpu_has_no_mixed_precision_and_says_so(level, dtype):
    with pytest.raises(ConfigError, match="AMP.use_amp=False"):
        MixedPrecision(recipe.AMP(level=level, dtype=dtype), "cpu")


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this is about Paddle without a GPU")
@pytest.mark.filterwarnings("ignore:.*no effect:UserWarning")
def test_paddle_itself_still_computes_in_float32_on_the_cpu():
    # The refusal above rests on this; if it fails, Paddle has learnt it and the refusal should go.
    with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
        assert paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2])).dtype == paddle.float32


@needs_gpu
@pytest.mark.parametrize("level", ["O1", "O2"])
def test_low_precision_trains_close_to_full_precision(level):
    amp = MixedPrecision(recipe.AMP(level=level, scale_loss=128.0, use_dynamic_loss_scaling=True), "gpu")
    weights, plain = train(amp), train(MixedPrecision(None, "gpu"))
    for name in plain:
        assert weights[name] == pytest.approx(plain[name], rel=0.02, abs=0.02)
    other = MixedPrecision(amp.spec, "gpu")
    other.load_state_dict(amp.state_dict())
    assert other.state_dict() == amp.state_dict()


@needs_gpu
def test_evaluation_is_in_full_precision_unless_asked():
    product = lambda: paddle.matmul(paddle.ones([2, 2]), paddle.ones([2, 2])).dtype  # noqa: E731 - a probe
    for asked, dtype in ((False, paddle.float32), (True, paddle.float16)):
        with MixedPrecision(recipe.AMP(use_fp16_test=asked), "gpu").autocast(training=False):
            assert product() == dtype
