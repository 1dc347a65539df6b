"""List files: which pictures there are and what they show.

A list file has one picture per line, `path<delimiter>label`. Whatever follows the last delimiter is the
label, so paths may contain blanks. ImageNet's list has 1.3 million lines: the paths stay in one block of
bytes, which worker processes share without copying, where a list of strings would be copied page by page.

This room may import paddle, but this file needs none; never `nets`, `train` or `zoo`.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np

from ppghost.errors import DataError

logger = logging.getLogger(__name__)

DEMO_HINT = (
    "To see it run without a dataset of your own: `make demo`, or `python tools/make_shapes_dataset.py`."
)

# From this many listed pictures on, reading the folder once is cheaper than asking for each of them.
_WORTH_LISTING = 8

# More broken pictures than this share of an epoch stop a training run.
_BEARABLE_SHARE = 0.01


def is_unbearable(broken: int, total: int) -> bool:
    """Say whether `broken` of `total` pictures are too many to train on: more than 1 %."""
    return broken > _BEARABLE_SHARE * total


@dataclass(frozen=True)
class PictureList:
    """The content of a list file.

    Attributes:
        source: the list file.
        root: the folder that the paths start from.
        names: all paths, UTF-8, one after the other.
        bounds: int64 [N + 1], where each path starts and the last one ends in `names`.
        labels: int64 [N].
        lines: int64 [N], the line of each picture in the list file, from 1.
    """

    source: str
    root: str
    names: bytes
    bounds: np.ndarray
    labels: np.ndarray
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Return the path of a picture as the list file gives it."""
        return self.names[self.bounds[index] : self.bounds[index + 1]].decode("utf-8", "surrogateescape")

    def path(self, index: int) -> str:
        """Return the path of a picture from `root` on."""
        return os.path.join(self.root, self.name(index))

    def place(self, index: int) -> str:
        """Return `file:line` of a picture."""
        return f"{self.source}:{self.lines[index]}"


def read_list(
    source: str, root: str, *, delimiter: Optional[str] = None, relabel: bool = False, labelled: bool = True
) -> PictureList:
    """Read a list file.

    Args:
        source: the list file; UTF-8, with or without byte order mark, any line ends, blank lines are skipped.
        root: the folder that the paths start from; it has to exist.
        delimiter: what parts path and label; None is one blank, or the whole line where `labelled` is False.
        relabel: number the labels 0, 1, 2... in ascending order of what the file says.
        labelled: False reads paths only; all labels are 0.

    Raises:
        DataError: the folder or the file is missing or empty, or a line has no label or no integer label.
    """
    if not os.path.isdir(root):
        raise DataError(f"The picture folder '{root}' (image_root) does not exist. Give yours. {DEMO_HINT}")
    paths: list[bytes] = []
    labels: list[int] = []
    lines: list[int] = []
    for number, line in _lines_of(source):
        path, label = (
            _parse(line, delimiter, f"{source}:{number}") if labelled else (_head(line, delimiter), 0)
        )
        paths.append(path.encode("utf-8", "surrogateescape"))
        labels.append(label)
        lines.append(number)
    if not paths:
        raise DataError(
            f"The list file '{source}' names no picture. One line per picture: path, blank, label."
        )
    codes = np.array(labels, np.int64)
    if relabel:
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int64).reshape(-1)
    bounds = np.concatenate(([0], np.cumsum([len(path) for path in paths]))).astype(np.int64)
    return PictureList(source, root, b"".join(paths), bounds, codes, np.array(lines, np.int64))


def check_labels(pictures: PictureList, class_num: int, remedy: Optional[str] = None) -> None:
    """Check that every label is a class.

    Args:
        pictures: the list.
        class_num: how many classes there are.
        remedy: what to do about it, for the message; None speaks of a configuration.

    Raises:
        DataError: a label is not in 0 to `class_num` - 1; the message names the first line.
    """
    outside = np.flatnonzero((pictures.labels < 0) | (pictures.labels >= class_num))
    if len(outside):
        first = int(outside[0])
        remedy = remedy or (
            f"Arch.class_num is {class_num}: set it to the number of classes, or relabel: True where labels "
            "have gaps."
        )
        raise DataError(
            f"{pictures.place(first)}: label {pictures.labels[first]} is not in 0 to {class_num - 1}; "
            f"{len(outside)} of {len(pictures)} lines are like that. {remedy}"
        )


def check_distinct(pictures: PictureList) -> None:
    """Check that no picture is listed twice, so that none counts twice.

    Raises:
        DataError: one is; the message names both lines.
    """
    repeated = repeated_pictures(pictures)
    if repeated:
        raise DataError(
            f"{_told_twice(pictures, *repeated[0])} Keep one line for each picture, so that none counts "
            "twice."
        )


