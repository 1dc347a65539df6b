"""Finding interpreters that run and making environments that are whole."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppghost.environments import Environment, ensure_environment, find_python
from ppghost.errors import ToolMissingError

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PPGHOST_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell to act as interpreters")
def test_a_shim_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(
        tmp_path / "shims" / "python9.9", "echo 'pyenv: python9.9: command not found' >&2; exit 127"
    )
    write_program(tmp_path / "liar" / "python9.9", "echo 9.8")
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / name) for name in ("shims", "liar")))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    with pytest.raises(ToolMissingError, match=r"Python 9\.9 is needed.*uv python install 9\.9"):
        find_python("9.9")
    kept = write_program(tmp_path / "pyenv" / "versions" / "9.9.1" / "bin" / "python", "echo 9.9")
    assert find_python("9.9") == kept
    on_path = write_program(tmp_path / "good" / "python9.9", "echo 9.9")
    monkeypatch.setenv("PATH", os.environ["PATH"] + os.pathsep + str(on_path.parent))
    assert find_python("9.9") == on_path


def test_the_running_interpreter_is_one() -> None:
    assert find_python(HERE) == Path(sys.executable)


def test_an_environment_is_made_once_and_only_counts_when_whole(cache: Path) -> None:
    environment = Environment("tiny", HERE, requirements=())
    python = ensure_environment(environment)
    program = "import sys; print(sys.prefix)"
    prefix = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(prefix) == environment.folder
    marker = environment.folder / "complete.json"
    assert json.loads(marker.read_text())["name"] == "tiny"

    (environment.folder / "mine").touch()
    assert ensure_environment(environment) == python
    assert (environment.folder / "mine").exists()

    # Without the marker somebody was killed half-way: it is made anew.
    marker.unlink()
    ensure_environment(environment)
    assert marker.exists()
    assert not (environment.folder / "mine").exists()


def test_another_content_is_another_folder() -> None:
    assert Environment("a", "3.10", ("x==1",)).folder != Environment("a", "3.10", ("x==2",)).folder


def test_a_failed_installation_leaves_nothing_and_shows_what_failed(cache: Path) -> None:
    environment = Environment("broken", HERE, requirements=("./nowhere-1.0-py3-none-any.whl",))
    with pytest.raises(ToolMissingError, match=r"'broken' could not be made.*nowhere-1\.0"):
        ensure_environment(environment)
    assert not environment.folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="empties PATH, which Windows needs to load DLLs")
@pytest.mark.skipif(
    importlib.util.find_spec("ensurepip") is None,
    reason="this Python has no ensurepip; on Debian install python3-venv",
)
def test_without_uv_it_is_venv_and_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    environment = Environment("plain", HERE, requirements=())
    python = ensure_environment(environment)
    assert (
        subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    )
