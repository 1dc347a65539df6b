"""Weights and pictures drawn by a fixed rule, so that two networks can be compared anywhere.

Imported by `record_nets.py`, which runs PaddleClas' networks, and by the tests that run ours. NumPy's
RandomState is frozen: the numbers are the same on every machine.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np

NAMES = ("GhostNet_x0_5", "GhostNet_x1_0", "GhostNet_x1_3")


def seeded_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return float32 weights, each tensor drawn from a stream of its own, seeded by the CRC-32 of its key.

    Everything is random, batch norm's statistics too, so that no two tensors can be exchanged unnoticed;
    the spread keeps activations near one through all layers.
    """
    weights = {}
    for key, shape in shapes.items():
        rng = np.random.RandomState(zlib.crc32(key.encode()))
        if key.endswith(("_variance", "_batch_norm.weight")):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 4:
            value = rng.normal(0, math.sqrt(1.0 / math.prod(shape[1:])), shape)
        elif len(shape) == 2:
            value = rng.uniform(-1, 1, shape) / math.sqrt(shape[0])
        else:
            value = rng.normal(0, 0.1, shape)
        weights[key] = value.astype("float32")
    return weights


def seeded_batch(size: int = 224) -> np.ndarray:
    """Return two normalised pictures of noise, float32 [2, 3, size, size]."""
    return np.random.RandomState(0).normal(0, 1, (2, 3, size, size)).astype("float32")


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest expected value."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())
