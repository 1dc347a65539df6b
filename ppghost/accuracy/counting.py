"""From answers to figures: in all, for each class, and for two runs side by side.

What is held does not grow with the number of pictures: a class costs a few numbers, a confusion one.
Ground: never paddle.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from ppghost.errors import VerificationError
from ppghost.offline.scoring import MOST, Tally, TopN, best_classes
from ppghost.predict import Scored
from ppghost.vision import softmax

CONFUSIONS = 3
"""How many of the classes that one class is taken for are named."""


@dataclass(frozen=True)
class Answer:
    """What a network said of one picture whose class is known.

    Attributes:
        name: of the picture, as the list has it.
        label: its class.
        class_ids: the best classes, best first, five or as many as there are; empty for a broken picture.
        scores: their probabilities, five decimals.
        failure: why the picture could not be read; None if it could.
    """

    name: str
    label: int
    class_ids: tuple[int, ...]
    scores: tuple[float, ...]
    failure: Optional[str] = None

    @property
    def rank(self) -> Optional[int]:
        """The place of the true class, 0 for the best; None where it is not among the best five."""
        return self.class_ids.index(self.label) if self.label in self.class_ids else None


def answer_of(name: str, label: int, scored: Scored, *, gives_logits: bool) -> Answer:
    """Return the answer that the output of a network amounts to.

    Classes are ordered by the output itself: softmax may make two of them equal.

    Args:
        name: of the picture.
        label: its class.
        scored: the output.
        gives_logits: whether it is logits, not probabilities.

    Raises:
        VerificationError: the output holds what is no finite number, so no class is the best.
    """
    output = scored.output
    if output is None:
        return Answer(name, label, (), (), scored.failure)
    if not np.isfinite(output).all():
        raise VerificationError(
            f"The engine's output for '{name}' holds numbers that are not finite, so no class is the best. "
            "Run `ppghost verify` on the folder, or take another --engine or --precision."
        )
    best = best_classes(output)
    probabilities = softmax(output) if gives_logits else output
    return Answer(name, label, tuple(best), tuple(round(float(probabilities[each]), 5) for each in best))


@dataclass(frozen=True)
class ClassAccuracy:
    """How well one class is told.

    Attributes:
        class_id: the class.
        score: of its pictures.
        confusions: (class, pictures) of what they are taken for, most frequent first, at most `CONFUSIONS`.
    """

    class_id: int
    score: TopN
    confusions: tuple[tuple[int, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; confusions are pairs of a class and a number of pictures."""
        return {
            "class_id": self.class_id,
            "pictures": self.score.total,
            "top1": self.score.accuracy(1),
            "top5": self.score.accuracy(MOST),
            "confusions": [list(pair) for pair in self.confusions],
        }


class Accuracy:
    """Counts answers.

    Attributes:
        tally: the pictures that could be read.
        broken: how many could not; they count nowhere else.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.broken = 0
        self._classes: dict[int, Tally] = {}
        self._confusions: dict[int, Counter[int]] = {}

    @property
    def pictures(self) -> int:
        """How many answers were counted, the broken pictures among them."""
        return self.tally.total + self.broken

    @property
    def top1(self) -> float:
        """The share of pictures told right so far, 0 to 1; 0 before the first."""
        return self.tally.top_n().accuracy(1) if self.tally.total else 0.0

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        if answer.failure is not None:
            self.broken += 1
            return
        rank = MOST if answer.rank is None else answer.rank
        self.tally.add(rank)
        self._classes.setdefault(answer.label, Tally()).add(rank)
        if rank:
            self._confusions.setdefault(answer.label, Counter())[answer.class_ids[0]] += 1

    def classes(self) -> list[ClassAccuracy]:
        """Return the classes that have pictures, the worst first, of equal ones that with more pictures."""
        found = [
            ClassAccuracy(class_id, tally.top_n(), _most_frequent(self._confusions.get(class_id, {})))
            for class_id, tally in self._classes.items()
        ]
        return sorted(found, key=lambda one: (one.score.accuracy(1), -one.score.total, one.class_id))


def _most_frequent(counts: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:CONFUSIONS])


class Agreement:
    """Counts how often two runs over the same pictures name the same class.

    Attributes:
        pictures: that both runs could read.
        same: those of them with one best class.
        other: the other run's score on them.
    """

    def __init__(self) -> None:
        self.pictures = self.same = 0
        self.other = Tally()

    @property
    def share(self) -> float:
        """The share of pictures with the same best class, 0 to 1; 0 before the first."""
        return self.same / max(self.pictures, 1)

    def add(self, answer: Answer, other: Answer) -> None:
        """Count two answers for one picture; nothing where either could not read it."""
        if answer.failure is not None or other.failure is not None:
            return
        self.pictures += 1
        self.same += answer.class_ids[0] == other.class_ids[0]
        self.other.add(MOST if other.rank is None else other.rank)
