"""Metrics that count: hits and samples, no averages, so that no split of the samples changes the result.

The sums of several processes add up; names and format in the log are PaddleClas'.

House: imports paddle, the recipe's specs.
Source: PaddleClas `ppcls/metric/metrics.py::TopkAcc`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import Tensor

from ppghost.config import recipe

# logits float [N, C], class indexes [N] -> hits by name
Counter = Callable[[Tensor, Tensor], dict[str, int]]


class Metrics:
    """Shares of samples for which something holds, by name, since the last reset.

    Args:
        counters: each counts the hits of a batch under one or more names.
        names: all names, in the order of the log; the first decides which model is best.
    """

    def __init__(self, counters: Sequence[Counter], names: Sequence[str]) -> None:
        self.counters = tuple(counters)
        self.names = tuple(names)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._hits = dict.fromkeys(self.names, 0)
        self._samples = 0

    @paddle.no_grad()
    def count(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Add a batch and return its own values.

        Args:
            logits: float `[N, C]`.
            labels: class indexes, int `[N]` or `[N, 1]`.

        Raises:
            ValueError: the labels are soft, or not as many as the logits.
        """
        samples = logits.shape[0]
        if labels.dtype not in (paddle.int32, paddle.int64) or labels.size != samples:
            raise ValueError(
                f"labels are {labels.dtype} {list(labels.shape)}; for logits {list(logits.shape)} a metric "
                f"takes class indexes [{samples}]"
            )
        hits: dict[str, int] = {}
        for counter in self.counters:
            hits.update(counter(logits.astype("float32"), labels.flatten()))
        for name in self.names:
            self._hits[name] += hits[name]
        self._samples += samples
        return {name: hits[name] / samples for name in self.names}

    def values(self) -> dict[str, float]:
        """Return the share of hits of each name, 0 to 1; NaN before the first sample."""
        return {
            name: self._hits[name] / self._samples if self._samples else float("nan") for name in self.names
        }

    def averages(self) -> str:
        """Return the log's "top1: 0.12345, top5: 0.23456"."""
        return ", ".join(f"{name}: {value:.5f}" for name, value in self.values().items())

    def sums(self) -> NDArray[np.int64]:
        """Return what processes add up: samples, then the hits of each name; int64 `[1 + names]`."""
        return np.array([self._samples, *self._hits.values()], dtype=np.int64)

    def load_sums(self, sums: NDArray[np.int64]) -> None:
        """Replace the counts by `sums`, laid out as `sums()` returns them."""
        self._samples, *hits = (int(value) for value in sums)
        self._hits = dict(zip(self.names, hits))


def build_metrics(specs: Sequence[Any]) -> Metrics:
    """Return the metrics that a configuration lists, in its order."""
    counted = [_counter(spec) for spec in specs]
    names = dict.fromkeys(name for names, _ in counted for name in names)
    return Metrics([counter for _, counter in counted], list(names))


@functools.singledispatch
def _counter(spec: Any) -> tuple[list[str], Counter]:
    """Return the names of a metric and what counts its hits."""
    raise TypeError(f"no metric is written for {type(spec).__name__}")


@_counter.register(recipe.TopkAcc)  # and DistillationTopkAcc: what is counted is the shipped network
def _(spec: recipe.TopkAcc) -> tuple[list[str], Counter]:
    return [f"top{k}" for k in spec.topk], functools.partial(_count_topk, ks=spec.topk)


def _count_topk(logits: Tensor, labels: Tensor, ks: tuple[int, ...]) -> dict[str, int]:
    classes = logits.shape[-1]
    best = paddle.topk(logits, k=min(max(ks), classes), axis=-1)[1]
    hit = (best == labels.astype(best.dtype).unsqueeze(-1)).astype("int64").sum(axis=0).numpy()
    return {f"top{k}": int(hit[:k].sum()) for k in ks}
