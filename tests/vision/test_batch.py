"""Batch ops: what mixing must keep, whatever is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppghost.vision import BATCH_OPS, Rng
from ppghost.vision.batch import soften
from ppghost.vision.op import build

CLASSES = 6
OPS_TO_TEST: list[tuple[str, dict[str, Any]]] = [
    ("MixupOperator", {}),
    ("CutmixOperator", {"alpha": 1.0}),
    ("FmixOperator", {"max_soft": 0.2}),
    ("MixupCutmixHybrid", {"cutmix_alpha": 1.0}),
    ("MixupCutmixHybrid", {"cutmix_alpha": 1.0, "mode": "pair"}),
    ("MixupCutmixHybrid", {"cutmix_alpha": 1.0, "mode": "elem", "correct_lam": False}),
    ("MixupCutmixHybrid", {"mixup_alpha": 0.0, "cutmix_minmax": [0.2, 0.7], "mode": "elem"}),
    ("MixupCutmixHybrid", {"mixup_alpha": 0.0, "cutmix_minmax": [0.5, 0.51]}),
    ("OpSampler", {"MixupOperator": {"prob": 0.5}, "FmixOperator": {"alpha": 0.3, "prob": 0.5}}),
]


@pytest.mark.parametrize(("name", "params"), OPS_TO_TEST, ids=lambda value: str(value)[:50])
@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 7),
    height=st.integers(6, 13),
    width=st.integers(6, 13),
    seed=st.integers(0, 2**32 - 1),
)
def test_mixing_keeps_ranges_sums_and_inputs(
    name: str, params: dict[str, Any], count: int, height: int, width: int, seed: int
) -> None:
    numbers = np.random.RandomState(seed)
    images = numbers.rand(count, 3, height, width).astype(np.float32)
    labels = numbers.randint(0, CLASSES, count)
    images.setflags(write=False)
    labels.setflags(write=False)
    mixed, soft = build(name, params, BATCH_OPS, {})(images, labels, Rng(seed), CLASSES)
    assert (mixed.shape, mixed.dtype) == (images.shape, np.float32)
    assert (soft.shape, soft.dtype) == ((count, CLASSES), np.float32)
    assert images.min() - 1e-6 <= mixed.min() <= mixed.max() <= images.max() + 1e-6
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-5)
    again = build(name, params, BATCH_OPS, {})(images, labels, Rng(seed), CLASSES)
    np.testing.assert_array_equal(mixed, again[0])


@pytest.mark.parametrize(("name", "params"), OPS_TO_TEST[:5], ids=lambda value: str(value)[:50])
def test_labels_tell_how_much_of_each_picture_is_left(name: str, params: dict[str, Any]) -> None:
    """Pictures of one level each: the mean of a mixed one says of what it is made, and so must its label."""
    levels = np.arange(4, dtype=np.float32)
    images = np.broadcast_to(levels[:, None, None, None], (4, 3, 40, 40))
    op = build(name, {**params, **({"label_smoothing": 0} if "Hybrid" in name else {})}, BATCH_OPS, {})
    for seed in range(5):
        mixed, soft = op(images, np.arange(4), Rng(seed), 4)
        np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), soft @ levels, atol=2e-3)


def test_a_second_batch_op_takes_soft_labels() -> None:
    images = np.zeros((2, 3, 4, 4), np.float32)
    soft = np.array([[0.25, 0.75], [1, 0]], np.float32)
    _, mixed = BATCH_OPS["MixupOperator"]()(images, soft, Rng(0), 2)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)


def test_sampler_leaves_a_batch_alone_with_the_rest_of_the_probability() -> None:
    images, labels = np.zeros((2, 3, 4, 4), np.float32), np.array([0, 1])
    sampler = build("OpSampler", {"MixupOperator": {"prob": 0.5}}, BATCH_OPS, {})
    results = [sampler(images, labels, Rng(seed), 2)[1] for seed in range(60)]
    untouched = sum(result is labels for result in results)
    assert 15 < untouched < 45


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("MixupOperator", {"alpha": 0}, "alpha is 0"),
    ("CutmixOperator", {"alpha": -1}, "alpha is -1"),
    ("FmixOperator", {"max_soft": 0.6}, "0 to 0.5"),
    ("MixupOperator", {"beta": 1}, "no parameter 'beta'"),
    ("MixupCutmixHybrid", {"mode": "element"}, "'batch', 'pair', 'elem'"),
    ("MixupCutmixHybrid", {"mixup_alpha": 0.0}, "needs mixup_alpha or cutmix_alpha"),
    ("MixupCutmixHybrid", {"cutmix_minmax": [0.5, 0.5]}, "high end is not included"),
    ("OpSampler", {}, "holds no op"),
    ("OpSampler", {"MixupOperator": {"alpha": 0.2}}, "needs 'prob'"),
    ("OpSampler", {"MixupOperator": {"prob": 0.7}, "CutmixOperator": {"prob": 0.7}}, "add up to 1.4"),
    ("OpSampler", {"MixupOperator": {"prob": 0.7, "alpha": 0}}, "alpha is 0"),
    ("OpSampler", {"Mixup": {"prob": 1}}, "MixupOperator"),
]


@pytest.mark.parametrize(("name", "params", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_bad_parameter_is_refused_with_a_sentence(name: str, params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        build(name, params, BATCH_OPS, {})


def test_labels_and_classes_must_fit() -> None:
    with pytest.raises(ValueError, match="A label is 5 but there are 5 classes"):
        soften(np.array([0, 5]), 5)
    with pytest.raises(ValueError, match="num_classes is 4 but the network has 5"):
        BATCH_OPS["MixupCutmixHybrid"](num_classes=4)(
            np.zeros((2, 3, 4, 4), np.float32), np.array([0, 1]), Rng(0), 5
        )
