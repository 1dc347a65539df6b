"""Optimizers: PaddleClas' recorded weights, NumPy's, decay by parameter, scopes, resume, refusals."""

from __future__ import annotations

import logging

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddle import nn
from recipe_reference import EPOCHS, RECORDED, STEPS, bound, gradient, toy_net, train_toy

from ppghost.config import recipe
from ppghost.errors import ConfigError, GhostError
from ppghost.train.optim import build_optimizers

CONSTANT = {"name": "Constant", "learning_rate": 0.1}


def build(net, *trees, **keys):
    specs = [bound(tree, recipe.AnyOptimizer) for tree in trees]
    return build_optimizers(specs, EPOCHS, STEPS, net, **keys)


def trainable(net):
    """Return name -> parameter; Paddle counts BatchNorm's running statistics among the parameters, too."""
    return {name: parameter for name, parameter in net.named_parameters() if not parameter.stop_gradient}


def weights_of(net):
    return {name: parameter.numpy().copy() for name, parameter in trainable(net).items()}


def trained(tree, own_regularizer=True, steps=4):
    """Return the weights of the toy after training with one optimizer."""
    net = toy_net(own_regularizer)
    (optimizer,), (schedule,) = build(net, tree)
    train_toy(net, optimizer, schedule, steps)
    return weights_of(net)


def decayed(tree, own_regularizer=True):
    """Return the names of the parameters that a step without gradients moves."""
    net = toy_net(own_regularizer)
    (optimizer,), _ = build(net, tree)
    before = weights_of(net)
    for parameter in net.parameters():
        parameter.grad = paddle.zeros_like(parameter)
    optimizer.step()
    return {name for name, value in weights_of(net).items() if (value != before[name]).any()}


@pytest.mark.parametrize(
    ("case", "own_regularizer"),
    [
        *((case, True) for case in RECORDED["optimizers"]),
        *((case, False) for case in RECORDED["grouped_optimizers"]),
    ],
    ids=lambda value: value["config"]["name"] if isinstance(value, dict) else "",
)
def test_weights_equal_paddleclas(case, own_regularizer):
    weights = trained(case["config"], own_regularizer)
    assert weights.keys() < case["weights"].keys()
    for name, value in weights.items():
        expected = case["weights"][name]
        assert value == pytest.approx(np.array(expected), rel=1e-6, abs=1e-7), name


def test_every_optimizer_is_recorded():
    assert {case["config"]["name"] for case in RECORDED["optimizers"]} == set(recipe.OPTIMIZERS)


def numpy_momentum(weight, step, index, state, *, rate, momentum, decay, nesterov):
    slope = gradient(step, index, list(weight.shape)).astype("float64") + decay * weight
    state["v"] = momentum * state.get("v", 0.0) + slope
    return weight - rate * (slope + momentum * state["v"] if nesterov else state["v"])


def numpy_adam(weight, step, index, state, *, rate, decay, decoupled):
    slope = gradient(step, index, list(weight.shape)).astype("float64")
    if decoupled:
        weight = weight * (1 - rate * decay)
    else:
        slope = slope + decay * weight
    state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * slope
    state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * slope**2
    mean, square = state["m"] / (1 - 0.9 ** (step + 1)), state["v"] / (1 - 0.999 ** (step + 1))
    return weight - rate * mean / (np.sqrt(square) + 1e-8)


def by_numpy(rule, steps=4, **keys):
    """Return the toy's weights, without regularizers of their own, after steps of a NumPy rule."""
    found = {}
    for index, (name, parameter) in enumerate(trainable(toy_net(False)).items()):
        weight, state = parameter.numpy().astype("float64"), {}
        for step in range(steps):
            weight = rule(weight, step, index, state, **keys)
        found[name] = weight
    return found


