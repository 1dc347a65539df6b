"""Load the service with clients on this machine, and compare it with a naive server of the same network.

    python deploy/serving/bench.py FOLDER PICTURES --output load.json --plot load.png
    python deploy/serving/bench.py FOLDER PICTURES --soak 20000 --output soak.json

FOLDER is an exported folder, PICTURES a folder of JPEGs. Everything is started here, on free ports of the
loopback, and takes turns: the service; naive.py with the service's engine, which is the baseline; naive.py
with oneDNN, as PaddleClas would run it; and the same work without a server, as `ppghost infer` does it. Each
client asks again as soon as it has its answer; clients and servers share the processors. Every answer is
compared with that of `ppghost infer`.

A soak sends the service good and bad requests mixed, and clients that go away, and watches its memory.

Exit codes: 0 all answers right, 1 not, 2 cannot be done as asked, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "ppghost").is_dir():
    sys.path.insert(1, str(ROOT))  # a checkout; the installed package finds itself

import cv2  # noqa: E402 - the checkout must be found first, here and below
from closed_loop import Measured, Request, run_clients  # noqa: E402
from load_report import (  # noqa: E402
    NO_SERVER,
    SERVICE,
    Checked,
    Load,
    Row,
    load_dict,
    load_lines,
    write_plot,
)
from processes import Server, memory_bytes, started  # noqa: E402
from soak_cases import bad_cases, good_cases, leaving_cases, mixed  # noqa: E402
from tqdm import tqdm  # noqa: E402

from ppghost.artifact import read_artifact  # noqa: E402
from ppghost.bench.findings import artifact_facts, provenance  # noqa: E402
from ppghost.bench.report import MEGABYTE, check_plotting, write_json  # noqa: E402
from ppghost.cli.program import count, run_verb  # noqa: E402
from ppghost.errors import DataError  # noqa: E402
from ppghost.machine import usable_processors  # noqa: E402
from ppghost.predict import Classifier, find_pictures  # noqa: E402
from ppghost.results import printable  # noqa: E402
from ppghost.vision.decode import read_picture  # noqa: E402

HERE = Path(__file__).resolve().parent
PADDLECLAS_ENGINE = "onednn"
# What the service calls its engine -> what `ppghost infer` calls it.
ENGINES = {"ghost": "ghost", "paddle": PADDLECLAS_ENGINE}
MOST_PICTURES = 200
WARM_UP_S = 2.0
SOAK_CLIENTS, SOAK_HEAD = 16, 1000
MOST_GROWTH = 0.05


class Work:
    """The pictures, their requests and the answers that `ppghost infer` gives.

    Args:
        folder: the artifact.
        pictures: a folder of JPEGs.
        engine: what the service runs the network with.
    """

    def __init__(self, folder: str, pictures: str, engine: str) -> None:
        paths = itertools.islice(find_pictures(pictures), MOST_PICTURES)
        self.pictures = [read_picture(path) for path in paths]
        self._classifier = Classifier.from_artifact(folder, engine=engine, threads=1)
        answers = list(self._classifier.classify(self.pictures))
        failures = [answer.failure for answer in answers if answer.failure is not None]
        if failures:
            raise DataError(f"{len(failures)} of the pictures in '{pictures}' cannot be read: {failures[0]}")
        self.good = good_cases(self.pictures, [answer.predictions for answer in answers])
        self.single = dict(itertools.islice(self.good.items(), len(self.pictures)))

    def run_here(self, seconds: float) -> Measured:
        """Classify without a server for so many seconds, as `ppghost infer` does it with all processors."""
        measured = Measured()
        began = before = time.perf_counter()
        for _ in self._classifier.classify(self._until(began + seconds), workers=usable_processors()):
            now = time.perf_counter()
            measured.latencies_s.append(now - before)
            before = now
        measured.seconds = before - began
        return measured

    def _until(self, end: float) -> Iterator[bytes]:
        endless = itertools.cycle(self.pictures)
        while time.perf_counter() < end:
            yield next(endless)

    def close(self) -> None:
        """Release the network."""
        self._classifier.__exit__(None, None, None)


def start_service(
    folder: str, overrides: Sequence[str], logs: Path
) -> contextlib.AbstractContextManager[Server]:
    """Return what starts the service on free ports."""
    words = [sys.executable, str(HERE / "serve.py"), folder, "--folder", str(logs / "serving_run")]
    for setting in ("http_port=0", "rpc_port=0", *overrides):
        words += ["-o", setting]
    return started(words, logs / "service.log")


def start_naive(folder: str, engine: str, logs: Path) -> contextlib.AbstractContextManager[Server]:
    """Return what starts the naive server on a free port."""
    words = [sys.executable, str(HERE / "naive.py"), folder, "--port", "0", "--engine", engine]
    return started(words, logs / f"naive-{engine}.log")


def measure_load(options: argparse.Namespace) -> Load:
    """Let the servers take turns under load.

    Raises:
        GhostError: one of them cannot be started, or the pictures cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="ppghost-load-") as name, contextlib.ExitStack() as stack:
        logs = Path(name)
        service = stack.enter_context(start_service(options.folder, options.override, logs))
        engine = ENGINES[service.told["engine"]]
        servers = {SERVICE: service}
        for one in dict.fromkeys((engine, PADDLECLAS_ENGINE)):
            servers[f"naive, {one}"] = stack.enter_context(start_naive(options.folder, one, logs))
        work = Work(options.folder, options.pictures, engine)
        stack.callback(work.close)
        rows = [Row(name, count, Checked(work.single)) for count in options.clients for name in servers]
        rows.append(Row(NO_SERVER, usable_processors(), Checked({})))
        for server in servers.values():
            _turn(server, work, Checked(work.single), max(options.clients), WARM_UP_S)
        before = {name: memory_bytes(server.pid) for name, server in servers.items()}
        for row in tqdm([row for _ in range(options.rounds) for row in rows], unit="turn", disable=None):
            if row.server == NO_SERVER:
                row.turns.append(work.run_here(options.seconds))
            else:
                turn = _turn(servers[row.server], work, row.checked, row.clients, options.seconds)
                row.turns.append(turn)
        memory = {name: (before[name], memory_bytes(server.pid)) for name, server in servers.items()}
        facts = {**_facts(options, service), "seconds": options.seconds, "rounds": options.rounds}
        return Load({**facts, "pictures": len(work.pictures)}, rows, memory)


