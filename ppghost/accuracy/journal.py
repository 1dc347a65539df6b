"""The file of all answers: JSON lines that are written as the answers come, so that a killed run can go on.

The first line is the run: what is measured, with which engine and options, over which list. Each line after
it is an answer, in the list's order, in the form of `ppghost infer` (names of classes included)
with the `label` besides:

    {"file_name": "a.jpg", "label": 3, "class_ids": [3, 7], "scores": [0.9, 0.1]}
    {"file_name": "b.jpg", "label": 7, "failure": "The picture cannot be decoded."}

A line counts when its line end is there: whatever follows the last line end was being written when the run
was killed, and is cut off. A run goes on at the start of a batch, so that every batch consists of the same
pictures as without the interruption; engines may add up in another order for another batch.

Ground: never paddle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.accuracy.counting import Answer
from ppghost.errors import DataError, OutputError
from ppghost.results import json_line
from ppghost.vision import Labels

FORM = 1
_MARK = "ppghost_eval"


@dataclass(frozen=True)
class Journal:
    """A file of answers as it was found.

    Attributes:
        path: the file.
        run: its first line.
        count: how many answers it holds.
    """

    path: Path
    run: Mapping[str, Any]
    count: int

    def answers(self) -> Iterator[Answer]:
        """Yield the answers.

        Raises:
            DataError: a line is none; the message names it.
        """
        with self.path.open("rb") as stream:
            for number, line in enumerate(islice(stream, 1, self.count + 1), start=2):
                yield _parse(line, f"{self.path}:{number}")


def read_journal(path: Path) -> Journal:
    """Return the file of answers at `path`, of which a part may be missing at the end.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    count = 0
    try:
        with path.open("rb") as stream:
            head = stream.readline()
            for line in stream:
                count += line.endswith(b"\n")
    except OSError as error:
        raise DataError(f"The predictions '{path}' cannot be read: {error.strerror or error}.") from error
    run = _loaded(head) if head.endswith(b"\n") else None
    if run is None or run.get(_MARK) != FORM:
        raise DataError(f"'{path}' is no file of predictions; accepted: what `ppghost eval --output` wrote.")
    return Journal(path, run, count)


def begin(path: Path, run: Mapping[str, Any]) -> Journal:
    """Write the file of a new run, with no answer in it yet.

    Raises:
        OutputError: there is a file already, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            stream.write(_head(run))
    except FileExistsError:
        raise OutputError(
            f"The predictions {path} exist already. To go on where that run stopped, add --resume; to "
            "measure anew, remove the file or choose another one."
        ) from None
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return read_journal(path)


def resume(path: Path, run: Mapping[str, Any], batch_size: int) -> Journal:
    """Return the file of a run that goes on, which may not have begun; it is cut to whole batches.

    Args:
        path: the file.
        run: what is to be measured, JSON values.
        batch_size: how many pictures go through the network at once.

    Raises:
        DataError: it belongs to another run, and the message tells the differences; or it is another file.
        OutputError: it cannot be written.
    """
    if _is_unborn(path, run):
        path.unlink(missing_ok=True)
        return begin(path, run)
    journal = read_journal(path)
    _check_same(journal, run)
    total = run["pictures"]
    if journal.count > total:
        raise DataError(f"{path} holds {journal.count} predictions for {total} pictures. Remove it.")
    count = total if journal.count == total else journal.count // batch_size * batch_size
    with path.open("rb") as stream:
        length = sum(len(line) for line in islice(stream, count + 1))
    try:
        os.truncate(path, length)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    return Journal(path, run, count)


@contextmanager
def appending(journal: Journal, labels: Optional[Labels]) -> Iterator[Callable[[Answer], None]]:
    """Yield a function that adds an answer at the end of the file; each is handed to the system at once.

    Args:
        journal: where to.
        labels: names of the classes; None leaves them out.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        stream = journal.path.open("ab", buffering=0)
    except OSError as error:
        raise OutputError(f"Cannot write {journal.path}: {error.strerror or error}.") from error

    def add(answer: Answer) -> None:
        line = (json_line(to_dict(answer, labels)) + "\n").encode()
        try:
            while line:
                line = line[stream.write(line) :]
        except OSError as error:
            raise OutputError(f"Cannot write {journal.path}: {error.strerror or error}.") from error

    with stream:
        yield add


def to_dict(answer: Answer, labels: Optional[Labels]) -> dict[str, Any]:
    """Return the plain form of an answer."""
    about: dict[str, Any] = {"file_name": answer.name, "label": answer.label}
    if answer.failure is not None:
        return {**about, "failure": answer.failure}
    about.update(class_ids=list(answer.class_ids), scores=list(answer.scores))
    if labels is not None:
        about["label_names"] = [labels.name_of(class_id) for class_id in answer.class_ids]
    return about


def _head(run: Mapping[str, Any]) -> bytes:
    return (json_line({_MARK: FORM, **run}) + "\n").encode()


def _is_unborn(path: Path, run: Mapping[str, Any]) -> bool:
    """Say whether there is no file, or one whose run was killed while it wrote the first line."""
    if not path.exists():
        return True
    try:
        with path.open("rb") as stream:
            start = stream.readline()
    except OSError as error:
        raise DataError(f"The predictions '{path}' cannot be read: {error.strerror or error}.") from error
    return not start.endswith(b"\n") and _head(run).startswith(start)


def _check_same(journal: Journal, run: Mapping[str, Any]) -> None:
    there = {key: value for key, value in journal.run.items() if key != _MARK}
    differing = [
        f"\n  {key}: {there.get(key)!r} in the file, {run.get(key)!r} now"
        for key in dict.fromkeys((*there, *run))
        if there.get(key) != run.get(key)
    ]
    if differing:
        raise DataError(
            f"{journal.path} is of another run, so this one cannot go on there:{''.join(differing)}\n"
            "Repeat the command that began it, or choose another --output."
        )


def _loaded(line: bytes) -> Optional[Mapping[str, Any]]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parse(line: bytes, place: str) -> Answer:
    value = _loaded(line) or {}
    try:
        failure = value.get("failure")
        class_ids = tuple(value["class_ids"]) if failure is None else ()
        scores = tuple(value["scores"]) if failure is None else ()
        answer = Answer(value["file_name"], value["label"], class_ids, scores, failure)
        is_whole = _is_whole(answer)
    except (KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise DataError(
            f"{place} is no prediction: the file was edited or damaged. Remove it and start anew."
        )
    return answer


def _is_whole(answer: Answer) -> bool:
    """Say whether what was read is of the right types, every class has a score, and none comes twice."""
    texts = (answer.name, "" if answer.failure is None else answer.failure)
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int for number in (answer.label, *answer.class_ids))
        and bool(answer.class_ids) == (answer.failure is None)
        and len(set(answer.class_ids)) == len(answer.class_ids) == len(answer.scores)
        and all(isinstance(score, float) and 0 <= score <= 1 for score in answer.scores)
    )
