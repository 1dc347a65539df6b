"""The scores of one picture as a file: npy, raw float32 (bin) or text, as Ascend's tools write them.

Ground: NumPy and the errors; never paddle.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppghost.errors import DataError, suggest
from ppghost.files import replaced_file

FORMATS = ("npy", "bin", "txt")


def write_scores(path: Path, scores: np.ndarray) -> None:
    """Write the scores of one picture; the suffix of `path` chooses the form.

    npy holds float32 [1, C]; bin the same numbers, little endian; txt one line, six decimals and a blank for
    each number.

    Args:
        path: the file; replaced as a whole.
        scores: float32 [C].

    Raises:
        DataError: the suffix is another one.
        OutputError: the file cannot be written.
    """
    form = _form_of(path)
    row = np.ascontiguousarray(scores, "<f4")[np.newaxis]
    with replaced_file(path, flush=False) as part, part.open("wb") as stream:
        if form == "npy":
            np.save(stream, row)
        elif form == "bin":
            stream.write(row.data)
        else:
            stream.write(("".join(f"{score:f} " for score in row[0]) + "\n").encode())


def read_scores(path: Path, class_num: int) -> np.ndarray:
    """Return the scores of one picture: float [class_num].

    Args:
        path: the file; its suffix tells the form.
        class_num: how many classes there must be.

    Raises:
        DataError: the file is missing, cut off, has another number of classes, or holds what is no number.
    """
    form = _form_of(path)
    try:
        scores = _READERS[form](path)
    except FileNotFoundError:
        raise DataError(f"The result '{path}' does not exist.") from None
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise DataError(f"The result '{path}' is broken or cut off: {error}.") from error
    return checked_row(scores, class_num, path)


def checked_row(scores: np.ndarray, class_num: int, path: Path) -> np.ndarray:
    """Return the scores of one picture as they were read from `path`: float [class_num].

    Raises:
        DataError: they are no numbers, not finite, or not one row of `class_num`.
    """
    if scores.dtype.kind not in "fiu":
        raise DataError(f"The result '{path}' holds {scores.dtype}; accepted: numbers.")
    if scores.shape not in ((class_num,), (1, class_num)):
        raise DataError(
            f"The result '{path}' holds {list(scores.shape)} numbers; accepted: one row of {class_num}. "
            "Where "
            "the network has another number of classes, say so."
        )
    scores = scores.reshape(class_num)
    if not np.isfinite(scores).all():
        raise DataError(f"The result '{path}' holds scores that are not finite, so no class is the best.")
    return scores


def _form_of(path: Path) -> str:
    form = path.suffix[1:].lower()
    if form not in FORMATS:
        raise DataError(f"'{path}' is no file of scores. {suggest(form, FORMATS)}")
    return form


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as stream:
        scores: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError("something follows the array")
    return scores


def _read_bin(path: Path) -> np.ndarray:
    data = path.read_bytes()
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes are no whole number of float32")
    return np.frombuffer(data, "<f4")


def _read_txt(path: Path) -> np.ndarray:
    return np.array(path.read_bytes().split(), dtype=np.bytes_).astype(np.float64)


_READERS = {"npy": _read_npy, "bin": _read_bin, "txt": _read_txt}
