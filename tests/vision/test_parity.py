"""Our ops give PaddleClas' numbers: the same picture, the same seed, recorded from PaddleClas itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reference.ops_cases import BATCH_CASES, BATCH_CLASSES, CASES, BatchCase, Case

from ppghost.vision import BATCH_OPS, Pipeline, Rng
from ppghost.vision.op import build

REFERENCE = Path(__file__).resolve().parents[1] / "reference"

RECORDED = np.load(REFERENCE / "ops.npz")


def give(case: Case) -> Any:
    """Return the input of a case in the form it asks for."""
    array = RECORDED[f"in_{case.picture}"]
    forms = {
        "array": lambda: array,
        "pil": lambda: Image.fromarray(array),
        "chw": lambda: np.ascontiguousarray(array.transpose(2, 0, 1)),
        "float": lambda: array.astype(np.float32) / 255,
        "bytes": array.tobytes,
    }
    return forms[case.form]()


def expected(case: Case, seed: int) -> np.ndarray:
    key = f"{case.key}_{seed}"
    return RECORDED[key] if key in RECORDED else RECORDED[case.key][seed]


def thinned(image: np.ndarray, step: int) -> np.ndarray:
    return image[::step, ::step] if image.shape[-1] in (3, 4) else image[:, ::step, ::step]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_op_equals_paddleclas(case: Case) -> None:
    pipeline = Pipeline.from_list(case.ops)
    for seed in range(case.seeds):
        ours, theirs = pipeline(give(case), Rng(seed)), expected(case, seed)
        assert ours.dtype == theirs.dtype or theirs.dtype == np.float64
        difference = np.abs(thinned(ours, case.step).astype(np.float64) - theirs)
        outliers = np.mean(difference > case.atol)
        assert outliers <= case.outliers, f"seed {seed}: {outliers:.2%} differ, by up to {difference.max()}"


@pytest.mark.parametrize("case", BATCH_CASES, ids=lambda case: case.key)
def test_batch_op_equals_paddleclas(case: BatchCase) -> None:
    op = build(case.name, case.params, BATCH_OPS, {})
    for seed in range(case.seeds):
        images, labels = op(RECORDED["in_batch"], RECORDED["in_batch_labels"], Rng(seed), BATCH_CLASSES)
        if labels.ndim == 1:
            labels = np.eye(BATCH_CLASSES, dtype=np.float32)[labels]
        np.testing.assert_allclose(images, RECORDED[case.key][seed], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(labels, RECORDED[f"{case.key}_labels"][seed], atol=1e-6)
