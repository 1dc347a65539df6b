"""Which range of a tensor's values 8 bits should cover: the search for the least squared error.

A wide range leaves few levels for the many small values, a narrow one cuts the few large ones off. The values
are known by their histogram; a range is judged by what its levels make of the middle of each bin.

Source: Banner et al. 2019, "Post training 4-bit quantization", section 3 (clipping by mean squared error);
the search over the histogram replaces its model of the distribution. Imports NumPy alone.
"""

from __future__ import annotations

import numpy as np

LEVELS = 255
"""Steps between the lowest and the highest level of 8 bits."""
SHARES = np.geomspace(1.0, 1 / 64, 96)
"""Which shares of the whole range are tried."""
_ROUNDS = 2


def scale_and_zero_point(lowest: float, highest: float) -> tuple[float, int]:
    """Return the step and the level of zero with which uint8 covers a range.

    Args:
        lowest: of the values; above 0 counts as 0, for zero must have a level: pictures are padded with it.
        highest: likewise.
    """
    lowest, highest = min(lowest, 0.0), max(highest, 0.0)
    scale = (highest - lowest) / LEVELS or 1.0
    return scale, round(-lowest / scale)


def squared_error(values: np.ndarray, counts: np.ndarray, lowest: float, highest: float) -> float:
    """Return the sum of squared errors that uint8 over a range makes.

    Args:
        values: float64 [B], the middle of each bin.
        counts: [B], how many values are in each.
        lowest: of the range.
        highest: of the range.
    """
    scale, zero_point = scale_and_zero_point(lowest, highest)
    levels = np.clip(np.rint(values / scale) + zero_point, 0, LEVELS)
    return float(counts @ (values - (levels - zero_point) * scale) ** 2)


def least_squares_range(counts: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """Return the range, `(lowest, highest)`, over which uint8 makes the least squared error.

    Both ends are tried in turn at `SHARES` of the outermost values; of equal errors the wider range wins.

    Args:
        counts: [B], how many values are in each bin.
        edges: float [B + 1], ascending.
    """
    used = np.flatnonzero(counts)
    if not len(used):
        return 0.0, 0.0
    edges = edges.astype(np.float64)
    values, counts = (edges[used] + edges[used + 1]) / 2, counts[used]
    floor, ceiling = min(float(edges[used[0]]), 0.0), max(float(edges[used[-1] + 1]), 0.0)
    lowest, highest = floor, ceiling
    for _ in range(_ROUNDS):
        errors = [squared_error(values, counts, lowest, share * ceiling) for share in SHARES]
        highest = float(SHARES[np.argmin(errors)]) * ceiling
        errors = [squared_error(values, counts, share * floor, highest) for share in SHARES]
        lowest = float(SHARES[np.argmin(errors)]) * floor
    return lowest, highest
