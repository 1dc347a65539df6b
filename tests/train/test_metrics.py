"""Metrics: counts that do not depend on the split, PaddleClas' names, few classes."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_reference import RECORDED, bound, samples

from ppghost.config import recipe
from ppghost.train.metrics import build_metrics


def build(topk):
    return build_metrics(bound([{"TopkAcc": {"topk": topk}}], tuple[recipe.AnyMetric, ...]))


def reference(logits, labels, k):
    """Return the share of samples with fewer than k logits above the label's."""
    own = logits[np.arange(len(labels)), labels]
    return float(((logits > own[:, None]).sum(1) < k).mean())


def test_values_equal_paddleclas():
    logits, hard, _ = samples()
    values = build([1, 2, 3]).count(paddle.to_tensor(logits), paddle.to_tensor(hard))
    assert list(values) == list(RECORDED["metrics"])
    assert values == pytest.approx(RECORDED["metrics"], rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    classes=st.integers(2, 8),
    topk=st.lists(st.integers(1, 10), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_any_split_gives_the_exact_share(sizes, classes, topk, seed):
    rng = np.random.default_rng(seed)
    logits = rng.permuted(np.arange(sum(sizes) * classes).reshape(-1, classes), axis=1).astype("float32")
    labels = rng.integers(0, classes, len(logits))
    metrics = build(topk)
    edges = np.cumsum([0, *sizes])
    for start, end in zip(edges, edges[1:]):
        batch = metrics.count(paddle.to_tensor(logits[start:end]), paddle.to_tensor(labels[start:end]))
        assert batch == {f"top{k}": reference(logits[start:end], labels[start:end], k) for k in topk}
    assert metrics.values() == {f"top{k}": reference(logits, labels, k) for k in topk}


def test_more_ranks_than_classes_always_hit():
    logits, labels = paddle.to_tensor([[0.1, 0.9], [0.9, 0.1]]), paddle.to_tensor([0, 0])
    metrics = build([1, 5])
    assert metrics.count(logits, labels) == {"top1": 0.5, "top5": 1.0}
    assert metrics.averages() == "top1: 0.50000, top5: 1.00000"


def test_sums_of_processes_add_up():
    logits, hard, _ = samples()
    whole, left, right = build([1, 2]), build([1, 2]), build([1, 2])
    whole.count(paddle.to_tensor(logits), paddle.to_tensor(hard))
    left.count(paddle.to_tensor(logits[:1]), paddle.to_tensor(hard[:1]))
    right.count(paddle.to_tensor(logits[1:]), paddle.to_tensor(hard[1:]))
    assert left.sums().dtype == np.int64
    left.load_sums(left.sums() + right.sums())
    assert left.values() == whole.values()
    assert (left.sums() == whole.sums()).all()


def test_reset_forgets():
    logits, hard, _ = samples()
    metrics = build(1)
    metrics.count(paddle.to_tensor(logits), paddle.to_tensor(hard))
    metrics.reset()
    assert math.isnan(metrics.values()["top1"])
    assert metrics.sums().tolist() == [0, 0]


def test_counting_keeps_no_gradient_and_takes_low_precision():
    logits = paddle.to_tensor([[0.0, 1.0]], stop_gradient=False)
    metrics = build([1])
    assert metrics.count((logits * 2).astype("bfloat16"), paddle.to_tensor([1])) == {"top1": 1.0}


def test_no_metric_is_a_metric_without_names():
    metrics = build_metrics([])
    logits, hard, _ = samples()
    assert metrics.count(paddle.to_tensor(logits), paddle.to_tensor(hard)) == {}
    assert metrics.averages() == ""


def test_soft_labels_are_refused():
    logits, _, soft = samples()
    with pytest.raises(ValueError, match="class indexes"):
        build([1]).count(paddle.to_tensor(logits), paddle.to_tensor(soft))