def _turn(server: Server, work: Work, checked: Checked, clients: int, seconds: float) -> Measured:
    requests = itertools.cycle(work.single)
    return run_clients(server.address, requests, checked, clients=clients, seconds=seconds)


def _facts(options: argparse.Namespace, service: Server) -> dict[str, Any]:
    facts = provenance(" ".join(sys.argv))
    facts["model"] = read_artifact(Path(options.folder)).facts.name
    facts["artifacts"] = {facts["model"]: artifact_facts(Path(options.folder))}
    return {**facts, "service": service.told, "overrides": options.override}


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Send good and bad requests, and return what came of it.

    Memory is looked at after the first 1,000 requests, when the workers have met everything, and at the end.

    Raises:
        GhostError: the service cannot be started, or the pictures cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="ppghost-soak-") as name, contextlib.ExitStack() as stack:
        service = stack.enter_context(start_service(options.folder, options.override, Path(name)))
        work = Work(options.folder, options.pictures, ENGINES[service.told["engine"]])
        stack.callback(work.close)
        bad = bad_cases(work.pictures[0], _limit_of_pictures(service))
        checked = Checked({**work.good, **bad})
        requests = mixed(list(work.good), list(bad), leaving_cases(next(iter(work.good))), options.soak)
        bar = stack.enter_context(tqdm(total=options.soak, unit="request", disable=None))
        memory, measured = [], []
        for count in (min(SOAK_HEAD, options.soak), max(0, options.soak - SOAK_HEAD)):
            some = _shown(itertools.islice(requests, count), bar)
            measured.append(run_clients(service.address, some, checked, clients=SOAK_CLIENTS))
            memory.append(memory_bytes(service.pid))
        lost = sum(sum(one.lost.values()) for one in measured)
        return {
            "facts": _facts(options, service),
            "requests": options.soak,
            "seconds": sum(one.seconds for one in measured),
            "right": checked.right,
            "busy": checked.busy,
            "wrong": checked.wrong,
            "lost": lost,
            "left": options.soak - checked.right - checked.busy - checked.wrong - lost,
            "sentences": checked.sentences,
            "memory_bytes": memory,
            "growth": memory[1] / memory[0] - 1,
        }


def _limit_of_pictures(service: Server) -> int:
    with urllib.request.urlopen(f"{service.told['http']}/info") as answer:
        return int(json.load(answer)["limits"]["pictures"])


def _shown(requests: Iterator[Request], bar: tqdm[Any]) -> Iterator[Request]:
    for request in requests:
        bar.update()
        yield request


def soak_lines(found: dict[str, Any]) -> list[str]:
    """Return what a soak found, in words."""
    first, last = (f"{one / MEGABYTE:.1f} MB" for one in found["memory_bytes"])
    return [
        f"{found['requests']} requests in {found['seconds']:.0f} s by {SOAK_CLIENTS} clients: "
        f"{found['right']} right, {found['wrong']} wrong, {found['busy']} busy, {found['lost']} without an "
        f"answer; {found['left']} clients left before theirs.",
        f"memory after {SOAK_HEAD} requests {first}, at the end {last}: {100 * found['growth']:+.1f} %",
        *found["sentences"],
    ]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the program's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="an exported folder")
    add("pictures", metavar="PICTURES", help=f"a folder of JPEGs; the first {MOST_PICTURES} are sent")
    add("--clients", type=count, nargs="+", default=[1, 4, 16, 64], metavar="N", help="default: 1 4 16 64")
    add("--seconds", type=count, default=4, metavar="S", help="of one turn (default: %(default)s)")
    add("--rounds", type=count, default=3, metavar="N", help="turns of each row (default: %(default)s)")
    add("--soak", type=count, metavar="N", help="send N mixed requests to the service instead")
    add("--output", metavar="FILE", help="write everything to FILE as JSON")
    add("--plot", metavar="FILE", help="draw the load table to FILE.png; needs matplotlib")
    add(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the service: limits.queue=8; may be repeated",
    )
    parser.set_defaults(run=run)
    return parser


def run(options: argparse.Namespace) -> int:
    """Measure, tell, write; return the exit code."""
    cv2.setNumThreads(1)
    if options.soak:
        found = soak(options)
        lines, tree = soak_lines(found), found
        is_right = not found["wrong"] and not found["lost"] and found["growth"] < MOST_GROWTH
    else:
        if options.plot:
            check_plotting()
        load = measure_load(options)
        lines, tree, is_right = load_lines(load), load_dict(load), load.is_right
        if options.plot:
            write_plot(load, Path(options.plot))
    print(printable("\n".join(lines)))
    if options.output:
        write_json(tree, Path(options.output))
    return 0 if is_right else 1


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(build_parser().parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
