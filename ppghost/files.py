"""Files and folders that appear whole or not at all.

What is written goes to a hidden neighbour first and is renamed when it is complete, so a reader, a second
writer or a killed process never sees half of it. Rock: imports only the errors.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ppghost.errors import OutputError

_REFUSALS = {
    errno.ENOSPC: "there is no space left; free some or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EFBIG: "a file would be larger than this system allows; raise the limit or choose another place",
    errno.EACCES: "permission is denied; choose a folder that you may write to",
    errno.EPERM: "permission is denied; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOENT: "no folder can be made there; choose another place",
    errno.EEXIST: "part of the path is a file, not a folder; choose another path",
    errno.ENOTDIR: "part of the path is a file, not a folder; choose another path",
    errno.EISDIR: "it is a folder; choose a file name",
    errno.EIO: "the disk reports an error; choose another disk",
    errno.EBUSY: "it is a mount point; choose a folder inside it",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextmanager
def _sentences(path: Path, part: Path) -> Iterator[None]:
    """Turn the operating system's refusals while `path` is written, by way of `part`, into an OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS or not _is_about(error, path, part):
            raise
        raise OutputError(f"Cannot write {path}: {_REFUSALS[error.errno]}.") from error


def _is_about(error: OSError, path: Path, part: Path) -> bool:
    # A full disk names no file. A file elsewhere that the caller reads in vain is not our failure to write.
    if error.filename is None:
        return True
    named = Path(os.fsdecode(error.filename))
    return named in (path, part) or named in path.parents or part in named.parents


def _neighbour(path: Path) -> Path:
    # The umask applies to it as to any other file, which tempfile's private modes would prevent.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


@contextmanager
def replaced_file(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a path to write to; when the block ends well, what was written there becomes `path`.

    Side effects: makes the parent folders of `path`. If the block raises, `path` is as it was.

    Args:
        path: the file.
        flush: wait for the disk, so that a loss of power leaves the old file or the new one. False is for
            thousands of files that can be made again.

    Raises:
        OutputError: the file cannot be written; the message says why.
    """
    path = Path(os.path.realpath(path))
    part = _neighbour(path)
    with _sentences(path, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            if flush:
                flush_to_disk(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends well, it becomes `path` and the old one is gone.

    The caller has made sure that the old folder may go: it is removed with everything in it. If the block
    raises, `path` is as it was. A process killed between the two renames at the end leaves the old folder
    beside `path`, as `.<name>.<random>.partial/replaced`; killed earlier, it leaves the unfinished one there.

    Side effects: makes the parent folders of `path`.

    Raises:
        OutputError: the folder cannot be written; the message says why.
    """
    path = Path(os.path.realpath(path))
    holder = _neighbour(path)
    with _sentences(path, holder):
        path.parent.mkdir(parents=True, exist_ok=True)
        (holder / "new").mkdir(parents=True)
        is_placed = False
        try:
            yield holder / "new"
            for file in (holder / "new").iterdir():
                flush_to_disk(file)
            _place(holder / "new", path, holder / "replaced")
            is_placed = True
        finally:
            # Another writer may have moved `path` away for a moment: whether it exists says nothing then.
            if is_placed or path.exists() or not (holder / "replaced").exists():
                shutil.rmtree(holder, ignore_errors=True)


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def flush_to_disk(file: Path) -> None:
    """Return when the content of `file` is on the disk, so that a loss of power cannot take it.

    Raises:
        OSError: it cannot be opened, or the disk reports an error.
    """
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(new: Path, path: Path, retired: Path) -> None:
    """Rename `new` to `path`; a folder in its place goes to `retired`, and back again on a failure."""
    while True:
        try:
            os.rename(new, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                if retired.exists() and not path.exists():
                    os.rename(retired, path)
                raise
        else:
            return
        shutil.rmtree(retired, ignore_errors=True)
        try:
            os.rename(path, retired)
        except FileNotFoundError:  # another writer moved it away first
            continue


def check_replaceable(path: Path, own_names: Collection[str]) -> None:
    """Make sure that `path` is missing, or a folder that holds nothing but files of ours.

    Args:
        path: where a folder is to be written.
        own_names: names of the files that may be replaced.

    Raises:
        OutputError: `path` is a file, or holds anything else; the message names it.
    """
    if not os.path.exists(path):
        return
    if not os.path.isdir(path):
        raise OutputError(f"Cannot write the folder {path}: it is a file. Choose another path.")
    with _sentences(path, path):
        foreign = sorted(
            entry.name for entry in path.iterdir() if entry.name not in own_names or not entry.is_file()
        )
    if foreign:
        named = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise OutputError(
            f"{path} holds files that no export wrote ({named}), and it is replaced only as a whole. "
            "Move them away or choose another folder."
        )
