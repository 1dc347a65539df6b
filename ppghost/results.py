"""Results of classification as files: JSON lines, CSV, or PaddleClas' JSON list.

A result is a dict in PaddleClas' form: class_ids, scores, file_name, label_names. Ground: never paddle.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, TextIO, Union

from ppghost.errors import OutputError
from ppghost.files import replaced_file

Result = Mapping[str, Any]
Write = Callable[[Result], object]


@contextmanager
def results_file(path: Union[str, Path]) -> Iterator[Write]:
    """Yield a function that writes one result; the file appears when the block ends well.

    The suffix chooses the form: `.jsonl` for one JSON object a line; `.csv` for one line for each class that
    is named, with its rank; `.json` or none for one JSON list, as PaddleClas' `Infer.save_dir` writes it.
    Results are written one by one, so memory does not grow with them.

    Raises:
        OutputError: the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    if not path.suffix:
        path = path.with_name(path.name + ".json")
    if path.suffix.lower() not in _FORMS:
        raise OutputError(f"Results cannot be written as '{path.name}'. Accepted: {', '.join(_FORMS)}.")
    with replaced_file(path) as part:
        # The bytes of a file name that are no UTF-8 are escaped, in CSV as in JSON.
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            with _FORMS[path.suffix.lower()](stream) as write:
                yield write


def printable(text: str) -> str:
    """Return a text that can be encoded: the bytes of a file name that are no UTF-8 are escaped."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def json_line(result: Result) -> str:
    """Return a result as JSON on one line; the escapes of `printable` are those that JSON itself has."""
    return printable(json.dumps(result, ensure_ascii=False))


@contextmanager
def _json_lines(stream: TextIO) -> Iterator[Write]:
    yield lambda result: stream.write(json_line(result) + "\n")


@contextmanager
def _json_list(stream: TextIO) -> Iterator[Write]:
    opening = "["

    def write(result: Result) -> None:
        nonlocal opening
        stream.write(opening + json_line(result))
        opening = ",\n"

    yield write
    stream.write("]\n" if opening != "[" else "[]\n")


@contextmanager
def _csv(stream: TextIO) -> Iterator[Write]:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("file_name", "rank", "class_id", "score", "label_name"))

    def write(result: Result) -> None:
        scores = result["scores"]
        class_ids = result.get("class_ids", range(len(scores)))  # ScoreOutput gives the scores of all classes
        names = result.get("label_names") or [""] * len(scores)
        for rank, row in enumerate(zip(class_ids, scores, names), start=1):
            writer.writerow((result.get("file_name", ""), rank, *row))

    yield write


_FORMS = {".jsonl": _json_lines, ".csv": _csv, ".json": _json_list}
