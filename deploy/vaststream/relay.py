"""The text that sample_cls.py and classification.py write: a line for each of a picture's best classes.

    /val/n01440764/x.JPEG: Relay top-0 id: 0, prob: 0.98765432, class name: tench, Tinca tinca

Classes are compared by their ids: names are no way to tell them apart, as ImageNet has two that are called
crane. A path may hold colons.

Source: sample_cls.py, classification.py, vamp_npz_decode.py of Vastai/VastModelZOO.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from ppghost.errors import DataError
from ppghost.files import replaced_file

BEST = 5
_LINE = re.compile(
    r"(?P<path>.+): Relay top-(?P<rank>[0-9]+) "
    r"id: (?P<id>[0-9]+), prob: (?P<prob>[^ ,]+), class name: (?P<name>.*)"
)


@dataclass(frozen=True)
class Answer:
    """The best classes of one picture, best first.

    Attributes:
        path: of the picture, or of its npz.
        class_ids: their ids.
        names: their names.
    """

    path: Path
    class_ids: tuple[int, ...]
    names: tuple[str, ...]


def best_classes(scores: np.ndarray) -> list[int]:
    """Return the ids of the best classes of a row of scores, best first; of equal ones the lower id first."""
    return [int(index) for index in np.argsort(-scores, kind="stable")[:BEST]]


def relay_lines(path: Path, scores: np.ndarray, names: Sequence[str]) -> str:
    """Return the lines of one picture.

    Args:
        path: of the picture, or of its npz.
        scores: float [C].
        names: of the C classes.
    """
    return "".join(
        f"{path}: Relay top-{rank} id: {index}, prob: {scores[index]:.8f}, class name: {names[index]}\n"
        for rank, index in enumerate(best_classes(scores.astype(np.float64)))
    )


def write_relay(path: Path, lines: Iterable[str]) -> None:
    """Write a text of results.

    Raises:
        OutputError: it cannot be written.
    """
    with (
        replaced_file(path) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        stream.writelines(lines)


def read_relay(path: Path) -> list[Answer]:
    """Return the answers of a text of results.

    Raises:
        DataError: it cannot be read or is empty, a line is of another form, or lines are missing or twice.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise DataError(f"The results '{path}' cannot be read: {error.strerror or error}.") from error
    found: dict[str, list[tuple[int, str]]] = {}
    last: Optional[str] = None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip("\r"))
        if match is None or not _is_probability(match["prob"]):
            raise DataError(
                f"{path}:{number}: {line!r} is no result, or was cut off. Accepted: "
                "PATH: Relay top-0 id: 7, prob: 0.98765432, class name: cock"
            )
        is_new = match["path"] != last
        if is_new and match["path"] in found:
            raise DataError(
                f"{path}:{number}: '{match['path']}' has results already. The program appends to what is "
                "there: remove the file and run it again."
            )
        answer = found.setdefault(match["path"], [])
        if int(match["rank"]) != len(answer):
            raise DataError(
                f"{path}:{number}: top-{match['rank']} follows {len(answer)} lines for '{match['path']}'. "
                "Lines are missing, or the program ran twice into one file."
            )
        answer.append((int(match["id"]), match["name"].strip()))
        last = match["path"]
    _check_lengths(path, found)
    return [
        Answer(Path(source), tuple(index for index, _ in best), tuple(name for _, name in best))
        for source, best in found.items()
    ]


def _is_probability(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_lengths(path: Path, found: Mapping[str, list[tuple[int, str]]]) -> None:
    if not found:
        raise DataError(f"'{path}' holds no results.")
    longest = max(map(len, found.values()))
    for source, best in found.items():
        if len(best) != longest:
            raise DataError(
                f"'{path}' has {len(best)} lines for '{source}' and {longest} for others: it was cut off."
            )
        if len({index for index, _ in best}) != len(best):
            raise DataError(f"'{path}' names a class twice for '{source}'.")


def check_answers(answers: Iterable[Answer], class_num: int, names: Optional[Sequence[str]]) -> None:
    """Make sure that answers are of these classes.

    Args:
        answers: what was read.
        class_num: how many classes there are.
        names: of the classes; None leaves the names alone.

    Raises:
        DataError: a class does not exist, or has another name.
    """
    for answer in answers:
        for index, name in zip(answer.class_ids, answer.names):
            if index >= class_num:
                raise DataError(
                    f"The results for '{answer.path}' name class {index}; accepted: 0 to {class_num - 1}. "
                    "Where the network has another number of classes, say so: --class-num"
                )
            if names is not None and name != names[index]:
                raise DataError(
                    f"The results for '{answer.path}' call class {index} {name!r}; the label file calls it "
                    f"{names[index]!r}. Give the label file with which they were written."
                )
