"""C libraries are built once and whole; a broken one is built again; a bad compiler ends in a sentence."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppghost import native
from ppghost.cache import cache_dir
from ppghost.errors import OutputError, ToolMissingError
from ppghost.native import NativeLibrary, find_compiler

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler: install gcc or clang"
)


@pytest.fixture
def library(tmp_path: Path) -> NativeLibrary:
    """Return a library with one function in a source and one in a kernel."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "answer.c").write_text("int toy_answer(void) { return 42; }\n")
    (folder / "kernel.c").write_text("const int KERNELS = 7;\n")
    return NativeLibrary("toy", folder, (), ("answer.c",), ("kernel.c",))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fake_compiler(folder: Path, script: str) -> str:
    """Write a program that takes the place of the compiler; return its path."""
    path = folder / "fake-cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def answer(library: ctypes.CDLL) -> int:
    return int(library.toy_answer())


def test_every_instruction_set_is_in_the_library(library: NativeLibrary, cache: Path) -> None:
    loaded = library.load(cache)
    assert answer(loaded) == 42
    for name in library._sets():
        assert ctypes.c_int.in_dll(loaded, f"toy_kernel_{name}").value == 7


def test_a_library_is_built_once(
    library: NativeLibrary, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.load(cache)
    monkeypatch.setenv("CC", "no-such-compiler")
    assert answer(library.load(cache)) == 42
    (library.folder / "answer.c").write_text("int toy_answer(void) { return 43; }\n")
    with pytest.raises(ToolMissingError, match="no-such-compiler"):  # another source is another library
        library.load(cache)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_library_is_built_again(damage: str, library: NativeLibrary, cache: Path) -> None:
    library.load(cache)
    [path] = cache.iterdir()
    content = path.read_bytes()
    broken = {"cut": content[:1000], "changed": content[:500] + b"?" + content[501:], "empty": b""}[damage]
    # A new file: this process holds the old one mapped into its memory.
    path.unlink()
    path.write_bytes(broken)
    library.load(cache)
    assert native._is_intact(path)


def test_a_whole_library_that_cannot_be_loaded_is_built_again(library: NativeLibrary, cache: Path) -> None:
    cache.mkdir()
    path = cache / f"toy-{library._build_key()}.so"
    foreign = b"built where the C library is newer"
    path.write_bytes(foreign + native.hashlib.sha256(foreign).digest())
    assert answer(library.load(cache)) == 42


def test_what_cannot_be_loaded_does_not_enter_the_cache(
    library: NativeLibrary, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rubbish = fake_compiler(tmp_path, 'while [ "$1" ]; do [ "$1" = -o ] && echo rubbish > "$2"; shift; done')
    monkeypatch.setenv("CC", rubbish)
    with pytest.raises(ToolMissingError, match="fake-cc made cannot be loaded"):
        library.load(cache)
    assert list(cache.iterdir()) == []


def test_a_complaint_in_any_encoding_is_told(
    library: NativeLibrary, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", fake_compiler(tmp_path, "printf 'no \\344 here' >&2; exit 1"))
    with pytest.raises(ToolMissingError, match="no . here"):
        library.load(cache)


def test_a_compiler_that_hangs_is_ended_with_its_children(
    library: NativeLibrary, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "BUILD_SECONDS", 1)
    children = tmp_path / "children"
    monkeypatch.setenv("CC", fake_compiler(tmp_path, f"sleep 600 & echo $! >> '{children}'; wait"))
    with pytest.raises(ToolMissingError, match="did not finish in 1 s"):
        library.load(cache)
    for child in children.read_text().split():
        status = Path(f"/proc/{child}/stat")
        assert not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_compiler_is_named_as_a_shell_would_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my tools"
    folder.mkdir()
    path = fake_compiler(folder, "exit 0")
    monkeypatch.setenv("CC", f"'{path}' -O1")
    assert find_compiler() == [path, "-O1"]


def test_processes_that_build_at_once_both_succeed(library: NativeLibrary, cache: Path) -> None:
    program = (
        "import pathlib, sys; from ppghost.native import NativeLibrary; "
        "folder, cache = map(pathlib.Path, sys.argv[1:]); "
        "print(NativeLibrary('toy', folder, (), ('answer.c',), ('kernel.c',)).load(cache).toy_answer())"
    )
    command = [sys.executable, "-c", program, str(library.folder), str(cache)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [builder.communicate(timeout=240)[0].strip() for builder in builders] == ["42"] * 3
    assert [path.suffix for path in cache.iterdir()] == [".so"]


def test_without_a_home_folder_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PPGHOST_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for an unknown user
    with pytest.raises(OutputError, match="PPGHOST_HOME"):
        cache_dir()
