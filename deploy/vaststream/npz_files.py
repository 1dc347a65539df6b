"""Pictures and scores as VastStream's `vamp` has them: one npz for each picture, and the list of them.

    <folder>/<parent>/<name>.npz   input_0: uint8 [3, H, W], RGB, the picture's own size
    datalist.txt                   their absolute paths, one a line
    <results>/output_000000.npz    output_0: float [1, classes], numbered as the list counts from 0

Source: image2npz.py, vamp_npz_decode.py and eval_imagenet.py of Vastai/VastModelZOO.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ppghost.errors import DataError
from ppghost.files import replaced_file
from ppghost.offline.names import natural_key
from ppghost.offline.outputs import checked_row
from ppghost.offline.preparing import Encode
from ppghost.vision import Pipeline

SUFFIX = ".npz"
INPUT, OUTPUT = "input_0", "output_0"
_NUMBERED = re.compile(r"output_([0-9]+)\.npz")
# What zipfile and NumPy raise on broken bytes.
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    TypeError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def level_encoder(pipeline: Pipeline) -> Encode:
    """Return what turns a picture file into the bytes of its npz; `pipeline` ends with uint8 [H, W, 3]."""

    def encode(data: bytes) -> memoryview:
        levels = np.ascontiguousarray(pipeline(data).transpose(2, 0, 1), np.uint8)
        stream = io.BytesIO()
        np.savez(stream, input_0=levels)
        return stream.getbuffer()

    return encode


def targets_for(pictures: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """Return picture -> its npz, in a folder that is called as the picture's own.

    Raises:
        DataError: two pictures would become one file, or a path does not fit on a line of the list.
    """
    sources: dict[Path, Path] = {}
    for picture in pictures:
        target = folder.absolute() / picture.absolute().parent.name / (picture.stem + SUFFIX)
        other = sources.setdefault(target, picture)
        if other is not picture:
            raise DataError(f"'{other}' and '{picture}' would both become '{target}'. Rename one of them.")
        if "\n" in str(target):
            raise DataError(f"{str(picture)!r} has a line end in its path; the list has one path a line.")
    return {picture: target for target, picture in sources.items()}


def write_datalist(path: Path, inputs: Iterable[Path]) -> None:
    """Write the list of the inputs.

    Raises:
        OutputError: it cannot be written.
    """
    with replaced_file(path) as part:
        part.write_bytes("".join(f"{entry}\n" for entry in inputs).encode("utf-8", "surrogateescape"))


def read_datalist(path: Path) -> list[Path]:
    """Return the paths of a list.

    Raises:
        DataError: it cannot be read, is empty, or names a file twice.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise DataError(f"The list '{path}' cannot be read: {error.strerror or error}.") from error
    found: dict[Path, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        entry = Path(line.strip())
        if not line.strip():
            continue
        if entry in found:
            raise DataError(f"{path}:{number}: '{entry}' is listed already. List each file once.")
        found[entry] = None
    if not found:
        raise DataError(f"The list '{path}' is empty. Make it: vaststream.py image2npz")
    return list(found)


def read_levels(path: Path) -> np.ndarray:
    """Return the picture of an input: uint8 [H, W, 3], RGB.

    Raises:
        DataError: the file is missing, cut off, or holds no picture.
    """
    levels = _read(path, INPUT)
    if levels.dtype != np.uint8 or levels.ndim != 3 or levels.shape[0] != 3 or not levels.size:
        raise DataError(
            f"'{path}' holds {levels.dtype} {list(levels.shape)}; accepted: uint8 [3, height, width]. Make "
            "it again: vaststream.py image2npz"
        )
    return np.ascontiguousarray(levels.transpose(1, 2, 0))


def output_name(index: int) -> str:
    """Return the name of the results for the input at a place of the list, counted from 0."""
    return f"output_{index:06d}{SUFFIX}"


def write_output(path: Path, scores: np.ndarray) -> None:
    """Write the scores of one picture, float32 [C], as [1, C].

    Raises:
        OutputError: the file cannot be written.
    """
    with replaced_file(path, flush=False) as part, part.open("wb") as stream:
        np.savez(stream, output_0=np.ascontiguousarray(scores, np.float32)[np.newaxis])


def read_output(path: Path, class_num: int) -> np.ndarray:
    """Return the scores of one picture: float [class_num].

    Raises:
        DataError: the file is missing, cut off, has another number of classes, or holds what is no number.
    """
    return checked_row(_read(path, OUTPUT), class_num, path)


def find_outputs(folder: Path, inputs: Sequence[Path], *, is_subset: bool = False) -> dict[Path, Path]:
    """Return input -> its results.

    Results that are numbered find their inputs by the number; others by their order, so that of those none
    may be missing.

    Args:
        folder: of the results.
        inputs: as listed.
        is_subset: accept inputs without results, where the results are numbered.

    Raises:
        DataError: there are too few or too many of them, or none.
    """
    try:
        names = sorted((path.name for path in folder.iterdir() if path.suffix == SUFFIX), key=natural_key)
    except OSError as error:
        raise DataError(f"The folder '{folder}' cannot be read: {error.strerror or error}.") from error
    if not names:
        raise DataError(f"There is no result in '{folder}'. Accepted: {output_name(0)} and on.")
    numbers = [_NUMBERED.fullmatch(name) for name in names]
    is_numbered = all(numbers)
    places = [int(match[1]) for match in numbers if match] if is_numbered else list(range(len(names)))
    counts = f"'{folder}' has {len(names)} results for {len(inputs)} pictures"
    if len(set(places)) != len(places) or max(places) >= len(inputs):
        raise DataError(
            f"{counts}, up to {names[-1]}: they are of another list. Run the inference again, into an empty "
            "folder."
        )
    missing = sorted(set(range(len(inputs))) - set(places))
    if missing and not is_numbered:
        raise DataError(f"{counts}, and nothing tells which are missing. Run the inference for all pictures.")
    if missing and not is_subset:
        raise DataError(
            f"{counts}; there is none for '{inputs[missing[0]]}'. Run the inference for all pictures, or "
            "score those that are there: --subset"
        )
    return {inputs[place]: folder / name for place, name in sorted(zip(places, names))}


def _read(path: Path, key: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{key}.npy" not in archive.namelist():
                raise DataError(f"'{path}' has no array '{key}'; it has {archive.namelist()}.")
            with archive.open(f"{key}.npy") as stream:
                array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
                if stream.read(1):  # reading to the end also proves the checksum
                    raise ValueError("something follows the array")
    except FileNotFoundError:
        raise DataError(f"'{path}' does not exist.") from None
    except _BROKEN as error:
        raise DataError(f"'{path}' is broken or cut off: {error}.") from error
    return array
