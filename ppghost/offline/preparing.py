"""Pictures to input files, one for each, made in parallel, with a record of how they were made.

A folder of inputs is complete when its record stands in it: the record is taken away first and written last.
Each file appears whole or not at all. Ground: never paddle.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Callable, Optional, Union

from ppghost.errors import DataError, OutputError
from ppghost.files import replaced_file
from ppghost.predict import in_order
from ppghost.results import printable
from ppghost.vision.decode import read_picture

RECORD_FILE = "prepare.json"
SCHEMA = 1

Encode = Callable[[bytes], Union[bytes, memoryview]]
"""Takes the bytes of a picture file, gives those of the input file; raises DataError on a broken picture."""


@dataclass(frozen=True)
class Record:
    """How the inputs of a folder were made.

    Attributes:
        preprocessing: which way: "torchvision", "paddleclas" or "other" (see `ppghost.vision.variants`).
        transform_ops: the pipeline as YAML writes it.
        dtype: "float32", normalised, or "uint8", as decoded: then the device normalises.
        shape: sides of one input: channels first where it is float32, last where it is uint8.
        written: how many inputs there are.
        failures: name of a picture -> why there is no input for it.
    """

    preprocessing: str
    transform_ops: Sequence[Mapping[str, Any]]
    dtype: str
    shape: Sequence[int]
    written: int
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Prepared:
    """What became of one picture: its input file was written, or `failure` says why not."""

    source: Path
    failure: Optional[str] = None


def prepare_files(sources: Mapping[Path, Path], encode: Encode, workers: int) -> Iterator[Prepared]:
    """Write an input file for each picture; yield what became of each, in order.

    A broken picture leaves no file, not even an older one.

    Args:
        sources: picture -> its input file.
        encode: from the bytes of the one to the bytes of the other; called in several threads at once.
        workers: how many threads work. Decoding, resizing and writing hold no lock of Python's.

    Raises:
        OutputError: a file cannot be written.
    """

    def work(pair: tuple[Path, Path]) -> Prepared:
        source, target = pair
        try:
            data = encode(read_picture(source))
        except DataError as error:
            target.unlink(missing_ok=True)
            return Prepared(source, str(error))
        with replaced_file(target, flush=False) as part:
            part.write_bytes(data)
        return Prepared(source)

    return in_order(work, sources.items(), workers)


def claim_folder(folder: Path, names: Collection[str], record: Optional[str] = None) -> None:
    """Make a folder ready for files: its record is taken away, since it is not complete from now on.

    Args:
        folder: missing, empty, or of an earlier run.
        names: the names of the files that will be written.
        record: the name of the file that tells that the folder is complete; None where there is none.

    Raises:
        OutputError: it holds anything else, which would be taken for one of the files, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        accepted = {*names, *(() if record is None else (record,))}
        foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in accepted)
    except OSError as error:
        raise OutputError(
            f"Cannot write the folder {folder}: {error.strerror or error}. Choose another one."
        ) from error
    if foreign:
        listed = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise OutputError(
            f"{folder} holds what belongs to none of these pictures ({printable(listed)}). Remove it, or "
            "choose "
            "another folder."
        )
    if record is not None:
        (folder / record).unlink(missing_ok=True)


def write_record(folder: Path, record: Record) -> None:
    """Complete a folder of inputs.

    Raises:
        OutputError: the record cannot be written.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(record)}, ensure_ascii=False, indent=2)
    with replaced_file(folder / RECORD_FILE) as part:
        part.write_bytes((printable(text) + "\n").encode())


def read_record(folder: Path) -> Optional[Record]:
    """Return how the inputs of a folder were made; None where another program made them.

    Raises:
        DataError: the record cannot be read.
    """
    path = folder / RECORD_FILE
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. Prepare the pictures again.") from error
    names = {"schema", *(field.name for field in fields(Record))}
    if not isinstance(tree, dict) or set(tree) != names or tree.pop("schema") != SCHEMA:
        raise DataError(f"{path} is no record of this version. Prepare the pictures again.")
    return Record(**tree)
