"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ppghost.errors import OutputError
from ppghost.files import check_replaceable, replaced_file, replaced_folder

ROOT = Path(__file__).resolve().parents[2]


def write_pair(out: Path, text: str) -> None:
    with replaced_folder(out) as folder:
        (folder / "a").write_text(text)
        (folder / "b").write_text(text)


def test_a_folder_is_made_with_its_parents_and_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    write_pair(out, "one")
    (out / "stale").write_text("from before")
    write_pair(out, "two")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"a": "two", "b": "two"}
    assert os.listdir(tmp_path / "deep") == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_all_is_as_before(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out"
    write_pair(out, "one")

    def fail(folder: Path) -> None:
        (folder / "a").write_text("half")
        raise error

    def fail_folder() -> None:
        with replaced_folder(out) as folder:
            fail(folder)

    def fail_file() -> None:
        with replaced_file(out / "a") as part:
            part.write_text("half")
            raise error

    for failing in (fail_folder, fail_file):
        with pytest.raises(error):
            failing()
    assert {path.name: path.read_text() for path in out.iterdir()} == {"a": "one", "b": "one"}
    assert os.listdir(tmp_path) == ["out"]


def test_a_killed_writer_leaves_the_old_content(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pair(out, "one")
    program = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from ppghost.files import replaced_folder
with replaced_folder(pathlib.Path({str(out)!r})) as folder:
    (folder / "a").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ran = subprocess.run([sys.executable, "-c", program], check=False)
    assert ran.returncode == -signal.SIGKILL
    assert {path.name: path.read_text() for path in out.iterdir()} == {"a": "one", "b": "one"}


def test_writers_at_the_same_time_never_mix(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pair(out, "start")

    def run(text: str) -> None:
        for _ in range(30):
            write_pair(out, text)

    writers = [threading.Thread(target=run, args=(str(number),)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (out / "a").read_text() == (out / "b").read_text()
    assert os.listdir(tmp_path) == ["out"]


def test_modes_are_those_of_any_other_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "plain folder").mkdir()
    write_pair(tmp_path / "out", "one")
    with replaced_file(tmp_path / "file") as part:
        part.write_text("x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain folder").stat().st_mode


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    write_pair(tmp_path / "out", "one")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "a").read_text() == "one"


def test_refusals_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="it is a folder"), replaced_file(tmp_path) as part:
        part.write_text("x")
    with pytest.raises(OutputError, match="is a file, not a folder"), replaced_file(tmp_path / "file" / "x"):
        pass
    long = tmp_path / ("x" * 300)
    check_replaceable(long, ())
    with pytest.raises(OutputError, match="name is too long"), replaced_folder(long):
        pass
    with pytest.raises(FileNotFoundError), replaced_file(tmp_path / "out"):
        (tmp_path / "input of the caller").read_text()


def test_only_own_files_may_be_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "missing", ())
    check_replaceable(tmp_path, ())
    write_pair(tmp_path / "out", "one")
    check_replaceable(tmp_path / "out", ("a", "b", "c"))
    with pytest.raises(OutputError, match=r"\(b\)"):
        check_replaceable(tmp_path / "out", ("a",))
    (tmp_path / "out" / "c").mkdir()
    with pytest.raises(OutputError, match=r"\(c\)"):
        check_replaceable(tmp_path / "out", ("a", "b", "c"))
    with pytest.raises(OutputError, match="it is a file"):
        check_replaceable(tmp_path / "out" / "a", ("a",))
