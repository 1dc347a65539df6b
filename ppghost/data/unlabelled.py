"""Unlabelled pictures for distillation: which files of a folder are worth learning from, and in which list.

The published way (SSLD): take out what shows a picture of the validation set, let a teacher classify the
rest, keep of each class the k pictures that it is surest of, and list them, label 0, behind the labelled.

A picture takes about 100 bytes of memory, whatever its size; pictures are read one by one by several threads.

Brick: imports neither Paddle nor any other room but the ground.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import numpy as np

from ppghost.data.lists import PictureList
from ppghost.data.near import Match, NearDuplicates, thumbnail
from ppghost.errors import DataError
from ppghost.predict import Classified, in_order
from ppghost.vision.decode import decode_with_opencv, read_picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NO_LABEL = 0

Progress = Callable[[int, int], None]
"""Is told how many pictures were done just now, of how many."""


@dataclass
class Scan:
    """What lies in a folder.

    Attributes:
        pictures: files that are named like pictures, sorted, paths from the root of the lists.
        others: suffix -> how many files are named otherwise.
        folder_links: links to folders, which are not followed.
        unlistable: names that a line of a list cannot hold.
        labelled: how many pictures stand in the labelled list already.
    """

    pictures: PictureList
    others: Counter[str]
    folder_links: list[str]
    unlistable: list[str]
    labelled: int


@dataclass(frozen=True)
class Removed:
    """A picture that shows the same as one of the validation set."""

    name: str
    shows: str
    match: Match


@dataclass
class Survey:
    """What became of the pictures of a scan.

    Attributes:
        kept: positions of the pictures that are left, ascending, int64 [N].
        broken: name and reason of those that cannot be read.
        near: those that show a picture of the validation set.
        repeated: name, and name of the earlier picture whose file is the same byte for byte.
    """

    kept: np.ndarray
    broken: list[tuple[str, str]] = field(default_factory=list)
    near: list[Removed] = field(default_factory=list)
    repeated: list[tuple[str, str]] = field(default_factory=list)


def scan_folder(
    folder: Path, root: Path, delimiter: str, labelled: Iterable[str] = (), ignored: Collection[str] = ()
) -> Scan:
    """Find the pictures in a folder, to its depths. Links to files are followed, links to folders are not.

    Args:
        folder: where to look; it lies in `root`.
        root: where the paths of the lists start.
        delimiter: what parts path and label in the lists.
        labelled: paths from `root` of pictures that have a label, and are left out.
        ignored: file names that are passed over without a word, such as our own results.

    Raises:
        DataError: `folder` is no folder, lies outside of `root`, or has no picture that can be listed.
    """
    if not folder.is_dir():
        raise DataError(f"'{folder}' is no folder. Give the folder of the unlabelled pictures.")
    below = os.path.relpath(os.path.abspath(folder), os.path.abspath(root))
    if below.split(os.sep)[0] == os.pardir:
        raise DataError(
            f"{folder} lies outside of {root}, where the paths of the lists start (image_root). Move it "
            f"there, or link it there (ln -s {os.path.abspath(folder)} {root}/unlabelled) and give the link."
        )
    prefix = "" if below == os.curdir else below.replace(os.sep, "/") + "/"
    known = {name for name in map(os.path.normpath, labelled) if name.startswith(prefix)}
    scan = Scan(_listed(folder, root, ()), Counter(), [], [], 0)

    def names() -> Iterator[str]:
        for path, kind in _walk(str(folder), prefix):
            if kind == "link":
                scan.folder_links.append(path)
            elif os.path.splitext(path)[1].lower() not in SUFFIXES:
                scan.others[os.path.splitext(path)[1].lower()] += os.path.basename(path) not in ignored
            elif not _is_listable(path, delimiter):
                scan.unlistable.append(path)
            elif path in known:
                scan.labelled += 1
            else:
                yield path

    scan.pictures = _listed(folder, root, names())
    if not len(scan.pictures):
        raise DataError(
            f"{folder} holds no picture to use: {sum(scan.others.values())} files are named otherwise, "
            f"{len(scan.unlistable)} have names that a list cannot hold, {scan.labelled} are labelled "
            f"already. Pictures end with {', '.join(SUFFIXES)}."
        )
    return scan


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield path and kind, "file" or "link" (to a folder), of everything below a folder, sorted."""
    # A stack, because folders may be nested deeper than calls.
    opened = [(prefix, _entries(folder))]
    while opened:
        before, entries = opened[-1]
        entry = next(entries, None)
        if entry is None:
            opened.pop()
        elif entry.is_dir(follow_symlinks=False):
            opened.append((f"{before}{entry.name}/", _entries(entry.path)))
        else:
            yield before + entry.name, "link" if _leads_to_folder(entry) else "file"


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return iter(sorted(found, key=lambda entry: entry.name))
    except OSError as error:
        raise DataError(f"The folder '{folder}' cannot be read: {error.strerror}.") from error


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself: reading it as a picture will say so
        return False


