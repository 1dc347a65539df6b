"""What a `train.log` tells about its run, ours and PaddleClas' alike: the reader of the lines of `log.py`.

A run that was resumed goes on in the same file. Where it went back, to an earlier checkpoint or to the start,
the lines behind that place belong to work that was thrown away, and the lines that came later count.

House: imports the errors; neither Paddle nor any other room.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ppghost.errors import DataError

STEP, TRAIN, EVAL, EMA = "step", "train", "eval", "ema"
LOG_NAME = "train.log"

_TRAIN_STEP = re.compile(r"\[Train\]\[Epoch (\d+)/\d+\]\[Iter: (\d+)/(\d+)\](.*), eta: \d")
_TRAIN_EPOCH = re.compile(r"\[Train\]\[Epoch (\d+)/\d+\]\[Avg\](.*)")
_EVAL_EPOCH = re.compile(r"\[Eval\]\[Epoch (\d+)\]\[Avg\](.*)")
_BEST_EMA = re.compile(r"\[Eval\]\[Epoch (\d+)\]\[best metric ema: ")
# Lines of single evaluation steps and of the best metric tell nothing that is drawn.
_BEGINNING = re.compile(r"\[Train\]\[Epoch |\[Eval\]\[Epoch \d+\]\[Avg")
# Both programs write five decimals or more; fewer mean that the end of the line is missing.
_FIELD = re.compile(r"(?:^|, )([^:,]+): (-?\d+\.\d{5,}|-?inf|nan)(?=,|$)")


@dataclass(frozen=True)
class Point:
    """The figures of one line.

    Attributes:
        kind: "step", means since the epoch began; "train", means of a whole epoch; "eval", an evaluation;
            "ema", an evaluation of the averaged weights.
        epoch: how many epochs of training are done: 2.5 is in the middle of the third.
        values: by the names of the log: "loss", "top1" (0 to 1), "lr(Cosine)". A name that a line gives again
            has its number behind it: "lr(Cosine) 2".
    """

    kind: str
    epoch: float
    values: Mapping[str, float]


@dataclass
class History:
    """What a log tells.

    Attributes:
        source: the log.
        points: in the order of training.
        rewound: how many times the run went back.
        broken: the numbers of the lines that are incomplete and were left out, from 1.
    """

    source: Path
    points: list[Point] = field(default_factory=list)
    rewound: int = 0
    broken: list[int] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the names of all values, in the order in which they first came."""
        return list(dict.fromkeys(name for point in self.points for name in point.values))

    def curve(self, kind: str, name: str) -> tuple[list[float], list[float]]:
        """Return epochs and values of one curve; both are empty where the log has none."""
        found = [point for point in self.points if point.kind == kind and name in point.values]
        return [point.epoch for point in found], [point.values[name] for point in found]

    def add(self, point: Point) -> None:
        """Append a point; those that a run which went back makes void are removed."""
        before = len(self.points)
        while point.kind in (STEP, TRAIN) and self.points and _is_void(self.points[-1], point):
            self.points.pop()
        self.rewound += len(self.points) < before
        self.points.append(point)

    def mark_ema(self, epoch: int) -> None:
        """Note that the evaluation just added was one of the averaged weights."""
        if self.points and (self.points[-1].kind, self.points[-1].epoch) == (EVAL, epoch):
            self.points[-1] = replace(self.points[-1], kind=EMA)


def _is_void(old: Point, new: Point) -> bool:
    """Say whether `old` stands behind the place that training has reached with `new`."""
    closes_its_epoch = (old.kind, new.kind) == (STEP, TRAIN)
    return old.epoch > new.epoch or (old.epoch == new.epoch and not closes_its_epoch)


def read_history(source: Path) -> History:
    """Read a log.

    Raises:
        DataError: the file is missing, cannot be read, is empty, or has no line of a training.
    """
    history = History(source)
    try:
        with source.open(encoding="utf-8", errors="replace") as lines:
            _read(lines, history)
    except OSError as error:
        raise DataError(
            f"The log {source} cannot be read: {error.strerror}. Give a {LOG_NAME}, or a folder with one."
        ) from error
    if not history.points:
        size = source.stat().st_size
        raise DataError(
            f"{source} tells of no training ({size} bytes; {len(history.broken)} lines begin like those of "
            'one and are incomplete). Looked for lines with "[Train][Epoch 1/10]" or "[Eval][Epoch 1][Avg]", '
            "as `ppghost train` and PaddleClas write them."
        )
    return history


def _read(lines: Iterable[str], history: History) -> None:
    for number, line in enumerate(lines, start=1):
        # A line that a kill cut off has the first line of the resumed run behind it.
        text = line.rpartition("INFO: ")[2].rstrip()
        best = _BEST_EMA.match(text)
        if best:
            history.mark_ema(int(best[1]))
            continue
        point = _point(text)
        if point is not None:
            history.add(point)
        elif _BEGINNING.match(text):
            history.broken.append(number)


def _point(text: str) -> Optional[Point]:
    """Return the point of a line; None for any other, or incomplete, line."""
    step = _TRAIN_STEP.match(text)
    if step:
        done = (int(step[2]) + 1) / max(1, int(step[3]))
        return _of(STEP, int(step[1]) - 1 + done, step[4])
    for kind, pattern in ((TRAIN, _TRAIN_EPOCH), (EVAL, _EVAL_EPOCH)):
        found = pattern.match(text)
        if found:
            return _of(kind, float(found[1]), found[2])
    return None


def _of(kind: str, epoch: float, fields: str) -> Optional[Point]:
    values: dict[str, float] = {}
    for name, value in _FIELD.findall(fields):
        times = sum(1 for known in values if known == name or known.startswith(f"{name} "))
        values[f"{name} {times + 1}" if times else name] = float(value)
    return Point(kind, epoch, values) if values else None


def find_logs(places: Sequence[Path]) -> dict[str, Path]:
    """Return name of run -> log, for logs and folders as a user gives them.

    A folder stands for its `train.log`, or for those of the folders in it. A run is named after its folder,
    with as many folders above as it takes to tell it from the others.

    Raises:
        DataError: a folder has no log, or a log is given twice.
    """
    logs = [log for place in places for log in _logs_of(place)]
    twice = [
        log for number, log in enumerate(logs) if log.resolve() in [one.resolve() for one in logs[:number]]
    ]
    if twice:
        raise DataError(f"{twice[0]} is given twice. Give each log once.")
    depth, names = 1, [_name(log, 1) for log in logs]
    while len(set(names)) < len(names) and depth < max(len(log.resolve().parts) for log in logs):
        depth += 1
        names = [_name(log, depth) for log in logs]
    if len(set(names)) < len(names):  # two logs in one folder
        names = [f"{name}/{log.name}" for name, log in zip(names, logs)]
    return dict(zip(names, logs))


def _name(log: Path, depth: int) -> str:
    return "/".join(log.resolve().parent.parts[-depth:])


def _logs_of(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    own = place / LOG_NAME
    found = [own] if own.exists() else sorted(place.glob(f"*/{LOG_NAME}"))
    if not found:
        raise DataError(
            f"There is no {LOG_NAME} in {place}, nor in a folder in it. Give Global.output_dir of a run."
        )
    return found
