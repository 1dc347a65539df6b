"""The inputs of Ascend's offline inference: one raw file for each picture, and the list of them.

`<stem>.bin` holds float32 [3, H, W], little endian, without header: 602,112 bytes at 224 pixels. For a model
with AIPP, which normalises on the device, it holds uint8 [H, W, 3] instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ppghost.errors import DataError
from ppghost.files import replaced_file
from ppghost.offline.names import by_stem, natural_key
from ppghost.offline.preparing import Encode
from ppghost.vision import Pipeline
from ppghost.vision.decode import read_picture
from ppghost.vision.header import read_header
from ppghost.vision.variants import without_normalisation

SUFFIX = ".bin"


def float_encoder(pipeline: Pipeline) -> Encode:
    """Return what turns a picture file into the bytes of its bin."""

    def encode(data: bytes) -> memoryview:
        return _little_endian(pipeline.to_chw(data)).data

    return encode


def level_encoder(pipeline: Pipeline) -> Encode:
    """Return what turns a picture file into the bytes of its bin where AIPP normalises.

    Raises:
        PipelineError: the pipeline does not end with normalisation, so AIPP cannot take it over.
    """
    before = without_normalisation(pipeline)

    def encode(data: bytes) -> memoryview:
        return np.ascontiguousarray(before(data), np.uint8).data

    return encode


def bins_for(pictures: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """Return picture -> its bin in `folder`.

    Raises:
        DataError: two pictures have one stem.
    """
    return {path: folder / f"{path.stem}{SUFFIX}" for path in by_stem(pictures).values()}


def list_bins(folder: Path) -> list[Path]:
    """Return the bins of a folder in the order of Ascend's tools: 2 before 10.

    Raises:
        DataError: there is none, or the folder cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() == SUFFIX]
    except OSError as error:
        raise DataError(f"The folder '{folder}' cannot be read: {error.strerror or error}.") from error
    if not found:
        raise DataError(
            f"There is no {SUFFIX} file in '{folder}'. Make them: ascend.py prepare PICTURES {folder}"
        )
    by_stem(found)
    return sorted(found, key=lambda path: natural_key(path.name))


def read_bins(paths: list[Path], shape: tuple[int, int, int]) -> np.ndarray:
    """Return the inputs of some pictures: float32 [N, 3, H, W].

    Raises:
        DataError: a file cannot be read or has another length.
    """
    size = 4 * int(np.prod(shape))
    rows = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from error
        if len(data) != size:
            raise DataError(
                f"'{path}' has {len(data)} bytes; accepted: {size}, float32 {list(shape)}. Prepare it again."
            )
        rows.append(np.frombuffer(data, "<f4").reshape(shape))
    return np.stack(rows).astype(np.float32, copy=False)


def write_bin_info(folder: Path, out: Path, width: int, height: int) -> int:
    """Write the list of a folder of bins, lines of `index path width height`; return how many there are.

    Raises:
        DataError: there is no bin, or a path holds a blank, which parts the fields.
        OutputError: the list cannot be written.
    """
    return _write_info(((path, width, height) for path in list_bins(folder)), out)


def write_picture_info(pictures: Iterable[Path], out: Path) -> int:
    """Write the list of picture files, each with its own size; return how many there are.

    Raises:
        DataError: a picture is broken, or a path holds a blank.
        OutputError: the list cannot be written.
    """
    return _write_info(_sizes(pictures), out)


def _sizes(pictures: Iterable[Path]) -> Iterator[tuple[Path, int, int]]:
    for path in pictures:
        try:
            header = read_header(read_picture(path))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        yield path, header.width, header.height


def _write_info(rows: Iterable[tuple[Path, int, int]], out: Path) -> int:
    index = 0
    with (
        replaced_file(out) as part,
        part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        for path, width, height in rows:
            if len(str(path).split()) != 1:
                raise DataError(
                    f"'{path}' holds a blank, and blanks part the fields of an info file. Rename it, or "
                    "the folder."
                )
            stream.write(f"{index} {path} {width} {height}\n")
            index += 1
    return index


def _little_endian(array: np.ndarray) -> np.ndarray:
    return array if sys.byteorder == "little" else array.astype("<f4")
