"""Start `python -m paddle.distributed.launch`, and start it again when a process died.

Paddle's launcher ends all processes when one dies. Its own --max_restart needs an etcd server; this program
needs none. It is for one machine, or runs on each of several with the same words. Ctrl-C is passed on, so
that the training saves; so is, on Linux, the death of this program. A training that says twice that it cannot
be done as asked (exit code 2) is left.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Callable, Optional

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.cli.console import EXIT_INTERRUPTED  # noqa: E402 - the checkout must be found first

LAUNCHER = (sys.executable, "-m", "paddle.distributed.launch")
EXIT_MISUSED = 2
PR_SET_PDEATHSIG = 1
"""Of prctl(2): which signal a process gets when its parent dies."""
EPILOG = """\
words that are not named here go to Paddle's launcher (python -m paddle.distributed.launch --help):
  python tools/launch.py --nproc_per_node 2 tools/train.py -c my.yaml -o Global.device=cpu --resume
  python tools/launch.py --max_restart 10 --gpus 0,1,2,3,4,5,6,7 tools/train.py -c my.yaml --resume
"""


class Launch:
    """A command that is started, told to stop, and waited for."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.is_stopped = False

    def stop(self, number: int, frame: Optional[FrameType]) -> None:
        """Tell the command to stop, as a handler of signals."""
        self.is_stopped = True
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)

    def run(self) -> int:
        """Run the command to its end; return its exit code."""
        # A session of its own: Ctrl-C would come to it twice, and the second one ends it before it saved.
        self.process = subprocess.Popen(self.command, start_new_session=True, preexec_fn=_end_with_parent())
        if self.is_stopped:  # before there was anything to tell
            self.process.send_signal(signal.SIGINT)
        return self.process.wait()


def _end_with_parent() -> Optional[Callable[[], object]]:
    """Return what a new process calls so that it is told to stop when this one dies; None beside Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def launch(words: Sequence[str], max_restart: int) -> int:
    """Start the launcher until it ends well, is stopped, cannot do what it is asked for, or died too often.

    Takes the handlers of signals. Returns the exit code.
    """
    training = Launch([*LAUNCHER, *words])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, training.stop)
    before = 0
    for left in range(max_restart, -1, -1):
        code = training.run()
        if training.is_stopped:
            return EXIT_INTERRUPTED
        # Once may be a mishap, such as a reader of pictures that was killed.
        if code == 0 or code == before == EXIT_MISUSED:
            return code
        before = code
        outlook = (
            f"starting again; {left - 1} more restart(s) are left" if left else "--max_restart is used up"
        )
        print(f"A process died (the launcher's exit code is {code}); {outlook}.", file=sys.stderr)
    return 1


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> tuple[list[str], int]:
    """Return the launcher's words and how often it may be started again."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [-h] [--max_restart N] [words of the launcher] tools/train.py -c YAML ... --resume",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--max_restart", type=_number, default=3, metavar="N", help="restarts at most (default: %(default)s)"
    )
    options, words = parser.parse_known_args(arguments)
    if "--resume" not in words:
        parser.error(
            "without --resume every restart would begin the training anew. Write it behind tools/train.py; "
            "for a training without restarts there is python -m paddle.distributed.launch"
        )
    return words, options.max_restart


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0")
    return int(text)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return the exit code."""
    return launch(*parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(main())
