"""Near duplicates: pictures of one photograph, resized, recompressed, mirrored or slightly cropped.

Two steps. A 64-bit hash of the lowest cosine frequencies finds candidates: it hardly changes with size, JPEG
quality and brightness, and codes of cropped and mirrored windows of the searched pictures stand in the index
too. Then a candidate is aligned with the picture, by an affine map, and what counts is how well the two
correlate. All is computed from thumbnails, and the same pictures always give the same answer.

The index splits a code into four parts of 16 bits: of two codes that differ in at most t bits, one part
differs in at most t // 4, so looking up the neighbours of each part finds all of them (multi-index hashing,
Norouzi et al., CVPR 2012). Thumbnails and codes take 5 KB for each picture that is searched.

Brick: imports neither Paddle nor any other room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, Optional

import cv2
import numpy as np

SIDE = 64
# Measured by tools/measure_duplicates.py on photographs of ImageNet. Of 1,000 different ones, each searched
# among 500 others, a pair reached 0.872: two were taken for copies at 0.85, none at 0.9 and 0.95. Of 300
# copies of 64 x 64 pixels 300, 299 and 291 were found, of other slight edits as many at 0.95 as at 0.85 but
# for 1 of 300 a quarter the size. 50,000 validation pictures give 100 times the chances of an alarm, so the
# highest stands here.
THRESHOLD, SIMILARITY = 11, 0.95
MOST_BITS = 15
_PARTS, _PART_BITS = 4, 16
_DCT_SIDE, _FREQUENCIES = 32, 8
# Enough for crops, which the windows have brought to within a few pixels.
_ALIGNMENT = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4)
_ATTEMPTS = 3
_POPULATION = np.array([bin(value).count("1") for value in range(1 << _PART_BITS)], np.uint8)


class Window(NamedTuple):
    """A part of a picture, in shares of its sides."""

    left: float
    top: float
    right: float
    bottom: float


def _corners_and_middle(share: float) -> list[Window]:
    rest = 1.0 - share
    places = ((0.0, 0.0), (rest, 0.0), (0.0, rest), (rest, rest), (rest / 2, rest / 2))
    return [Window(x, y, x + share, y + share) for x, y in places]


WHOLE = Window(0.0, 0.0, 1.0, 1.0)
CROPS = (
    *_corners_and_middle(0.94),
    *_corners_and_middle(0.89),
    *_corners_and_middle(0.84),
    # one side cut, and the square in the middle of a photograph of 4 : 3
    Window(0.1, 0.0, 1.0, 1.0),
    Window(0.0, 0.1, 1.0, 1.0),
    Window(0.0, 0.0, 0.9, 1.0),
    Window(0.0, 0.0, 1.0, 0.9),
    Window(0.125, 0.0, 0.875, 1.0),
    Window(0.0, 0.125, 1.0, 0.875),
)
WINDOWS = (WHOLE, *CROPS)


@dataclass(frozen=True)
class Match:
    """A picture that shows the same as the one that was asked for.

    Attributes:
        index: of the picture among those that are searched.
        bits: in how many of 64 bits the codes differ.
        similarity: the correlation after alignment, up to 1.
        is_mirrored: whether one has to be mirrored.
    """

    index: int
    bits: int
    similarity: float
    is_mirrored: bool


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """Return `uint8 [64, 64]`, grey, of `uint8 [H, W, 3] RGB`."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return grey


def codes_of(thumb: np.ndarray, windows: tuple[Window, ...] = (WHOLE,)) -> np.ndarray:
    """Return the codes `uint64 [len(windows)]` of windows of a thumbnail `uint8 [64, 64]`."""
    low = np.empty((len(windows), _FREQUENCIES, _FREQUENCIES), np.float32)
    for row, window in zip(low, windows):
        left, top, right, bottom = (round(SIDE * share) for share in window)
        part = cv2.resize(thumb[top:bottom, left:right], (_DCT_SIDE,) * 2, interpolation=cv2.INTER_AREA)
        row[:] = cv2.dct(part.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES]
    flat = low.reshape(len(windows), -1)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False  # the mean, which only tells the brightness
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


