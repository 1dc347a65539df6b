"""Where files live that can be fetched or made again, and how processes take turns there.

Rock: standard library and the errors.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ppghost.errors import OutputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the folder for weights, environments and compiled libraries, which may not exist yet.

    `PPGHOST_HOME` if it is set, else `$XDG_CACHE_HOME/ppghost`, else `~/.cache/ppghost`.

    Raises:
        OutputError: none of the three is known: there is no home folder.
    """
    home = os.environ.get("PPGHOST_HOME")
    if home:
        return Path(home).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "ppghost"
    except RuntimeError as error:
        raise OutputError(
            f"There is no home folder for the cache: {error} Set PPGHOST_HOME to a folder that you may write "
            "to."
        ) from error


def make_folder(folder: Path) -> Path:
    """Create `folder` and its parents where they are missing, and return it.

    Raises:
        OutputError: the system does not allow it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes for the length of a `with` block.

    The lock is the file `path`, made where missing and left behind (removing it would let two processes hold
    two different files of one name). The system frees it when a process dies, however it dies.

    Raises:
        OutputError: the lock file cannot be written, or not be locked.
    """
    make_folder(path.parent)
    try:
        stream = path.open("ab")
    except OSError as error:
        raise _cannot_write(path, error) from error
    with stream:
        try:
            if not try_lock(stream):
                logger.info("Another process works on %s; waiting for it.", path.with_suffix(""))
                _wait_for_lock(stream)
        except OSError as error:  # some network file systems have no locks
            raise _cannot_write(path, error) from error
        yield


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Cannot write to the cache at {path}: {error.strerror or error}. "
        "Set PPGHOST_HOME to a folder that you may write to."
    )


if sys.platform == "win32":

    def try_lock(stream: BinaryIO) -> bool:
        """Lock an open file between processes and say whether it worked: False where another holds it."""
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_for_lock(stream: BinaryIO) -> None:
        while not try_lock(stream):
            # LK_LOCK itself waits ten seconds at most.
            with contextlib.suppress(OSError):
                msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
                return

else:

    def try_lock(stream: BinaryIO) -> bool:
        """Lock an open file between processes and say whether it worked: False where another holds it.

        Raises:
            OSError: its file system has no locks.
        """
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(stream: BinaryIO) -> None:
        fcntl.flock(stream, fcntl.LOCK_EX)
