"""Classify pictures by the service: files and folders, over HTTP or gRPC.

    python deploy/serving/client.py picture.jpg photos/
    python deploy/serving/client.py --server grpc://127.0.0.1:9993 --output results.csv photos/
    python deploy/serving/client.py --concurrency 16 --batch 4 --output results.jsonl photos/

Needs ppghost, and no Paddle Serving. Results look as `ppghost infer` writes them.
Exit codes: 0 done, 1 some picture or the service failed, 2 cannot be done as asked, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import local
from typing import Callable, Optional

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "ppghost").is_dir():
    sys.path.insert(1, str(ROOT))  # a checkout; the installed package finds itself

from protocol import (  # noqa: E402 - the checkout must be found first, here and below
    BusyError,
    Connection,
    RefusedError,
    answer_of,
    connect,
    request_of,
)

from ppghost.cli.console import logging_to  # noqa: E402
from ppghost.cli.program import count, run_verb, shown  # noqa: E402
from ppghost.cli.ship import Answer, pictures_at, show_json, tell  # noqa: E402
from ppghost.errors import DataError  # noqa: E402
from ppghost.predict import in_order  # noqa: E402
from ppghost.vision import Prediction, to_results  # noqa: E402
from ppghost.vision.decode import read_picture  # noqa: E402

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0


def ask_patiently(
    connection: Connection, pictures: Sequence[bytes], retries: int
) -> tuple[tuple[Prediction, ...], ...]:
    """Return the predictions for pictures; while the service is busy, wait and send them again.

    The waits double, and are drawn at random up to their length so that clients do not come back together.

    Args:
        connection: to the service.
        pictures: the bytes of picture files.
        retries: how often to send them again.

    Raises:
        BusyError: the service was still busy at the last time.
        RefusedError: the service refuses the pictures.
        ServiceError: it cannot be reached, or its answer cannot be used.
    """
    keys, values = request_of(pictures)
    wait_s = FIRST_WAIT_S
    for left in range(retries, -1, -1):
        try:
            return answer_of(connection.ask(keys, values), len(pictures)).predictions
        except BusyError as error:
            if not left:
                raise BusyError(
                    f"{error} It was asked {retries + 1} times. Ask with fewer requests at once "
                    "(--concurrency) or more patience (--retries)."
                ) from error
            time.sleep(wait_s * (0.5 + random.random() / 2))
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
    raise AssertionError("the last try returns or raises")


def answers_for(connection: Connection, paths: Sequence[Path], retries: int) -> list[Answer]:
    """Return the answer for each picture of one request, or why there is none.

    A request that is refused as a whole is sent again picture by picture, so that one broken picture does not
    cost the others their answers.
    """
    read: list[tuple[Path, bytes]] = []
    failures: dict[Path, str] = {}
    for path in paths:
        try:
            read.append((path, read_picture(path)))
        except DataError as error:
            failures[path] = str(error)
    try:
        found = ask_patiently(connection, [data for _, data in read], retries) if read else ()
    except RefusedError as error:
        if len(read) > 1:
            return [answer for path in paths for answer in answers_for(connection, [path], retries)]
        failures.update({path: shown(str(error)) for path, _ in read})
        found = ()
    results = {path: to_results([best], [str(path)])[0] for (path, _), best in zip(read, found)}
    return [(str(path), results.get(path), failures.get(path)) for path in paths]


def answers_of_service(options: argparse.Namespace, paths: Iterator[Path]) -> Generator[Answer, None, None]:
    """Yield the answer for each picture, in order, asked by several connections side by side."""
    requests: Iterator[list[Path]] = iter(lambda: list(islice(paths, options.batch)), [])
    with _connections(options) as own:
        for answers in in_order(
            lambda some: answers_for(own(), some, options.retries), requests, options.concurrency
        ):
            yield from answers


@contextlib.contextmanager
def _connections(options: argparse.Namespace) -> Iterator[Callable[[], Connection]]:
    """Yield a function that gives each thread its own connection, always the same one."""
    with contextlib.ExitStack() as stack:
        free: SimpleQueue[Connection] = SimpleQueue()
        for _ in range(options.concurrency):
            free.put(stack.enter_context(contextlib.closing(connect(options.server, options.timeout))))
        taken = local()

        def own() -> Connection:
            if not hasattr(taken, "connection"):
                taken.connection = free.get_nowait()
            connection: Connection = taken.connection
            return connection

        yield own


def classify(options: argparse.Namespace) -> int:
    """Ask the service about every picture, tell the answers, and return the exit code."""
    with logging_to(None, terminal=sys.stderr):
        pictures = pictures_at([(place, None) for place in options.inputs])
        return tell(answers_of_service(options, pictures.paths), pictures, options.output, show_json)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of at least 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds above 0")
    return seconds


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the program's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", metavar="PICTURE", help="picture files or folders")
    parser.add_argument(
        "--server",
        default="http://127.0.0.1:18080",
        metavar="URL",
        help="http://HOST:PORT, https://HOST or grpc://HOST:PORT (default: %(default)s)",
    )
    parser.add_argument(
        "--concurrency", type=count, default=4, metavar="N", help="requests at once (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=count, default=1, metavar="N", help="pictures in a request (default: %(default)s)"
    )
    parser.add_argument(
        "--retries",
        type=_natural,
        default=10,
        metavar="N",
        help="how often a request that met a busy service is sent again (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="seconds for an answer (default: 30)"
    )
    parser.add_argument("--output", metavar="FILE", help="write results to FILE.jsonl, .csv or .json")
    parser.set_defaults(run=classify)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
