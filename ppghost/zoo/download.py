"""Fetch one file over HTTP(S) or from a folder: resumed, retried, checked, placed whole or not at all.

Knows nothing of weights: what a good file is, the caller's `check` says. Standard library only; no paddle.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.cache import locked
from ppghost.errors import GhostError, OutputError, WeightsError

logger = logging.getLogger(__name__)

Check = Callable[[Path], None]
Progress = Callable[[int, Optional[int]], None]

_CHUNK_BYTES = 1 << 16
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNSATISFIABLE_RANGE = 416


class DownloadError(WeightsError):
    """A file could not be fetched; the message is the reason alone."""


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        timeout_seconds: silence of the server that counts as a failure.
        attempts: how often to try in all.
        pause_seconds: wait before the second try; doubled before each later one.
    """

    timeout_seconds: float = 30.0
    attempts: int = 4
    pause_seconds: float = 1.0


def download(
    url: str,
    destination: Path,
    *,
    check: Check,
    progress: Optional[Progress] = None,
    patience: Optional[Patience] = None,
) -> Path:
    """Place the file at `url` at `destination` and return `destination`.

    A file that is there is kept as it is. Bytes are collected in `<destination>.part`, which a later call
    continues if the server still offers the same file. Only one process at a time works on a destination.

    Args:
        url: an address with scheme http, https or file.
        destination: final path; its folder is made where missing.
        check: called with the collected file; raises GhostError for a bad one, which is then deleted.
        progress: called with the bytes so far and the total, None where the server does not tell.
        patience: time-out and number of tries.

    Raises:
        DownloadError: not reachable, refused, or cut off at every try.
        GhostError: whatever `check` raises.
        OutputError: the folder cannot be written, or the disk is full.
    """
    if destination.is_file():
        return destination
    part = destination.with_name(destination.name + ".part")
    with locked(destination.with_name(destination.name + ".lock")):
        # Another process may have finished while this one waited.
        if not destination.is_file():
            _collect(url, part, progress or _ignore, patience or Patience())
            try:
                check(part)
            except GhostError:
                _forget(part)
                raise
            os.replace(part, destination)
            _forget(part)
    return destination


def _ignore(_done: int, _total: Optional[int]) -> None:
    """Take a progress report and do nothing with it."""


def _collect(url: str, part: Path, progress: Progress, patience: Patience) -> None:
    """Try until `part` is whole or patience ends."""
    for attempt in range(1, patience.attempts + 1):
        try:
            _append(url, part, progress, patience.timeout_seconds)
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
            if error.code == _UNSATISFIABLE_RANGE:
                # What was collected is longer than the file: it belongs to an older one.
                _forget(part)
            elif error.code not in _WORTH_ANOTHER_TRY:
                raise DownloadError(reason) from error
        except (ValueError, http.client.InvalidURL) as error:
            # For example an address with letters that are not ASCII; another try would not mend it.
            raise DownloadError(f"the address is not understood ({error})") from error
        except (OSError, http.client.HTTPException, _CutOffError) as error:
            # OSError covers URLError, time-outs, broken connections and TLS; writing raises OutputError.
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            return
        logger.info("Try %d of %d to fetch %s failed: %s.", attempt, patience.attempts, url, reason)
        if attempt < patience.attempts:
            time.sleep(patience.pause_seconds * 2 ** (attempt - 1))
    raise DownloadError(f"{reason} ({patience.attempts} tries)")


class _CutOffError(Exception):
    """Fewer bytes came than were announced."""


def _append(url: str, part: Path, progress: Progress, timeout_seconds: float) -> None:
    """Ask for what `part` lacks and append it."""
    start, version = _collected(part)
    request = urllib.request.Request(url, headers={"User-Agent": "ppghost"})
    if start:
        # If-Range: should the file have changed since, the server sends the new one from its beginning.
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    with urllib.request.urlopen(request, timeout=timeout_seconds) as reply:
        offered = _start_of(reply)
        if offered not in (0, start):
            _forget(part)
            raise _CutOffError(f"the server continued at byte {offered} when asked for byte {start}")
        length = reply.headers.get("Content-Length")
        total = offered + int(length) if length is not None and length.isdecimal() else None
        done = _copy(reply, part, offered, total, progress)
    if total is not None and done != total:
        raise _CutOffError(f"the connection ended after {done} of {total} bytes")


def _copy(reply: Any, part: Path, done: int, total: Optional[int], progress: Progress) -> int:
    """Write the body of `reply` to `part` from byte `done` on and return the bytes collected in all."""
    with _writing(part):
        stream = part.open("ab" if done else "wb")
        _version_file(part).write_text(_version_of(reply), encoding="latin-1")
    with stream:
        progress(done, total)
        while chunk := reply.read(_CHUNK_BYTES):
            with _writing(part):
                stream.write(chunk)
            done += len(chunk)
            progress(done, total)
        with _writing(part):
            stream.flush()
            os.fsync(stream.fileno())
    return done


@contextlib.contextmanager
def _writing(part: Path) -> Iterator[None]:
    """Tell a full or forbidden disk from a broken connection: both are OSError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write {part}: {error.strerror or error}. "
            "Free space there, or set PPGHOST_HOME to another folder."
        ) from error


def _start_of(reply: Any) -> int:
    """Return the offset at which the body of `reply` begins: 0 unless the server continues."""
    match = re.match(r"bytes (\d+)-", reply.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else 0


def _version_of(reply: Any) -> str:
    """Return what identifies this version of the file to the server: a strong ETag, a date, or nothing."""
    tag = reply.headers.get("ETag", "")
    return tag if tag.startswith('"') else reply.headers.get("Last-Modified", "")


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _collected(part: Path) -> tuple[int, str]:
    """Return how many bytes of which version wait to be continued: (0, "") where nothing can be."""
    if not (part.is_file() and _version_file(part).is_file()):
        return 0, ""
    version = _version_file(part).read_text(encoding="latin-1").strip()
    return (part.stat().st_size, version) if version else (0, "")


def _forget(part: Path) -> None:
    """Remove a collected file and its version."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)
