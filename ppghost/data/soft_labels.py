"""Soft labels: a teacher's answers to every picture of a training set, stored once, to be learnt from often.

A picture has several *views*, drawings of its random numbers (region, mirror image, ...). A file holds, for
each of V views of each of N pictures, the K classes with the largest shares and what is left over:

    header    one line of JSON, `{"ppghost_soft_labels": 1, ...}`, the fields of `Header`; blanks before the
              line end bring it to a multiple of 64 bytes
    records   V x N, view after view, pictures in the order of the list, little-endian:
                ids     uint16 [K], the classes, the largest share first (uint32 above 65,536 classes)
                levels  uint16 [K + 1], minus the logarithm of each share, in steps of 1/2048; the last one is
                        of all other classes together, spread evenly over them when read
              with K = all classes a record has the levels alone, of each class in order
    checksum  SHA-256 of all the above, 32 bytes

A picture that could not be read has a record of ones only.

Why levels: they reach from a share of 1 to one of 1e-14, each within 0.03 %. Over 512 random answers to 1000
classes (best share 0.2, 0.97, 1.0 on average) all classes stored as levels cost a divergence KL(teacher ||
stored) of 9e-9, 6e-10, 2e-14; as half-precision logarithms 5e-7, 4e-8, 5e-12; as half-precision shares 3e-8,
5e-6, 6e-5, since these lose what is below 6e-8, and `DistillationDMLLoss` sees just that.

While it is written the file is called `<name>.partial`; a run that was stopped goes on there, at the start of
a batch, and the finished file is the same to the byte.

Must not import paddle. Source of the idea: Shen & Xing, A Fast Knowledge Distillation Framework for Visual
Recognition (arXiv:2112.01528).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Optional

import numpy as np

from ppghost.cache import try_lock
from ppghost.errors import DataError, OutputError
from ppghost.files import flush_to_disk

FORM = 1
STEPS = 2048
"""Levels are counted in steps of 1/2048 of a natural logarithm."""
_MARK = "ppghost_soft_labels"
_MISSING = 0xFFFF
_ALIGNMENT = 64
_LONGEST_HEADER = 1 << 20
_MOST_CLASSES = 1 << 24
_CHUNK = 1 << 22
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Header:
    """What a file holds, and what it was made from.

    Attributes:
        pictures: N.
        classes: how many the teacher knows.
        kept: K.
        views: V.
        seed: the random numbers of view v of picture i are those of `(seed, v, i)`.
        samples: digest of the pictures and their order, see `ppghost.data.dataset.Samples`.
        ops: what happened to a picture, each op as JSON text.
        teacher: its architecture.
        weights: which weights it had.
    """

    pictures: int
    classes: int
    kept: int
    views: int
    seed: int
    samples: str
    ops: tuple[str, ...]
    teacher: str
    weights: str

    @property
    def record(self) -> np.dtype[Any]:
        """The form of one answer."""
        if self.kept == self.classes:
            return np.dtype([("levels", "<u2", (self.classes,))])
        ids = "<u2" if self.classes <= 1 << 16 else "<u4"
        return np.dtype([("ids", ids, (self.kept,)), ("levels", "<u2", (self.kept + 1,))])

    @property
    def answers(self) -> int:
        """How many records there are."""
        return self.views * self.pictures

    @property
    def line(self) -> bytes:
        """The header as it stands in the file."""
        text = json.dumps({_MARK: FORM, **dataclasses.asdict(self)})
        return text.ljust(-(-(len(text) + 1) // _ALIGNMENT) * _ALIGNMENT - 1).encode("ascii") + b"\n"

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return len(self.line) + self.answers * self.record.itemsize + _DIGEST_BYTES


def kept_of(top_k: int, classes: int) -> int:
    """Return how many classes are stored where `top_k` are asked for: all where that takes no more bytes."""
    few, every = (Header(0, classes, kept, 0, 0, "", (), "", "") for kept in (min(top_k, classes), classes))
    return classes if every.record.itemsize <= few.record.itemsize else few.kept


# -------------------------------------------------------------------------------------------- one answer


def pack(logits: np.ndarray, header: Header) -> np.ndarray:
    """Return the records of logits.

    Args:
        logits: float [N, classes], finite.
        header: says in which form.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    records = np.empty(len(logits), header.record)
    if header.kept == header.classes:
        records["levels"] = _levels(logs)
        return records
    order = np.argsort(-logs, axis=1, kind="stable")
    kept, others = order[:, : header.kept], order[:, header.kept :]
    rest = np.exp(np.take_along_axis(logs, others, axis=1)).sum(axis=1, keepdims=True)
    records["ids"] = kept
    records["levels"] = _levels(
        np.hstack([np.take_along_axis(logs, kept, axis=1), np.log(np.maximum(rest, np.finfo(float).tiny))])
    )
    return records


