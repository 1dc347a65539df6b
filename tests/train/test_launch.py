"""The program that starts the launcher again: how often, when not, and what Ctrl-C does.

A module of that name takes the launcher's place; `test_processes.py` has the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("--gpus", "0,1", "tools/train.py", "-c", "my.yaml", "-o", "Global.epochs=3", "--resume")

# The body of a launcher that is told to stop, and saves.
SAVES_WHEN_STOPPED = """\
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print('ready', flush=True)
print('saved', signal.sigwait([signal.SIGINT]).name, flush=True)"""


class Stage:
    """A place where `paddle.distributed.launch` is a program of ours that notes each start in a file."""

    def __init__(self, folder: Path, body: str) -> None:
        module = folder / "paddle" / "distributed" / "launch"
        module.mkdir(parents=True)
        for package in (module, module.parent, module.parent.parent):
            (package / "__init__.py").touch()
        self.notes = folder / "notes.txt"
        (module / "__main__.py").write_text(
            "import os, signal, sys\n"
            f"with open({str(self.notes)!r}, 'a') as notes:\n"
            "    notes.write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"starts = len(open({str(self.notes)!r}).readlines())\n{body}\n"
        )
        self.environment = {**os.environ, "PYTHONPATH": str(folder)}

    def starts(self) -> list[str]:
        """Return the words of each start."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start the program that is tested."""
        return subprocess.Popen(
            [sys.executable, "-u", str(ROOT / "tools" / "launch.py"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Run the program that is tested; return its exit code and what it told."""
        process = self.begin(*words)
        told = process.communicate(timeout=300)[1]
        return process.returncode, told


def test_a_launch_that_was_killed_is_repeated_with_the_same_words(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "if starts < 3: os.kill(os.getpid(), signal.SIGKILL)")
    code, told = stage.run("--max_restart", "5", *WORDS)
    assert code == 0
    assert stage.starts() == [" ".join(WORDS)] * 3
    assert "exit code is -9" in told
    assert "4 more restart(s) are left" in told
    assert "3 more restart(s) are left" in told


def test_it_gives_up_after_the_last_restart(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "sys.exit(241)")
    code, told = stage.run("--max_restart=1", *WORDS)
    assert code == 1
    assert len(stage.starts()) == 2
    assert "--max_restart is used up" in told


def test_what_cannot_be_done_as_asked_is_tried_once_more(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "sys.exit(2)")
    assert stage.run(*WORDS)[0] == 2
    assert len(stage.starts()) == 2


def test_a_mishap_with_the_code_of_misuse_is_survived(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "sys.exit([2, 1, 2, 0][starts - 1])")
    assert stage.run(*WORDS)[0] == 0
    assert len(stage.starts()) == 4


def test_restarts_that_would_begin_anew_are_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "")
    code, told = stage.run(*WORDS[:-1])
    assert code == 2
    assert "--resume" in told
    assert not stage.starts()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_is_passed_on_once_and_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    stage = Stage(
        tmp_path,
        f"{SAVES_WHEN_STOPPED}\nprint('again', bool(signal.sigpending()), flush=True)\nsys.exit(15)",
    )
    process = stage.begin(*WORDS)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    rest = process.communicate(timeout=300)[0]
    assert rest == "saved SIGINT\nagain False\n"
    assert process.returncode == 130
    assert len(stage.starts()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_kill_of_the_program_stops_what_it_started(tmp_path: Path) -> None:
    stage = Stage(tmp_path, SAVES_WHEN_STOPPED)
    process = stage.begin(*WORDS)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert process.communicate(timeout=300)[0] == "saved SIGINT\n"


@pytest.mark.parametrize("given", ["-1", "many", ""])
def test_a_number_of_restarts_that_is_none_is_refused(tmp_path: Path, given: str) -> None:
    stage = Stage(tmp_path, "")
    code, told = stage.run(f"--max_restart={given}", *WORDS)
    assert code == 2
    assert "whole number" in told
    assert not stage.starts()
