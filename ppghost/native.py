"""Native libraries: C sources in a folder of ours, compiled once with the system's compiler into the cache.

A library is plain C behind `ctypes`: it knows addresses and sizes, neither Paddle nor Python. One build holds
every instruction set of its architecture and chooses when it runs, so a cache on a shared disk serves unlike
machines. The file in the cache ends with the SHA-256 of what stands before it: a damaged one is built again.

Rock: standard library, the errors and the cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ppghost.cache import cache_dir
from ppghost.errors import ToolMissingError

logger = logging.getLogger(__name__)

FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-ffp-contract=fast")
BUILD_SECONDS = 180
DIGEST_BYTES = hashlib.sha256().digest_size
REMEDY = "Install a C compiler (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install) or set CC."

InstructionSets = Mapping[str, Mapping[str, Sequence[str]]]
# Architecture, instruction set, the compiler's flags for it.
INSTRUCTION_SETS: InstructionSets = {
    "x86_64": {
        "baseline": (),
        "avx2": ("-mavx2", "-mfma"),
        "avx512": ("-mavx512f", "-mavx2", "-mfma", "-mprefer-vector-width=512"),
    },
    "other": {"baseline": ()},
}


@dataclass(frozen=True)
class NativeLibrary:
    """What a native library is made of.

    Attributes:
        name: how its file in the cache and its symbols begin.
        folder: where its sources lie.
        headers: names of the files that sources include.
        sources: names of the C files that are compiled once.
        kernels: names of the C files that are compiled once for each instruction set, with the macro
            `KERNELS` as the name of the table of functions that each of them defines: `<name>_<stem>_<set>`.
        links: flags for the linker.
        instruction_sets: the sets for each architecture, "other" for those that are not named.
    """

    name: str
    folder: Path
    headers: tuple[str, ...]
    sources: tuple[str, ...]
    kernels: tuple[str, ...]
    links: tuple[str, ...] = ("-lm",)
    instruction_sets: InstructionSets = field(default_factory=lambda: INSTRUCTION_SETS)

    def load(self, cache: Optional[Path] = None) -> ctypes.CDLL:
        """Return the compiled library, from the cache or built now (seconds, once per machine).

        Args:
            cache: folder of the library; by default `kernels` in the cache of ppghost.

        Side effects: writes one file into the cache. Processes that build at once do not disturb each other:
        each writes a file of its own and renames it.

        Raises:
            ToolMissingError: no compiler, or it fails; the message ends with what to install.
            OSError: the cache cannot be written, or the library cannot be loaded.
        """
        path = (cache or cache_dir() / "kernels") / f"{self.name}-{self._build_key()}.so"
        if _is_intact(path):
            # One that was built where the C library is newer cannot be loaded here.
            with contextlib.suppress(OSError):
                return ctypes.CDLL(str(path))
        _build(self, path)
        return ctypes.CDLL(str(path))

    def commands(self, compiler: Sequence[str], work: Path) -> Iterator[list[str]]:
        """Yield the compiler's commands; the last word of each is the object file, which lies in `work`."""
        compile_one = [*compiler, *FLAGS, "-c"]
        for name in self.sources:
            yield [*compile_one, str(self.folder / name), "-o", str(work / f"{Path(name).stem}.o")]
        for name in self.kernels:
            for instructions, flags in self._sets().items():
                table = f"{self.name}_{Path(name).stem}_{instructions}"
                target = str(work / f"{table}.o")
                yield [*compile_one, str(self.folder / name), *flags, f"-DKERNELS={table}", "-o", target]

    def _sets(self) -> Mapping[str, Sequence[str]]:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine())
        return self.instruction_sets.get(machine, self.instruction_sets["other"])

    def _build_key(self) -> str:
        """Return what one build depends on, hashed: sources, flags and platform."""
        settings = (FLAGS, self.links, dict(self._sets()), sys.platform, platform.machine())
        digest = hashlib.sha256(repr(settings).encode())
        for name in (*self.headers, *self.sources, *self.kernels):
            digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()[:16]


def find_compiler() -> list[str]:
    """Return the command of the C compiler: `CC`, else the first of cc, gcc and clang.

    Raises:
        ToolMissingError: there is none.
    """
    asked = shlex.split(os.environ.get("CC", ""))
    for candidate in [asked] if asked else [["cc"], ["gcc"], ["clang"]]:
        program = shutil.which(candidate[0])
        if program:
            return [program, *candidate[1:]]
    raise ToolMissingError(f"No C compiler found ({' '.join(asked) or 'cc, gcc, clang'}). {REMEDY}")


def _is_intact(path: Path) -> bool:
    """Tell whether the library is there and ends with the digest of itself."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]


def _build(library: NativeLibrary, path: Path) -> None:
    """Compile every instruction set and link them into `path`, which appears whole or not at all."""
    compiler = find_compiler()
    path.parent.mkdir(parents=True, exist_ok=True)
    logger.info("Compiling the C library '%s' (once; seconds)", library.name)
    deadline = time.monotonic() + BUILD_SECONDS
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        jobs = list(library.commands(compiler, Path(folder)))
        _run_together(jobs, deadline)
        linked = Path(folder) / "library.so"
        objects = [job[-1] for job in jobs]
        _run_together([[*compiler, "-shared", *objects, "-o", str(linked), *library.links]], deadline)
        content = linked.read_bytes()
        signed = Path(folder) / "signed.so"
        signed.write_bytes(content + hashlib.sha256(content).digest())
        try:
            ctypes.CDLL(str(signed))
        except OSError as error:
            raise ToolMissingError(
                f"What the C compiler {shlex.join(compiler)} made cannot be loaded: {error}. {REMEDY}"
            ) from error
        os.replace(signed, path)


def _run_together(commands: Sequence[Sequence[str]], deadline: float) -> None:
    """Run compiler commands side by side; raise `ToolMissingError` with the first complaint.

    Whatever happens, no process of theirs is left when this returns.
    """
    running = [
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a compiler starts others, which have to end with it
        )
        for command in commands
    ]
    try:
        complaints = [
            process.communicate(timeout=max(0.1, deadline - time.monotonic()))[1] for process in running
        ]
    except subprocess.TimeoutExpired as error:
        raise ToolMissingError(
            f"The C compiler did not finish in {BUILD_SECONDS} s: {shlex.join(map(str, error.cmd))}. {REMEDY}"
        ) from error
    finally:
        for process in running:
            if process.poll() is None:
                _kill_with_children(process)
    for process, complaint in zip(running, complaints):
        if process.returncode:
            command = shlex.join(str(part) for part in process.args)  # type: ignore[union-attr]
            raise ToolMissingError(f"The C compiler failed: {command}\n{complaint.strip()[-2000:]}\n{REMEDY}")


def _kill_with_children(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()
