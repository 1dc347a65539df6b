"""Native kernels: C sources beside this file, compiled once with the system's compiler into the cache.

The library is plain C behind `ctypes`: it knows addresses and sizes, neither Paddle nor Python. One build
holds every instruction set of its architecture and chooses when it runs, so a cache on a shared disk serves
unlike machines. The file in the cache ends with the SHA-256 of what stands before it: a damaged one is built
again.

Brick: imports nothing but `ppghost.errors`.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ppghost.errors import ToolMissingError

HEADERS = ("vector.h", "depthwise.h", "norm.h", "pointwise.h")
KERNELS = ("depthwise", "norm", "pointwise")
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-ffp-contract=fast")
# One object of each kernel for each of these; dispatch.c chooses among them when it runs.
INSTRUCTION_SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "baseline": (),
        "avx2": ("-mavx2", "-mfma"),
        "avx512": ("-mavx512f", "-mavx2", "-mfma", "-mprefer-vector-width=512"),
    },
    "other": {"baseline": ()},
}
BUILD_SECONDS = 180
DIGEST_BYTES = hashlib.sha256().digest_size
REMEDY = "Install a C compiler (Debian, Ubuntu: apt install gcc; macOS: xcode-select --install) or set CC."


class DepthwiseShape(ctypes.Structure):
    """Sizes of one depthwise convolution; the C side's `Shape`."""

    _fields_ = [(name, ctypes.c_int) for name in ("batch", "channels", "height", "width", "kernel", "stride")]


class PointwiseShape(ctypes.Structure):
    """Sizes of one 1x1 convolution; the C side's `PointwiseShape`."""

    _fields_ = [(name, ctypes.c_int) for name in ("batch", "in_channels", "out_channels", "pixels")]


class NormShape(ctypes.Structure):
    """Sizes and constants of one batch norm; the C side's `NormShape`."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("batch", "channels", "pixels", "has_relu")),
        *((name, ctypes.c_float) for name in ("epsilon", "momentum")),
    ]


# Each kernel with its sizes and the number of arrays that its forward and backward function take.
SIGNATURES: dict[str, tuple[type[ctypes.Structure], int, int]] = {
    "depthwise": (DepthwiseShape, 3, 5),
    "pointwise": (PointwiseShape, 3, 5),
    "norm": (NormShape, 7, 8),
}


def load_library(cache: Optional[Path] = None) -> ctypes.CDLL:
    """Return the compiled kernels, from the cache or built now (a few seconds, once per machine).

    Args:
        cache: folder of the library; by default `kernels` in `PPGHOST_HOME` (`~/.cache/ppghost`).

    Side effects: writes one file into the cache. Processes that build at once do not disturb each other:
    each writes a file of its own and renames it.

    Raises:
        ToolMissingError: no compiler, or it fails; the message ends with what to install.
        OSError: the cache cannot be written, or the library cannot be loaded.
    """
    path = (cache or default_cache()) / f"ppghost-{_build_key()}.so"
    if not _is_intact(path):
        _build(path)
    library = ctypes.CDLL(str(path))
    for name, (sizes, *array_counts) in SIGNATURES.items():
        for direction, arrays in zip(("forward", "backward"), array_counts):
            function = getattr(library, f"ppghost_{name}_{direction}")
            function.argtypes = [
                ctypes.POINTER(sizes),
                *[ctypes.c_void_p] * arrays,
                ctypes.c_int,
                ctypes.c_void_p,
            ]
    library.ppghost_choose_instructions.argtypes = [ctypes.c_char_p]
    library.ppghost_choose_instructions.restype = ctypes.c_char_p
    return library


def default_cache() -> Path:
    """Return the folder for compiled kernels: `kernels` in `PPGHOST_HOME`, by default `~/.cache/ppghost`."""
    home = os.environ.get("PPGHOST_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "ppghost") / "kernels"


def _instruction_sets() -> dict[str, tuple[str, ...]]:
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine())
    return INSTRUCTION_SETS.get(machine, INSTRUCTION_SETS["other"])


def _build_key() -> str:
    """Return what one build depends on, hashed: sources, flags and platform."""
    digest = hashlib.sha256(repr((FLAGS, _instruction_sets(), sys.platform, platform.machine())).encode())
    for name in (*HEADERS, *(f"{kernel}.c" for kernel in (*KERNELS, "dispatch"))):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


def _is_intact(path: Path) -> bool:
    """Tell whether the library is there and ends with the digest of itself."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]


def _find_compiler() -> list[str]:
    asked = os.environ.get("CC", "").split()
    for candidate in [asked] if asked else [["cc"], ["gcc"], ["clang"]]:
        program = shutil.which(candidate[0])
        if program:
            return [program, *candidate[1:]]
    raise ToolMissingError(f"No C compiler found ({' '.join(asked) or 'cc, gcc, clang'}). {REMEDY}")


def _build(path: Path) -> None:
    """Compile every instruction set and link them into `path`, which appears whole or not at all."""
    compiler = _find_compiler()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
        here, work = Path(__file__).parent, Path(folder)
        compile_one = [*compiler, *FLAGS, "-c"]
        jobs = [[*compile_one, str(here / "dispatch.c"), "-o", str(work / "dispatch.o")]]
        for kernel in KERNELS:
            for name, flags in _instruction_sets().items():
                table = f"ppghost_{kernel}_{name}"
                source, target = str(here / f"{kernel}.c"), str(work / f"{table}.o")
                jobs.append([*compile_one, source, *flags, f"-DKERNELS={table}", "-o", target])
        _run_together(jobs)
        library = work / "library.so"
        objects = [job[-1] for job in jobs]
        _run_together([[*compiler, "-shared", *objects, "-o", str(library), "-lm"]])
        content = library.read_bytes()
        library.write_bytes(content + hashlib.sha256(content).digest())
        os.replace(library, path)


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
