"""Averaged weights: PaddleClas' recorded average, the formula, lending, resume, foreign states."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from recipe_reference import EMA_DECAY, RECORDED, shift_toy, toy_net

from ppghost.errors import WeightsError
from ppghost.train.ema import Ema


def arrays(state):
    return {name: tensor.numpy().copy() for name, tensor in state.items()}


def equal(left, right):
    return left.keys() == right.keys() and all((left[name] == right[name]).all() for name in left)


def test_the_average_equals_paddleclas():
    net = toy_net()
    ema = Ema(net, EMA_DECAY)
    for step in range(3):
        shift_toy(net, step)
        ema.update(net)
    state = arrays(ema.state_dict())
    assert list(state) == list(RECORDED["ema"])
    assert "bn._mean" in state
    for name, expected in RECORDED["ema"].items():
        assert state[name] == pytest.approx(np.array(expected), rel=1e-6)


def test_it_starts_as_a_copy_and_leaves_the_network_alone():
    net = toy_net()
    before = arrays(net.state_dict())
    ema = Ema(net, 0.5)
    assert equal(arrays(ema.state_dict()), before)
    shift_toy(net, 0)
    shifted = arrays(net.state_dict())
    ema.update(net)
    assert equal(arrays(net.state_dict()), shifted)
    for name, value in arrays(ema.state_dict()).items():
        assert value == pytest.approx((before[name] + shifted[name]) / 2, rel=1e-6)


def test_the_network_borrows_the_average_and_gets_its_own_weights_back():
    net = toy_net()
    ema = Ema(net, 0.5)
    shift_toy(net, 0)
    ema.update(net)
    own, average = arrays(net.state_dict()), arrays(ema.state_dict())
    with ema.applied(net):
        assert equal(arrays(net.state_dict()), average)
    assert equal(arrays(net.state_dict()), own)
    assert equal(arrays(ema.state_dict()), average)
    with pytest.raises(KeyboardInterrupt), ema.applied(net):
        raise KeyboardInterrupt
    assert equal(arrays(net.state_dict()), own)


def test_borrowed_weights_are_those_that_an_optimizer_trains():
    net = toy_net()
    ema = Ema(net, 0.5)
    kept = [(id(parameter), parameter.stop_gradient) for parameter in net.parameters()]
    with ema.applied(net):
        assert [(id(parameter), parameter.stop_gradient) for parameter in net.parameters()] == kept


def test_a_resumed_average_continues_bit_for_bit(tmp_path):
    net = toy_net()
    whole, first = Ema(net, 0.9), Ema(net, 0.9)
    shift_toy(net, 0)
    whole.update(net)
    first.update(net)
    paddle.save(first.state_dict(), str(tmp_path / "average.pdema"))
    second = Ema(toy_net(), 0.9)
    second.load_state_dict(paddle.load(str(tmp_path / "average.pdema")))
    shift_toy(net, 1)
    whole.update(net)
    second.update(net)
    assert equal(arrays(whole.state_dict()), arrays(second.state_dict()))


def test_low_precision_is_averaged_in_float32_and_counters_are_copied():
    net = toy_net()
    net.to(dtype="bfloat16")
    net.register_buffer("updates", paddle.to_tensor([1], dtype="int64"))
    net.register_buffer("scratch", paddle.to_tensor([1.0]), persistable=False)
    ema = Ema(net, 0.999)
    start = arrays(ema.state_dict())
    assert start["fc.weight"].dtype == np.float32
    assert "scratch" not in start
    net.updates.set_value(paddle.to_tensor([7], dtype="int64"))
    with paddle.no_grad():
        paddle.assign(net.fc.weight + 1, output=net.fc.weight)
    ema.update(net)
    after = arrays(ema.state_dict())
    assert after["updates"].tolist() == [7]
    assert after["fc.weight"] - start["fc.weight"] == pytest.approx(0.001, rel=0.02)
    with ema.applied(net):
        assert net.fc.weight.dtype == paddle.bfloat16


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda state: state.pop("fc.bias"), "lack 'fc.bias'"),
        (lambda state: state.update(other=state["fc.bias"]), "unknown 'other'"),
        (lambda state: state.update({"fc.bias": paddle.zeros([5])}), "shape"),
    ],
)
def test_a_foreign_average_is_refused_and_changes_nothing(change, hint):
    ema = Ema(toy_net(), 0.9)
    before = arrays(ema.state_dict())
    state = {name: tensor + 1 for name, tensor in ema.state_dict().items()}
    change(state)
    with pytest.raises(WeightsError, match=hint):
        ema.load_state_dict(state)
    assert equal(arrays(ema.state_dict()), before)
