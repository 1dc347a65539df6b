"""What the command lines of all our programs share: how one ends, numbers, bars, input files of devices.

Program: may print and choose exit codes. Imports no paddle.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import cv2
from tqdm import tqdm

from ppghost.cli.console import EXIT_INTERRUPTED
from ppghost.errors import GhostError
from ppghost.machine import usable_processors
from ppghost.offline.preparing import Encode, prepare_files

IMAGENET_CLASSES = 1000

Verb = Callable[[argparse.Namespace], int]
"""Does what the options say; returns the exit code."""


def run_verb(options: argparse.Namespace) -> int:
    """Run the verb that was chosen, `options.run`; return the exit code, 0, 1, 2 or 130.

    What went wrong is told in one sentence on standard error.
    """
    run: Verb = options.run
    try:
        return run(options)
    except GhostError as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`ppghost models | head -1`); there is nobody left to tell.
        sys.stderr.close()
        return 1


def shown(text: str) -> str:
    """Return a text as a terminal may show it: control characters in names, and no UTF-8, are escaped."""
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in ("Cc", "Cs") and letter != "\n"
        else letter
        for letter in text
    )


def add_verb(
    verbs: Any, name: str, run: Verb, summary: str = "", epilog: str = ""
) -> argparse.ArgumentParser:
    """Declare a verb, whose description is the docstring of what runs it.

    Args:
        verbs: what `add_subparsers` gave.
        name: of the verb.
        run: does it.
        summary: one line; empty takes the first of the docstring.
        epilog: what help ends with.
    """
    description = inspect.cleandoc(run.__doc__ or "")
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary or description.splitlines()[0],
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(run=run)
    return verb


def count(text: str) -> int:
    """Return a whole number of at least 1, for `type=` of an argument."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least 1")
    return number


def place(text: str) -> str:
    """Return the path of a file or folder, for `type=` of an argument; an empty one would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; write . for this folder")
    return text


def add_threads(verb: argparse.ArgumentParser) -> None:
    """Declare `--threads`: all processors that this process may use, unless given."""
    verb.add_argument(
        "--threads", type=count, default=usable_processors(), metavar="N", help="default: all processors"
    )


def add_class_num(verb: argparse.ArgumentParser) -> None:
    """Declare `--class-num`: ImageNet's, unless given."""
    verb.add_argument(
        "--class-num", type=count, default=IMAGENET_CLASSES, metavar="N", help="default: %(default)s"
    )


@contextmanager
def picture_bar() -> Iterator[Callable[[int, int], None]]:
    """Yield what shows how many pictures were done just now, of how many."""
    # tqdm shows no bar where standard error is no terminal.
    with tqdm(unit="picture", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        yield show


def prepare_inputs(targets: Mapping[Path, Path], encode: Encode, threads: int) -> dict[Path, str]:
    """Write the input file of each picture, with a bar; tell which pictures are broken, and return why.

    Side effect: OpenCV's own threads, which would get in the way of ours, are switched off.

    Raises:
        OutputError: a file cannot be written.
    """
    if threads > 1:
        cv2.setNumThreads(1)
    failures: dict[Path, str] = {}
    with picture_bar() as show:
        for made in prepare_files(targets, encode, threads):
            if made.failure is not None:
                failures[made.source] = made.failure
                tqdm.write(shown(f"{made.source}: {made.failure}"), file=sys.stderr)
            show(1, len(targets))
    return failures