@settings(deadline=None, max_examples=15)
@given(
    rate=st.floats(0.01, 0.5), momentum=st.floats(0, 0.95), decay=st.floats(0, 0.3), nesterov=st.booleans()
)
def test_momentum_is_the_rule_of_the_book(rate, momentum, decay, nesterov):
    tree = {
        "name": "Momentum",
        "momentum": momentum,
        "use_nesterov": nesterov,
        "weight_decay": decay,
        "lr": {"name": "Constant", "learning_rate": rate},
    }
    expected = by_numpy(numpy_momentum, rate=rate, momentum=momentum, decay=decay, nesterov=nesterov)
    weights = trained(tree, own_regularizer=False)
    for name in expected:
        assert weights[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_is_the_rule_of_the_paper(name):
    tree = {"name": name, "weight_decay": 0.1, "lr": CONSTANT}
    expected = by_numpy(numpy_adam, rate=0.1, decay=0.1, decoupled=name == "AdamW")
    weights = trained(tree, own_regularizer=False)
    for key in expected:
        assert weights[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-5), key


MOMENTUM = {"name": "Momentum", "momentum": 0.9, "lr": CONSTANT, "weight_decay": 0.1}
RMSPROP = {"name": "RMSProp", "lr": CONSTANT, "weight_decay": 0.1}
ADAMW = {"name": "AdamW", "lr": CONSTANT, "weight_decay": 0.1}
ALL = {"fc.weight", "fc.bias", "bn.weight", "bn.bias"}


@pytest.mark.parametrize("tree", [MOMENTUM, RMSPROP, ADAMW], ids=lambda tree: tree["name"])
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, ALL),
        ({"one_dim_param_no_weight_decay": True}, {"fc.weight"}),
        ({"no_weight_decay_name": "bn"}, {"fc.weight", "fc.bias"}),
        ({"no_weight_decay_name": ".bias fc"}, {"bn.weight"}),
        ({"no_weight_decay_name": "bn", "one_dim_param_no_weight_decay": True}, {"fc.weight"}),
    ],
)
def test_decay_reaches_exactly_the_parameters_that_are_not_freed(tree, keys, expected):
    assert decayed({**tree, **keys}, own_regularizer=False) == expected


@pytest.mark.parametrize("keys", [{}, {"no_weight_decay_name": "fc.bias"}])
def test_a_batch_norm_that_says_no_decay_keeps_saying_so(keys):
    # PaddleClas' parameter groups overrule it as soon as no_weight_decay_name is set.
    assert decayed({**MOMENTUM, **keys}) == {"fc.weight", "fc.bias"} - set(keys.values())


def test_l1_decay_pulls_by_the_sign():
    net = toy_net(False)
    (optimizer,), _ = build(
        net,
        {"name": "Momentum", "momentum": 0.0, "lr": CONSTANT, "regularizer": {"name": "L1", "coeff": 0.5}},
    )
    net.fc.weight.set_value(-net.fc.weight)
    before = weights_of(net)
    for parameter in net.parameters():
        parameter.grad = paddle.zeros_like(parameter)
    optimizer.step()
    for name, value in weights_of(net).items():
        assert value == pytest.approx(before[name] - 0.1 * 0.5 * np.sign(before[name]), abs=1e-6)


def test_gradients_are_clipped_one_by_one():
    net = toy_net()
    (optimizer,), _ = build(net, {"name": "SGD", "lr": CONSTANT, "clip_norm": 1.0})
    before = weights_of(net)
    for parameter in net.parameters():
        parameter.grad = paddle.full_like(parameter, 100.0)
    optimizer.step()
    for name, value in weights_of(net).items():
        assert np.linalg.norm(before[name] - value) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.filterwarnings("ignore:When training, we now always track:UserWarning")
def test_frozen_parameters_are_left_out():
    net = toy_net()
    net.fc.weight.stop_gradient = True
    (optimizer,), (schedule,) = build(net, MOMENTUM)
    before = {name: parameter.numpy().copy() for name, parameter in net.named_parameters()}
    net(paddle.rand([2, 3])).sum().backward()
    optimizer.step()
    assert (net.fc.weight.numpy() == before["fc.weight"]).all()
    assert (net.bn.bias.numpy() != before["bn.bias"]).all()
    assert schedule.last_lr == 0.1


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("all", ALL),
        ("Toy", ALL),
        ("bn", {"bn.weight", "bn.bias"}),
        ("b.*|nothing", {"bn.weight", "bn.bias"}),
    ],
)
def test_a_scope_chooses_what_is_trained(scope, expected):
    assert decayed({**ADAMW, "scope": scope}) == expected


