"""Setting up the environment: what is missing is said in words, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "make_environment.sh"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the Makefile needs a POSIX shell")


def interpreter(folder: Path, reply: str) -> Path:
    """Write a program that stands for a Python: `reply` is shell text that may look at "$*"."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\n{reply}\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


def set_up(python: object, folder: Path) -> subprocess.CompletedProcess[str]:
    programs = folder / "bin"
    programs.mkdir()
    (programs / "rm").symlink_to("/bin/rm")
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), str(python), "dev"],
        cwd=folder,
        env={"PATH": str(programs), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("exit 127", "does not run"),
        ('case "$*" in *version_info*) exit 1;; -V) echo Python 3.14.0; exit;; esac', "Python 3.14.0"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "apt-get install python3-venv"),
    ],
)
def test_a_missing_interpreter_or_module_is_explained(tmp_path: Path, reply: str, complaint: str) -> None:
    done = set_up(interpreter(tmp_path, reply), tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_absent_interpreter_is_explained(tmp_path: Path) -> None:
    done = set_up("no-such-python", tmp_path)
    assert done.returncode == 2
    assert "make PYTHON=" in done.stderr
