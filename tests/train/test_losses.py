"""Losses: PaddleClas' recorded numbers, NumPy's, gradients, and the two defects that are not inherited."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_reference import RECORDED, bound, samples

from ppghost.config import recipe
from ppghost.errors import ConfigError
from ppghost.train.losses import build_loss


def build(tree):
    return build_loss(bound(tree, tuple[recipe.AnyLoss, ...]))


def reference(logits, soft_labels, epsilon=0.0):
    """Return the cross entropy of each sample, float64 [N]."""
    logits = logits.astype("float64")
    shifted = logits - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    smooth = (1 - epsilon) * soft_labels + epsilon / logits.shape[1]
    return -(smooth * log_probabilities).sum(1)


@pytest.mark.parametrize(
    "case", RECORDED["losses"], ids=lambda case: "+".join(name for one in case["config"] for name in one)
)
def test_names_order_and_numbers_equal_paddleclas(case):
    logits, hard, soft = samples()
    values = build(case["config"])(
        paddle.to_tensor(logits), paddle.to_tensor(hard if case["labels"] == "hard" else soft)
    )
    assert list(values) == list(case["values"])
    assert {name: float(value) for name, value in values.items()} == pytest.approx(case["values"], rel=1e-6)


def test_every_loss_is_recorded():
    kinds = ("losses", "distillation_losses")
    assert {
        name for kind in kinds for case in RECORDED[kind] for one in case["config"] for name in one
    } == set(recipe.LOSSES)


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 5),
    classes=st.integers(2, 6),
    epsilon=st.sampled_from([None, 0.0, 0.1, 0.6]),
    reduction=st.sampled_from(["mean", "sum"]),
    column=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_hard_labels_of_both_shapes(count, classes, epsilon, reduction, column, seed):
    rng = np.random.RandomState(seed)
    logits = rng.normal(0, 5, (count, classes)).astype("float32")
    labels = rng.randint(0, classes, count)
    loss = build([{"CELoss": {"epsilon": epsilon, "reduction": reduction}}])
    value = loss(paddle.to_tensor(logits), paddle.to_tensor(labels[:, None] if column else labels))["loss"]
    losses = reference(logits, np.eye(classes)[labels], epsilon or 0.0)
    assert value.shape == []
    assert float(value) == pytest.approx(
        losses.mean() if reduction == "mean" else losses.sum(), rel=1e-4, abs=1e-5
    )


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(["CELoss", "SoftTargetCrossEntropy"]),
    count=st.integers(1, 5),
    classes=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_soft_labels_are_taken_as_they_are(name, count, classes, seed):
    rng = np.random.RandomState(seed)
    logits = rng.normal(0, 5, (count, classes)).astype("float32")
    soft = rng.dirichlet(np.ones(classes), count).astype("float32")
    value = build([{name: {"weight": 1.0}}])(paddle.to_tensor(logits), paddle.to_tensor(soft))["loss"]
    assert float(value) == pytest.approx(reference(logits, soft).mean(), rel=1e-4, abs=1e-5)


def test_labels_as_many_as_classes_are_still_indexes():
    logits = paddle.to_tensor([[5.0, 0.0], [0.0, 5.0]])
    value = build([{"CELoss": {}}])(logits, paddle.to_tensor([0, 1]))["loss"]
    assert float(value) == pytest.approx(np.log1p(np.exp(-5.0)), rel=1e-4)


def test_one_hot_labels_give_the_loss_of_their_indexes():
    logits = paddle.to_tensor(samples()[0])
    indexes = paddle.to_tensor([0, 1, 2, 3, 0, 1])
    one_hot = paddle.nn.functional.one_hot(indexes, 4)
    for tree in ([{"CELoss": {}}], [{"CELoss": {"epsilon": 0.1}}]):
        loss = build(tree)
        assert float(loss(logits, one_hot)["loss"]) == pytest.approx(
            float(loss(logits, indexes)["loss"]), rel=1e-6
        )


def test_the_weight_of_a_single_loss_counts_in_value_and_gradient():
    logits, hard, _ = samples()
    gradients = []
    for weight in (1.0, 0.25):
        tensor = paddle.to_tensor(logits, stop_gradient=False)
        values = build([{"CELoss": {"weight": weight}}])(tensor, paddle.to_tensor(hard))
        assert float(values["CELoss"]) == float(values["loss"])
        values["loss"].backward()
        gradients.append(tensor.grad.numpy())
    assert gradients[1] == pytest.approx(gradients[0] * 0.25, rel=1e-6)


def test_the_gradient_is_probability_minus_label():
    logits, hard, _ = samples()
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    build([{"CELoss": {"epsilon": 0.1}}])(tensor, paddle.to_tensor(hard))["loss"].backward()
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    smooth = 0.9 * np.eye(4)[hard[:, 0]] + 0.1 / 4
    expected = (exponents / exponents.sum(1, keepdims=True) - smooth) / len(logits)
    assert tensor.grad.numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "labels",
    [np.zeros((6, 4), "int64"), np.zeros(5, "int64"), np.zeros((6, 3), "float32"), np.zeros(6, "float32")],
)
def test_labels_that_fit_nothing_are_refused(labels):
    for tree in ([{"CELoss": {}}], [{"CELoss": {"epsilon": 0.1}}], [{"SoftTargetCrossEntropy": {}}]):
        with pytest.raises(ValueError, match="class indexes"):
            build(tree)(paddle.to_tensor(samples()[0]), paddle.to_tensor(labels))


def test_a_loss_for_soft_labels_refuses_indexes():
    logits, hard, _ = samples()
    with pytest.raises(ConfigError, match="Use CELoss"):
        build([{"SoftTargetCrossEntropy": {}}])(paddle.to_tensor(logits), paddle.to_tensor(hard))


def test_lists_that_cannot_be_summed_are_refused():
    with pytest.raises(ConfigError, match="empty"):
        build([])
    with pytest.raises(ConfigError, match="CELoss is listed twice"):
        build([{"CELoss": {}}, {"CELoss": {"epsilon": 0.1}}])