def test_scopes_share_out_a_network_with_nested_layers():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Linear(2, 1))
    optimizers, schedules = build(
        net,
        {"name": "SGD", "lr": CONSTANT, "scope": r"0(\..*)?"},
        {"name": "SGD", "lr": {"name": "Constant", "learning_rate": 0.2}, "scope": "1"},
    )
    net(paddle.ones([1, 2])).sum().backward()
    before = weights_of(net)
    for optimizer in optimizers:
        optimizer.step()
    for name, parameter in net.named_parameters():
        rate = 0.2 if name.startswith("1.") else 0.1
        moved = before[name] - rate * parameter.grad.numpy()
        assert parameter.numpy() == pytest.approx(moved, abs=1e-6), name
    assert [schedule.last_lr for schedule in schedules] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("scopes", "hint"),
    [
        (["backbone"], "Accepted"),
        (["all", "fc"], "both train 'fc.weight'"),
        (["CenterLoss"], "loss"),
        (["(fc"], "regular expression"),
    ],
)
def test_a_scope_that_cannot_be_meant_is_refused(scopes, hint):
    with pytest.raises(ConfigError, match=hint):
        build(toy_net(), *({**ADAMW, "scope": scope} for scope in scopes))


def test_two_networks_must_not_share_momentum():
    with paddle.utils.unique_name.guard():
        one = nn.Linear(2, 2)
    with paddle.utils.unique_name.guard():
        other = nn.Linear(2, 2)
    with pytest.raises(GhostError, match="one momentum"):
        build(nn.LayerList([one, other]), MOMENTUM)


@pytest.mark.parametrize("case", RECORDED["optimizers"], ids=lambda case: case["config"]["name"])
def test_an_optimizer_continues_from_its_state_bit_for_bit(case, tmp_path):
    whole = trained(case["config"], steps=4)
    # Paddle numbers an optimizer's tensors by the generator of names, so a guard goes around a whole run.
    with paddle.utils.unique_name.guard():
        net = toy_net()
        (optimizer,), (schedule,) = build(net, case["config"])
        train_toy(net, optimizer, schedule, 2)
        paddle.save(optimizer.state_dict(), str(tmp_path / "half.pdopt"))
    values = weights_of(net)
    with paddle.utils.unique_name.guard():
        again = toy_net()
        for name, parameter in trainable(again).items():
            parameter.set_value(values[name])
        (optimizer,), (schedule,) = build(again, case["config"])
        optimizer.set_state_dict(paddle.load(str(tmp_path / "half.pdopt")))
        train_toy(again, optimizer, schedule, steps=2, start=2)
    for name, value in weights_of(again).items():
        assert (value == whole[name]).all(), name


def test_the_rate_is_scaled_to_the_batch():
    lr = {"name": "Cosine", "learning_rate": 0.8, "auto_scale": True}
    tree = {"name": "Momentum", "momentum": 0.9, "lr": lr}
    _, (schedule,) = build(toy_net(), tree, total_batch=512)
    assert schedule.last_lr == pytest.approx(0.2)
    with pytest.raises(ValueError, match="total_batch"):
        build(toy_net(), tree)


@pytest.mark.parametrize("case", RECORDED["optimizers"], ids=lambda case: case["config"]["name"])
def test_building_leaves_logs_and_regularizers_alone(case, caplog, capfd, recwarn):
    caplog.set_level(logging.DEBUG)
    net = toy_net()
    build(net, case["config"])
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    if not case["config"].get("no_weight_decay_name"):
        assert net.fc.weight.regularizer is None
        assert net.bn.weight.regularizer is not None
