"""Servers as processes: started, found ready, measured with all their children, and ended.

A program's part; imports only the rock. Memory is told by Linux alone.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

from ppghost.errors import GhostError

_PATIENCE_S = 60.0
_PROC = Path("/proc")


@dataclass(frozen=True)
class Server:
    """A server that is ready.

    Attributes:
        pid: of its first process.
        told: its line of JSON: `http`, and for the service `engine` and `workers`.
    """

    pid: int
    told: dict[str, Any]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of HTTP."""
        parts = urlsplit(self.told["http"])
        return parts.hostname or "", parts.port or 80


@contextlib.contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[Server]:
    """Start a server, yield it when it says on standard output that it is ready, and end it.

    Args:
        command: words; the first line on standard output is its JSON.
        log: takes what it writes to standard error.

    Raises:
        GhostError: it ends before it is ready, or cannot be started.
    """
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True)
        except OSError as error:
            raise GhostError(f"{command[0]} cannot be started: {error.strerror}.") from error
    assert process.stdout is not None
    try:
        told = _first_object(process.stdout.readline())
        if told is None:
            process.wait(_PATIENCE_S)
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-8:]
            raise GhostError(f"This did not become ready: {' '.join(command)}\n" + "\n".join(lines))
        yield Server(process.pid, told)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _first_object(line: str) -> Optional[dict[str, Any]]:
    try:
        told = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "http" in told else None


def family_of(pid: int) -> list[int]:
    """Return a process and all that come from it."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family


def memory_bytes(pid: int) -> int:
    """Return the memory of a process and all that come from it; what they share counts once.

    Raises:
        GhostError: this system does not tell it.
    """
    if not (_PROC / "self" / "smaps_rollup").is_file():
        raise GhostError("The memory of processes is read from /proc, which this system does not have.")
    total = 0
    for member in family_of(pid):
        with contextlib.suppress(OSError):
            text = (_PROC / str(member) / "smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return 1024 * total
