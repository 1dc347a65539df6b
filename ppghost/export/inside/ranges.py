"""Which range 8 bits cover of every value: all of it, percentiles, least divergence or error.

The first pass finds the outermost values, the second counts all others in histograms. Memory holds the
values of one batch of rows and a histogram for each tensor, however many rows there are.

A network may answer one picture of a thousand with values a hundred times as large as for all others. So in
the histograms a row's counts are divided by its mean square: a wild picture is 1 of N, as it is in accuracy,
and not most of what there is to lose. Min-max has no such mercy.

Imports onnx, ONNX Runtime and NumPy; nothing of ppghost.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import CalibrationDataReader, HistogramCollector, create_calibrator

from .clipping import least_squares_range

BATCH = 8
BINS = 4096
BINS_OF_KL = 512
LEVELS_OF_KL = 128
RARE = 1e-5
"""What the search for the least divergence leaves out at both ends together, so that its bins are fine."""

Range = tuple[float, float]


class Rows(CalibrationDataReader):
    """One batch of rows for ONNX Runtime's calibrators."""

    def __init__(self, name: str, rows: np.ndarray) -> None:
        self._feeds = iter([{name: np.ascontiguousarray(rows)}])

    def get_next(self) -> Optional[dict[str, np.ndarray]]:
        """Return the batch, and None the next time."""
        return next(self._feeds, None)


class Histograms(HistogramCollector):
    """Histograms of all values over ranges that are known, where ONNX Runtime's grow without bounds.

    Attributes:
        weighted: name of a value -> float64 [BINS]: its rows' counts, each divided by the row's mean square.
        edges: name of a value -> float32 [BINS + 1], from minus to plus the largest absolute value.

    Args:
        ranges: name of a value -> its lowest and highest.
    """

    def __init__(self, ranges: Mapping[str, Range]) -> None:
        super().__init__("percentile", False, BINS, LEVELS_OF_KL, 100.0, "same")
        self.weighted = {name: np.zeros(BINS) for name in ranges}
        # A value that is always 0 has a range nevertheless.
        ends = {name: np.float32(max(-low, high, 1e-8)) for name, (low, high) in ranges.items()}
        self.edges = {name: np.linspace(-end, end, BINS + 1, dtype=np.float32) for name, end in ends.items()}

    def collect(self, name_to_arr: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Count the values of one batch."""
        for name, arrays in name_to_arr.items():
            end = self.edges[name][-1]
            for row in (row for array in arrays for row in array):
                found = np.histogram(row, BINS, range=(-end, end))[0]
                self.weighted[name] += found / max(float(np.square(row, dtype=np.float64).mean()), 1e-12)


def find_ranges(
    model: ModelProto, rows: np.ndarray, methods: Sequence[str], percentile: float
) -> dict[str, dict[str, Range]]:
    """Return the range of every value that may be quantised, by method.

    Args:
        model: with shapes.
        rows: float32 [N, C, H, W], as prepared.
        methods: of "minmax", "percentile", "kl" and "mse".
        percentile: which share of the values the range of "percentile" holds, 0 to 100.
    """
    data = _calibrated(model, rows, CalibrationMethod.MinMax).compute_data()
    whole = {name: _plain(data[name].range_value) for name in data}
    found = {"minmax": whole}
    if set(methods) == {"minmax"}:
        return found
    counted = _calibrated(model, rows, CalibrationMethod.Percentile, Histograms(whole)).collector
    histograms = {name: (counted.weighted[name], counted.edges[name]) for name in whole}
    if "percentile" in methods:
        found["percentile"] = {
            name: percentile_range(*each, percentile / 100) for name, each in histograms.items()
        }
    if "mse" in methods:
        found["mse"] = {name: least_squares_range(*each) for name, each in histograms.items()}
    if "kl" in methods:
        found["kl"] = _least_divergence(histograms)
    return found


def percentile_range(counts: np.ndarray, edges: np.ndarray, share: float) -> Range:
    """Return the range that holds a share of the values and zero; as much is cut off at each end.

    Args:
        counts: [B], how many values are in each bin.
        edges: float [B + 1], ascending.
        share: 0 to 1.
    """
    tail = (1 - share) / 2 * counts.sum()
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    if not below[-1]:
        return 0.0, 0.0
    lowest, highest = edges[int(np.argmax(below > tail))], edges[-1 - int(np.argmax(above > tail))]
    return min(float(lowest), 0.0), max(float(highest), 0.0)


def _least_divergence(histograms: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Range]:
    """Return the ranges that ONNX Runtime's search for the least divergence finds."""
    search = HistogramCollector("entropy", False, BINS_OF_KL, LEVELS_OF_KL, 100.0, "same")
    for name, each in histograms.items():
        counts, edges = coarse(*each)
        used = np.flatnonzero(counts)
        ends = (edges[used[0]], edges[used[-1] + 1]) if len(used) else (np.float32(0), np.float32(0))
        search.histogram_dict[name] = (counts, edges, *ends, edges[-1])
    return {name: _plain(each) for name, each in search.compute_entropy().items()}


def coarse(counts: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whole numbers in `BINS_OF_KL` bins: the search for the least divergence takes bins squared.

    Of both ends that is left out which holds next to nothing; each bin counts so much that most are above 0.
    """
    while len(counts) > BINS_OF_KL:
        quarter = len(counts) // 4
        if counts[:quarter].sum() + counts[-quarter:].sum() > RARE * counts.sum():
            break
        counts, edges = counts[quarter:-quarter], edges[quarter:-quarter]
    merged = counts.reshape(BINS_OF_KL, -1).sum(axis=1)
    whole = np.rint(merged * (1e9 / max(merged.sum(), 1e-30))).astype(np.int64)
    return whole, edges[:: len(counts) // BINS_OF_KL]


def _calibrated(
    model: ModelProto, rows: np.ndarray, kind: Any, collector: Optional[HistogramCollector] = None
) -> Any:
    """Return a calibrator that has seen all rows, batch by batch."""
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(path, None, str(path.with_name("all.onnx")), kind)
        calibrator.collector = collector
        for batch in batches(model, rows):
            calibrator.collect_data(Rows(model.graph.input[0].name, batch))
        return calibrator


def _plain(ends: Any) -> Range:
    return float(np.asarray(ends[0]).min()), float(np.asarray(ends[1]).max())


def batches(model: ModelProto, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows in portions that the model takes; where it is for a fixed number, a rest is left out."""
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    size = fixed or BATCH
    for start in range(0, len(rows) - (fixed - 1 if fixed else 0), size):
        yield rows[start : start + size]
