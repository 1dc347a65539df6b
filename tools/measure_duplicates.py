"""Measure how well copies of pictures are found, on a folder of photographs that are all different.

    python tools/measure_duplicates.py PICTURES [--similarity 0.9]

Each picture is edited in several ways and searched among all of them, as `make_unlabelled_list.py` does.
Told are, for each edit, how many copies were found, how many were taken for another picture, and the least
similarity; and how many unedited pictures were taken for a copy of another one (false alarms).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

import cv2
import numpy as np
from tqdm import tqdm

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.cli.program import run_verb  # noqa: E402 - the checkout must be found first
from ppghost.data.near import (  # noqa: E402 - the checkout must be found first
    SIMILARITY,
    THRESHOLD,
    NearDuplicates,
    thumbnail,
)
from ppghost.predict import list_pictures  # noqa: E402 - the checkout must be found first
from ppghost.vision.decode import decode_with_opencv, read_picture  # noqa: E402 - the checkout must be found first


def _cropped(image: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    height, width = image.shape[:2]
    return image[round(height * top) : round(height * bottom), round(width * left) : round(width * right)]


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED))


def _scaled(image: np.ndarray, factor: float) -> np.ndarray:
    scaled: np.ndarray = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return scaled


def _square(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


EDITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half the size": lambda image: _scaled(image, 0.5),
    "a quarter of the size": lambda image: _scaled(image, 0.25),
    "64 x 64 pixels": lambda image: cv2.resize(image, (64, 64), interpolation=cv2.INTER_LINEAR),
    "JPEG quality 50": lambda image: _jpeg(image, 50),
    "JPEG quality 10": lambda image: _jpeg(image, 10),
    "mirrored": lambda image: image[:, ::-1],
    "5 % cut off around": lambda image: _cropped(image, 0.025, 0.025, 0.975, 0.975),
    "10 % cut off around": lambda image: _cropped(image, 0.05, 0.05, 0.95, 0.95),
    "10 % cut off at right and bottom": lambda image: _cropped(image, 0.0, 0.0, 0.9, 0.9),
    "10 % cut off at the top": lambda image: _cropped(image, 0.0, 0.1, 1.0, 1.0),
    "mirrored, 6 % cut off, half the size, JPEG 30": lambda image: _jpeg(
        _scaled(_cropped(image[:, ::-1], 0.01, 0.02, 0.95, 0.96), 0.5), 30
    ),
    "beyond slight: 20 % cut off around": lambda image: _cropped(image, 0.1, 0.1, 0.9, 0.9),
    "beyond slight: the square in the middle": _square,
}


def measure(options: argparse.Namespace) -> int:
    """Edit, search, and tell."""
    cv2.setNumThreads(1)
    pictures = [decode_with_opencv(read_picture(path)) for path in tqdm(list_pictures(options.pictures))]
    thumbs = [thumbnail(picture) for picture in pictures]
    finder = NearDuplicates(tqdm(thumbs), THRESHOLD, options.similarity)
    print(f"{len(pictures)} pictures; at most {THRESHOLD} bits, similarity at least {options.similarity}")
    print(f"{'edit':46}  found  of another  least similarity")
    for name, edit in EDITS.items():
        found = [finder.find(thumbnail(np.ascontiguousarray(edit(one)))) for one in tqdm(pictures, desc=name)]
        own = [match for number, match in enumerate(found) if match is not None and match.index == number]
        others = sum(match is not None for match in found) - len(own)
        print(f"{name:46} {len(own):6} {others:11} {min((one.similarity for one in own), default=0):17.3f}")
    halves = [
        (NearDuplicates(thumbs[start::2], THRESHOLD, options.similarity), thumbs[1 - start :: 2])
        for start in (0, 1)
    ]
    alarms = sum(half.find(thumb) is not None for half, rest in halves for thumb in rest)
    pairs = sum(len(thumbs[start::2]) * len(thumbs[1 - start :: 2]) for start in (0, 1))
    print(f"false alarms: {alarms} pictures, of {pairs} pairs of different pictures")
    return 0


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "pictures", type=Path, help="a folder of photographs, no two of them of the same thing"
    )
    parser.add_argument(
        "--similarity",
        type=float,
        default=SIMILARITY,
        metavar="R",
        help="correlation from which two pictures are taken for one (default: %(default)s)",
    )
    parser.set_defaults(run=measure)
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(main())