def _is_listable(path: str, delimiter: str) -> bool:
    """Say whether a line can hold a path: PaddleClas reads UTF-8, strips, and splits everywhere."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return not any(mark in path for mark in (delimiter, "\n", "\r")) and path == path.strip()


def _listed(folder: Path, root: Path, names: Iterable[str]) -> PictureList:
    block, bounds = bytearray(), array("q", [0])
    for name in names:
        block += name.encode("utf-8", "surrogateescape")
        bounds.append(len(block))
    count = len(bounds) - 1
    return PictureList(
        str(folder),
        str(root),
        bytes(block),
        np.array(bounds, np.int64),
        np.full(count, NO_LABEL, np.int64),
        np.arange(1, count + 1),
    )


def thumbnails_of(pictures: PictureList, workers: int, progress: Progress) -> Iterator[np.ndarray]:
    """Yield `uint8 [64, 64]`, the thumbnail of each picture of a validation list, in order.

    Raises:
        DataError: one cannot be read, so that nothing could be compared with it.
    """

    def read(index: int) -> np.ndarray:
        try:
            return thumbnail(decode_with_opencv(read_picture(pictures.path(index))))
        except DataError as error:
            raise DataError(f"{pictures.place(index)}: '{pictures.path(index)}': {error}") from error

    for thumb in in_order(read, range(len(pictures)), workers):
        progress(1, len(pictures))
        yield thumb


def survey(
    pictures: PictureList,
    validation: Optional[PictureList],
    finder: Optional[NearDuplicates],
    workers: int,
    progress: Progress,
) -> Survey:
    """Read every picture and tell which are broken, repeated, or near duplicates of the validation set.

    Args:
        pictures: the unlabelled ones.
        validation: names the pictures that `finder` searches; None, with `finder`, compares with nothing.
        finder: of near duplicates.
        workers: how many threads read.
        progress: is told of each picture.
    """
    result = Survey(np.empty(0, np.int64))
    kept, digests = array("q"), array("Q")

    def judge(index: int) -> tuple[int, Optional[str], int, Optional[Match]]:
        try:
            data = read_picture(pictures.path(index))
            picture = decode_with_opencv(data)
        except DataError as error:
            return index, str(error), 0, None
        digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
        return index, None, digest, finder.find(thumbnail(picture)) if finder else None

    for index, failure, digest, match in in_order(judge, range(len(pictures)), workers):
        progress(1, len(pictures))
        if failure is not None:
            result.broken.append((pictures.name(index), failure))
        elif match is not None and validation is not None:
            result.near.append(Removed(pictures.name(index), validation.name(match.index), match))
        else:
            kept.append(index)
            digests.append(digest)
    places = np.array(kept, np.int64)
    _, first, group = np.unique(np.array(digests, np.uint64), return_index=True, return_inverse=True)
    is_first = np.zeros(len(places), bool)
    is_first[first] = True
    earliest = first[group.reshape(-1)]
    result.repeated = [
        (pictures.name(places[again]), pictures.name(places[earliest[again]]))
        for again in np.flatnonzero(~is_first)
    ]
    result.kept = places[is_first]
    return result


def most_confident(classes: np.ndarray, scores: np.ndarray, per_class: int) -> np.ndarray:
    """Return the positions, ascending, of the `per_class` highest scores of each class.

    Of equal scores the first counts.

    Args:
        classes: int [N].
        scores: float [N].
        per_class: how many of each class at most.
    """
    order = np.lexsort((-scores, classes))
    sorted_classes = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_classes, sorted_classes)
    chosen: np.ndarray = np.sort(order[rank < per_class])
    return chosen


@dataclass(frozen=True)
class Selection:
    """What a teacher chose.

    Attributes:
        chosen: positions in the scan, ascending.
        classes: of all that were asked for: class -> how many of them were taken.
        broken: name and reason of pictures that its preprocessing could not read.
    """

    chosen: np.ndarray
    classes: Counter[int]
    broken: list[tuple[str, str]]


def select(
    pictures: PictureList, kept: np.ndarray, answers: Iterable[Classified], per_class: int
) -> Selection:
    """Take of each class the pictures that a teacher is surest of.

    Args:
        pictures: of the scan.
        kept: positions of those that the teacher was asked for, int64 [N].
        answers: the teacher's, in the order of `kept`; only the first prediction of each counts.
        per_class: how many of each class at most.
    """
    places, classes, scores = array("q"), array("q"), array("d")
    broken = []
    for place, answer in zip(kept.tolist(), answers):
        if answer.failure is not None:
            broken.append((pictures.name(place), answer.failure))
            continue
        places.append(place)
        classes.append(answer.predictions[0].class_id)
        scores.append(answer.predictions[0].score)
    labels = np.array(classes, np.int64)
    best = most_confident(labels, np.array(scores), per_class)
    return Selection(np.array(places, np.int64)[best], Counter(labels[best].tolist()), broken)