def check_one_label(pictures: PictureList) -> None:
    """Check that no picture has two labels; warn of those that are listed several times with one.

    Listing pictures several times is how rare classes are made to count more; a picture with two labels is
    a mistake, often a labelled one among the unlabelled, which all have label 0.

    Raises:
        DataError: one has two labels; the message names both lines.
    """
    repeated = repeated_pictures(pictures)
    for index, first in repeated:
        if pictures.labels[index] != pictures.labels[first]:
            raise DataError(f"{_told_twice(pictures, index, first)} Keep the line that is right.")
    if repeated:
        index, _ = repeated[0]
        logger.warning(
            "%d line(s) name a picture again, %s is the first ('%s'); such pictures count as often as they "
            "are listed.",
            len(repeated),
            pictures.place(index),
            pictures.name(index),
        )


def _told_twice(pictures: PictureList, index: int, first: int) -> str:
    return (
        f"{pictures.place(index)}: '{pictures.name(index)}' stands in line {pictures.lines[first]} already, "
        f"with label {pictures.labels[first]}; here it has {pictures.labels[index]}."
    )


def repeated_pictures(pictures: PictureList) -> list[tuple[int, int]]:
    """Return the index of each line that names a picture again, ascending, and that of its first line."""
    bounds = pictures.bounds.tolist()
    hashes = np.fromiter((hash(pictures.names[a:b]) for a, b in zip(bounds, bounds[1:])), np.int64)
    order = np.argsort(hashes, kind="stable")
    is_shared = np.diff(hashes[order]) == 0
    suspects = order[np.append(is_shared, False) | np.append(False, is_shared)]
    first_of: dict[str, int] = {}
    firsts = [
        (index, first_of.setdefault(pictures.name(index), index)) for index in np.sort(suspects).tolist()
    ]
    return [(index, first) for index, first in firsts if index != first]


def check_presence(pictures: PictureList, *, training: bool) -> None:
    """Check that the listed pictures are there.

    Training bears with a few missing ones, as with any broken picture; they count when their turn comes.

    Raises:
        DataError: a picture is missing (in training: more than training bears); the message names some.
    """
    missing = missing_pictures(pictures)
    if not missing or (training and not is_unbearable(len(missing), len(pictures))):
        return
    raise DataError(
        f"{pictures.place(missing[0])}: the picture '{pictures.path(missing[0])}' does not exist; "
        f"{len(missing)} of {len(pictures)} listed pictures are missing. "
        "Check image_root and the delimiter, or take the lines out of the list."
    )


def missing_pictures(pictures: PictureList) -> list[int]:
    """Return the indices of the pictures that are not there, ascending.

    Folders are listed once instead of asking for each picture, which takes minutes on network storage.
    """
    by_folder: defaultdict[str, list[int]] = defaultdict(list)
    for index in range(len(pictures)):
        by_folder[os.path.dirname(pictures.name(index))].append(index)
    missing: list[int] = []
    for folder, indices in by_folder.items():
        present = _listing(os.path.join(pictures.root, folder)) if len(indices) >= _WORTH_LISTING else set()
        # A name that differs in case is still found on some file systems, so absence is always asked for.
        missing.extend(
            index
            for index in indices
            if os.path.basename(pictures.name(index)) not in present
            and not os.path.exists(pictures.path(index))
        )
    return sorted(missing)


def _listing(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:  # missing, or not to be listed by this user: every picture is asked for
        return set()


def _lines_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that is not blank."""
    try:
        content = Path(source).read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"The list file '{source}' does not exist. Give yours. {DEMO_HINT}") from error
    except OSError as error:
        raise DataError(f"The list file '{source}' cannot be read: {error.strerror}.") from error
    text = content.decode("utf-8-sig", "surrogateescape")
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _head(line: str, delimiter: Optional[str]) -> str:
    return line if delimiter is None else line.split(delimiter)[0]


def _parse(line: str, delimiter: Optional[str], place: str) -> tuple[str, int]:
    """Return path and label of a line."""
    path, found, label = line.rpartition(" " if delimiter is None else delimiter)
    if not found or not path.strip():
        hint = ' The line has a tab: set delimiter: "\\t".' if "\t" in line and delimiter != "\t" else ""
        raise DataError(f"{place}: '{line}' has no label. Accepted: path, delimiter, integer label.{hint}")
    try:
        return path.strip(), int(np.int64(int(label)))
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{place}: the label '{label}' is not an integer of 64 bits. Accepted: 0, 1, 2..."
        ) from error