class HashIndex:
    """Finds all codes within a number of bits.

    Args:
        codes: uint64 [N].
        threshold: in how many bits a found code may differ, 0 to 15. Time leaps at 4, 8 and 12.
    """

    def __init__(self, codes: np.ndarray, threshold: int = THRESHOLD) -> None:
        if not 0 <= threshold <= MOST_BITS:
            raise ValueError(f"threshold is {threshold}; accepted: 0 to {MOST_BITS}.")
        self._codes = codes
        self._threshold = threshold
        self._neighbours = np.array(
            [
                sum(1 << bit for bit in chosen)
                for count in range(threshold // _PARTS + 1)
                for chosen in combinations(range(_PART_BITS), count)
            ]
        )
        parts = codes.view(np.uint16).reshape(-1, _PARTS)
        # Of each part: the codes in its order, and where each value starts.
        self._orders = [np.argsort(parts[:, i], kind="stable").astype(np.int32) for i in range(_PARTS)]
        self._starts = [
            np.concatenate(([0], np.cumsum(np.bincount(parts[:, i], minlength=1 << _PART_BITS))))
            for i in range(_PARTS)
        ]

    def find(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all that is within the threshold of `queries`, uint64 [Q].

        Returns:
            positions of queries, positions of codes, differing bits: int64 [M] each, each pair once, sorted.
        """
        parts = queries.view(np.uint16).reshape(-1, _PARTS)
        found = []
        for number, (order, starts) in enumerate(zip(self._orders, self._starts)):
            keys = parts[:, number, None].astype(np.int64) ^ self._neighbours
            first = starts[keys].ravel()
            counts = starts[keys + 1].ravel() - first
            ends = np.cumsum(counts)
            places = np.arange(ends[-1]) + np.repeat(first - ends + counts, counts)
            owners = np.repeat(np.repeat(np.arange(len(queries)), len(self._neighbours)), counts)
            codes = order[places].astype(np.int64)
            bits = _differing(queries[owners], self._codes[codes])
            is_near = bits <= self._threshold
            found.append(np.stack([owners[is_near], codes[is_near], bits[is_near]]))
        pairs = np.unique(np.concatenate(found, axis=1), axis=1)
        return pairs[0], pairs[1], pairs[2]


def _differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):  # from NumPy 2 on, several times as fast
        bits: np.ndarray = np.bitwise_count(one ^ other)
        return bits
    parts = (one ^ other).view(np.uint16).reshape(-1, _PARTS)
    count: np.ndarray = _POPULATION[parts].sum(axis=1, dtype=np.int64)
    return count


def similarity_of(thumb: np.ndarray, other: np.ndarray, window: Window = WHOLE) -> float:
    """Return how well two thumbnails correlate, -1 to 1, after an affine map that makes it most.

    Args:
        thumb: uint8 [64, 64].
        other: uint8 [64, 64].
        window: of `other`, where the map starts from: about what `thumb` shows.
    """
    left, top, right, bottom = window
    start = np.array([[right - left, 0, SIDE * left], [0, bottom - top, SIDE * top]], np.float32)
    try:
        return float(cv2.findTransformECC(thumb, other, start, cv2.MOTION_AFFINE, _ALIGNMENT, None, 3)[0])
    except cv2.error:  # it does not converge, as with pictures that have nothing in common, or of one colour
        return 1.0 if np.array_equal(thumb, other) else -1.0


class NearDuplicates:
    """Finds the picture that shows the same. May be asked by several threads at once.

    Args:
        thumbs: uint8 [64, 64] each, thumbnails of the pictures that are searched; taken one by one.
        threshold: differing bits up to which a picture is a candidate, 0 to 15.
        similarity: the correlation from which a candidate is a duplicate.
    """

    def __init__(
        self, thumbs: Iterable[np.ndarray], threshold: int = THRESHOLD, similarity: float = SIMILARITY
    ) -> None:
        self._thumbs: list[np.ndarray] = []
        self._similarity = similarity
        found: list[np.ndarray] = []
        for thumb in thumbs:
            self._thumbs.append(thumb)
            found += [codes_of(thumb, WINDOWS), codes_of(_mirrored(thumb), WINDOWS)]
        codes = np.array(found, np.uint64).reshape(-1, len(WINDOWS))
        # Crops of the searched pictures are found by the first; those that they are crops of by the second.
        self._windows = HashIndex(codes.ravel(), threshold)
        self._wholes = HashIndex(np.ascontiguousarray(codes[:, 0]), threshold)

    def find(self, thumb: np.ndarray) -> Optional[Match]:
        """Return the duplicate of a thumbnail `uint8 [64, 64]` with the nearest code; None without any."""
        codes = codes_of(thumb, WINDOWS)
        _, places, bits = self._windows.find(codes[:1])
        candidates = [
            (differing, *divmod(place, len(WINDOWS)), True)
            for differing, place in zip(bits.tolist(), places.tolist())
        ]
        windows, sides, bits = self._wholes.find(codes[1:])
        candidates += [
            (differing, side, window + 1, False)
            for differing, side, window in zip(bits.tolist(), sides.tolist(), windows.tolist())
        ]
        attempts: Counter[int] = Counter()
        for differing, side, window, is_part in sorted(candidates):
            # Neighbouring windows lead to the same alignment; a second and third try are for the doubtful.
            attempts[side] += 1
            if attempts[side] > _ATTEMPTS:
                continue
            index, is_mirrored = divmod(side, 2)
            other = _mirrored(self._thumbs[index]) if is_mirrored else self._thumbs[index]
            part, whole = (thumb, other) if is_part else (other, thumb)
            similarity = similarity_of(part, whole, WINDOWS[window])
            if similarity >= self._similarity:
                return Match(index, differing, similarity, bool(is_mirrored))
        return None


def _mirrored(thumb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(thumb[:, ::-1])
