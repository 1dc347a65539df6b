"""Top-1 to top-5: how often the true class is among the best ones. Ground: NumPy; never paddle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ppghost.errors import DataError

MOST = 5


@dataclass(frozen=True)
class TopN:
    """How many pictures were told right.

    Attributes:
        hits: for k from 1 on, the number of pictures whose class is among the best k.
        total: the number of pictures, at least 1.
    """

    hits: tuple[int, ...]
    total: int

    def accuracy(self, k: int) -> float:
        """Return the share of pictures whose class is among the best `k`, 0 to 1."""
        return self.hits[k - 1] / self.total


class Tally:
    """Pictures counted by the rank at which their true class came out.

    Args:
        most: the largest k that is told.

    Attributes:
        total: the number of pictures so far.
    """

    def __init__(self, most: int = MOST) -> None:
        self._counts = [0] * (most + 1)
        self.total = 0

    def add(self, rank: int) -> None:
        """Count one picture.

        Args:
            rank: 0 where the true class is the best one; `most` or more where it is not among the best.
        """
        self._counts[min(rank, len(self._counts) - 1)] += 1
        self.total += 1

    def top_n(self) -> TopN:
        """Return the score so far.

        Raises:
            DataError: there is no picture.
        """
        if not self.total:
            raise DataError("There is no result to score.")
        return TopN(tuple(accumulate(self._counts[:-1])), self.total)


def best_classes(scores: np.ndarray, most: int = MOST) -> list[int]:
    """Return the ids of the best classes, best first, in the order that `rank_of` counts by.

    Of classes with equal scores the one with the lower id comes first: so the scorers of the published
    pipelines count, which sort descending (`argsort(-scores)`). Naming classes goes by PaddleClas' order, see
    `ppghost.vision.top_k`.

    Args:
        scores: float [C], finite.
        most: how many; cut to C.
    """
    return [int(class_id) for class_id in np.argsort(-scores, kind="stable")[:most]]


def rank_of(scores: np.ndarray, label: int) -> int:
    """Return how many classes come before the true one in the order of `best_classes`: 0 for the best.

    Args:
        scores: float [C], finite.
        label: 0 to C - 1.
    """
    better = np.count_nonzero(scores > scores[label])
    return int(better + np.count_nonzero(scores[:label] == scores[label]))


def top_n(pairs: Iterable[tuple[np.ndarray, int]], most: int = MOST) -> TopN:
    """Return the score of pictures, taken one by one.

    Args:
        pairs: scores and true class of each picture.
        most: the largest k.

    Raises:
        DataError: there is no picture.
    """
    return tally((rank_of(scores, label) for scores, label in pairs), most)


def tally(ranks: Iterable[int], most: int = MOST) -> TopN:
    """Return the score of pictures whose true classes came out at these ranks.

    Args:
        ranks: 0 where the true class is the best one; `most` or more where it is not among the best.
        most: the largest k.

    Raises:
        DataError: there is no picture.
    """
    counted = Tally(most)
    for rank in ranks:
        counted.add(rank)
    return counted.top_n()
