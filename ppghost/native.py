"""Native libraries: C sources in a folder of ours, compiled once with the system's compiler into the cache.

A library is plain C behind `ctypes`: it knows addresses and sizes, neither Paddle nor Python. One build holds
every instruction set of its architecture and chooses when it runs, so a cache on a shared disk serves unlike
machines. The file in the cache ends with the SHA-256 of what stands before it: a damaged one is built again.

Rock: imports nothing but `ppghost.errors`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ppghost.errors import ToolMissingError

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
            cache: folder of the library; by default `kernels` in `PPGHOST_HOME` (`~/.cache/ppghost`).

        Side effects: writes one file into the cache. Processes that build at once do not disturb each other:
        each writes a file of its own and renames it.

        Raises:
            ToolMissingError: no compiler, or it fails; the message ends with what to install.
            OSError: the cache cannot be written, or the library cannot be loaded.
        """
        return ctypes.CDLL(str(self.path(cache)))

    def path(self, cache: Optional[Path] = None) -> Path:
        """Return the path of the compiled library, which is built now if it is not there.

        Args, side effects and raises as in `load`.
        """
        path = (cache or default_cache()) / f"{self.name}-{self._build_key()}.so"
        if not _is_intact(path):
            _build(self, path)
        return path

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


def default_cache() -> Path:
    """Return the folder of compiled libraries: `kernels` in `PPGHOST_HOME`, by default `~/.cache/ppghost`."""
    home = os.environ.get("PPGHOST_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "ppghost") / "kernels"


def find_compiler() -> list[str]:
    """Return the command of the C compiler: `CC`, else the first of cc, gcc and clang.

    Raises:
        ToolMissingError: there is none.
    """
    asked = os.environ.get("CC", "").split()
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
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        jobs = list(library.commands(compiler, Path(folder)))
        _run_together(jobs)
        linked = Path(folder) / "library.so"
        _run_together([[*compiler, "-shared", *[job[-1] for job in jobs], "-o", str(linked), *library.links]])
        content = linked.read_bytes()
        linked.write_bytes(content + hashlib.sha256(content).digest())
        os.replace(linked, path)


def _run_together(commands: Sequence[Sequence[str]]) -> None:
    """Run compiler commands side by side; raise `ToolMissingError` with the first complaint."""
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        complaints = [process.communicate(timeout=BUILD_SECONDS)[1] for process in running]
    except subprocess.TimeoutExpired as error:
        raise ToolMissingError(f"The C compiler did not finish in {BUILD_SECONDS} s: {error.cmd}.") from error
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    for process, complaint in zip(running, complaints):
        if process.returncode:
            command = " ".join(str(part) for part in process.args)  # type: ignore[union-attr]
            raise ToolMissingError(f"The C compiler failed: {command}\n{complaint.strip()[-2000:]}\n{REMEDY}")