def unpack(records: np.ndarray, header: Header) -> np.ndarray:
    """Return logits float32 [N, classes] of records: logarithms of the shares."""
    logs = records["levels"].astype(np.float32) / -STEPS
    if header.kept == header.classes:
        return logs
    others = header.classes - header.kept
    logits = np.repeat(logs[:, -1:] - np.float32(np.log(others)), header.classes, axis=1)
    np.put_along_axis(logits, records["ids"].astype(np.int64), logs[:, :-1], axis=1)
    return logits


def missing(count: int, header: Header) -> np.ndarray:
    """Return the records of pictures without an answer."""
    return np.frombuffer(b"\xff" * (count * header.record.itemsize), header.record).copy()


def _levels(logs: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(logs * -STEPS), 0, _MISSING - 1).astype(np.uint16)


# ------------------------------------------------------------------------------------------------ reading


class SoftLabels:
    """A file of answers, mapped into memory.

    Args:
        path: the file.

    Attributes:
        path: the file.
        header: what it holds.

    Raises:
        DataError: it is missing, cut off, or no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.header = _read_header(path)
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise DataError(_absent(path)) from error
        except OSError as error:
            raise DataError(f"The soft labels {path} cannot be read: {error.strerror}.") from error
        if size != self.header.file_bytes:
            raise DataError(
                f"The soft labels {path} have {size} bytes, but should have {self.header.file_bytes}: the "
                "file was cut off or changed. Store them anew, or copy them again."
            )
        shape = (self.header.views, self.header.pictures)
        start = len(self.header.line)
        self._records = np.memmap(path, self.header.record, "r", offset=start, shape=shape)

    def check(self) -> None:
        """Read the whole file and compare its checksum.

        Raises:
            DataError: it is another.
        """
        digest = hashlib.sha256()
        left = self.header.file_bytes - _DIGEST_BYTES
        with self.path.open("rb") as stream:
            while left:
                chunk = stream.read(min(_CHUNK, left))
                digest.update(chunk)
                left -= len(chunk)
            stored = stream.read()
        if stored != digest.digest():
            raise DataError(
                f"The soft labels {self.path} are damaged: the checksum at the end is of other contents. "
                "Store them anew, or copy them again."
            )

    def logits(self, view: int, indices: np.ndarray) -> np.ndarray:
        """Return the answers to some pictures, float32 [n, classes]: logarithms of shares.

        Args:
            view: from 1.
            indices: int64 [n], numbers of the pictures in the list.

        Raises:
            DataError: one of the pictures could not be read when the answers were stored.
        """
        records = self._records[view - 1, indices]
        absent = np.flatnonzero((records["levels"] == _MISSING).all(axis=1))
        if len(absent):
            raise DataError(
                f"The soft labels {self.path} have no answer to picture {indices[absent[0]]} of the list "
                "(from 0): it could not be read when they were stored. Store them anew, or take its line out."
            )
        return unpack(records, self.header)


def _absent(path: Path) -> str:
    if os.path.exists(partial_of(path)):
        return (
            f"The soft labels {path} are not finished: {partial_of(path)} is there. Repeat the command that "
            "began it, tools/store_soft_labels.py goes on where it stopped."
        )
    return f"There are no soft labels at {path}. tools/store_soft_labels.py stores them."


def _read_header(path: Path) -> Header:
    """Return the header of a file; raises OSError, too."""
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep us waiting
        raise DataError(f"{path} is a folder or a device. Give a file that tools/store_soft_labels.py wrote.")
    with path.open("rb") as stream:
        line = stream.readline(_LONGEST_HEADER)
    header = _parsed(line, path)
    if header is None or header.line != line:
        raise DataError(
            f"{path} is no file of soft labels, or its header was changed; accepted: what "
            "tools/store_soft_labels.py wrote."
        )
    return header


def _parsed(line: bytes, path: Path) -> Optional[Header]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    form = fields.pop(_MARK, None) if isinstance(fields, dict) else None
    if isinstance(form, int) and form != FORM:
        raise DataError(
            f"The soft labels {path} are of format {form}; this version reads format {FORM}. Store them anew."
        )
    if form is None or set(fields) != {field.name for field in dataclasses.fields(Header)}:
        return None
    return _checked(fields)


def _checked(fields: Mapping[str, Any]) -> Optional[Header]:
    """Return the header of given fields, None where they make none."""
    numbers = [fields[name] for name in ("pictures", "classes", "kept", "views", "seed")]
    texts = [fields[name] for name in ("samples", "teacher", "weights")]
    ops = fields["ops"]
    is_typed = (
        all(type(number) is int for number in numbers)
        and isinstance(ops, list)
        and all(isinstance(text, str) for text in (*texts, *ops))
    )
    if not is_typed or min(numbers[:4]) < 1 or fields["seed"] < 0:
        return None
    if not fields["kept"] <= fields["classes"] <= _MOST_CLASSES:
        return None
    return Header(**{**fields, "ops": tuple(ops)})


# ------------------------------------------------------------------------------------------------ writing


def partial_of(path: Path) -> Path:
    """Return where a file is while it is written."""
    return path.with_name(f"{path.name}.partial")


class Store:
    """An unfinished file; `storing` makes it.

    Attributes:
        digest: SHA-256 of header and records so far.
        done: how many records it holds.
    """

    def __init__(self, path: Path, stream: BinaryIO, digest: Any, done: int) -> None:
        self._path = path
        self._stream = stream
        self.digest = digest
        self.done = done

    def append(self, records: np.ndarray) -> None:
        """Add records at the end; a process that is killed after it loses none.

        Raises:
            OutputError: they cannot be written.
        """
        content = records.tobytes()
        with _written(self._path):
            self._stream.write(content)
            self._stream.flush()
        self.digest.update(content)
        self.done += len(records)


@contextmanager
def storing(path: Path, header: Header, batch_size: int) -> Iterator[Store]:
    """Yield an unfinished file to append to, begun or gone on with; complete, it becomes `path`.

    Unfinished it stays, to go on with, whatever ended the block.

    Args:
        path: the file.
        header: what it is going to hold.
        batch_size: a file goes on at the start of a batch of this many pictures of a view.

    Raises:
        DataError: what is there unfinished is of something else; the message tells the difference.
        OutputError: the file cannot be written, or another process is writing it.
    """
    part = partial_of(path)
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder. Choose the path of a file for the soft labels.")
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = part.open("r+b" if part.exists() else "x+b")
    with _closing(stream, path):
        _claim(stream, part)
        done = _done(part, header, batch_size)
        with _written(path):
            store = Store(path, stream, _prepared(stream, header, done), done)
        yield store
        if store.done < header.answers:
            return
        with _written(path):
            stream.write(store.digest.digest())
            stream.flush()
            flush_to_disk(part)
            os.replace(part, path)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}. What is done is kept: mend that and repeat the "
            "command, or choose another place."
        ) from error


@contextmanager
def _closing(stream: BinaryIO, path: Path) -> Iterator[None]:
    """Close a file at the end, which on a full disk fails as the last write did."""
    try:
        yield
    finally:
        with _written(path):
            stream.close()


def _claim(stream: BinaryIO, part: Path) -> None:
    """Make sure that no other process writes the file; the system forgets the claim when a process dies."""
    if sys.platform == "win32":
        raise OutputError(
            "Soft labels cannot be stored on Windows. Store them elsewhere; they can be read here."
        )
    try:
        is_ours = try_lock(stream) and os.path.samestat(os.fstat(stream.fileno()), part.stat())
    except FileNotFoundError:  # another has just finished it
        is_ours = False
    except OSError as error:
        raise OutputError(
            f"{part} cannot be locked against a second writer: {error.strerror}. Choose a place on another "
            "disk; the finished file can be moved."
        ) from error
    if not is_ours:
        raise OutputError(f"Another process is writing {part}. Wait for it, or choose another file.")


def _done(part: Path, header: Header, batch_size: int) -> int:
    """Return with how many records an unfinished file goes on."""
    with part.open("rb") as stream:
        line = stream.readline(_LONGEST_HEADER)
    if not line.endswith(b"\n") and header.line.startswith(line):
        return 0  # new, or killed while it wrote the header
    there = _read_header(part)
    if there != header:
        raise DataError(
            f"{part} is of another run, so this one cannot go on there:{differences(there, header)}\n"
            "Repeat the command that began it, delete the file, or choose another one."
        )
    count = min((part.stat().st_size - len(line)) // header.record.itemsize, header.answers)
    views, pictures = divmod(count, header.pictures)
    return views * header.pictures + pictures // batch_size * batch_size


def differences(there: Header, now: Header) -> str:
    """Return a line for each field in which two headers differ."""
    pairs = [(field.name, getattr(there, field.name), getattr(now, field.name)) for field in _FIELDS]
    return "".join(f"\n  {name}: {a!r} in the file, {b!r} now" for name, a, b in pairs if a != b)


_FIELDS = dataclasses.fields(Header)


def _prepared(stream: BinaryIO, header: Header, done: int) -> Any:
    """Cut an unfinished file to some records, leave its position at the end, return the digest so far."""
    stream.truncate(len(header.line) + done * header.record.itemsize)
    stream.write(header.line)
    digest = hashlib.sha256(header.line)
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest
