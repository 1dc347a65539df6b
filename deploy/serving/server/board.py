"""The board: what every worker counts, in memory that all of them see, so that any one can tell it all.

One row for each worker, written by it alone; the supervisor clears the momentary figures of a row when it
starts another worker in its place, and the counters go on. No Paddle Serving.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BOARD_FILE = "board"
STARTING, READY, STOPPING = 0.0, 1.0, 2.0
STATUSES = (200, 400, 404, 405, 408, 411, 413, 415, 500, 503, 504)
PROTOCOLS = ("http", "grpc")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)

_MOMENTARY = ("state", "under_way", "waiting_bytes", "connections")
_COUNTED = (
    "starts",
    *(f"requests.{protocol}.{status}" for protocol in PROTOCOLS for status in STATUSES),
    "pictures",
    "seconds",
    *(f"seconds.{bound}" for bound in SECONDS),
    "batches",
    "batch_pictures",
    *(f"batch.{bound}" for bound in BATCHES),
    "preprocess_seconds",
    "network_seconds",
)
_COLUMNS = {name: place for place, name in enumerate((*_MOMENTARY, *_COUNTED))}


class Board:
    """The figures of all workers.

    Args:
        path: a file that all processes map; made where it is missing.
        workers: how many rows it has.
        row: which one is the caller's.
    """

    def __init__(self, path: Path, workers: int, row: int = 0) -> None:
        with path.open("ab") as file:
            file.truncate(8 * workers * len(_COLUMNS))
        self._figures = np.memmap(path, np.float64, "r+", shape=(workers, len(_COLUMNS)))
        self._own = self._figures[row]
        self._lock = threading.Lock()  # the threads of a worker share its row

    def add(self, name: str, amount: float = 1.0) -> None:
        """Add to a figure of the caller's row."""
        with self._lock:
            self._own[_COLUMNS[name]] += amount

    def set_state(self, state: float) -> None:
        """Tell what the caller is doing: `STARTING`, `READY` or `STOPPING`."""
        self._own[_COLUMNS["state"]] = state

    def begin(self, row: int) -> None:
        """Note that a worker is started for a row."""
        self.clear(row)
        self._figures[row, _COLUMNS["starts"]] += 1.0

    def clear(self, row: int) -> None:
        """Clear the momentary figures of a row whose worker is gone."""
        for name in _MOMENTARY:
            self._figures[row, _COLUMNS[name]] = 0.0

    def states(self) -> list[float]:
        """Return the states of all workers."""
        return [float(state) for state in self._figures[:, _COLUMNS["state"]]]

    def set_connections(self, count: int) -> None:
        """Tell how many connections the caller has."""
        self._own[_COLUMNS["connections"]] = count

    def has_more_than_another(self) -> bool:
        """Say whether the caller has more connections than another worker that is ready."""
        place = _COLUMNS["connections"]
        ready = self._figures[:, _COLUMNS["state"]] == READY
        return bool((self._figures[ready, place] < self._own[place]).any())

    def count_request(self, protocol: str, status: int, seconds: float, pictures: int) -> None:
        """Count a request that was answered or refused."""
        with self._lock:
            self._own[_COLUMNS[f"requests.{protocol}.{status}"]] += 1
            if status == 200:
                self._own[_COLUMNS["pictures"]] += pictures
                self._count_into("seconds", SECONDS, seconds)
                self._own[_COLUMNS["seconds"]] += seconds

    def count_batch(self, pictures: int, preprocess: float, network: float) -> None:
        """Count a run of the network: its pictures and the seconds of its parts."""
        with self._lock:
            self._own[_COLUMNS["batches"]] += 1
            self._own[_COLUMNS["batch_pictures"]] += pictures
            self._count_into("batch", BATCHES, pictures)
            self._own[_COLUMNS["preprocess_seconds"]] += preprocess
            self._own[_COLUMNS["network_seconds"]] += network

    def _count_into(self, name: str, bounds: tuple[float, ...], value: float) -> None:
        for bound in bounds:
            if value <= bound:
                self._own[_COLUMNS[f"{name}.{bound}"]] += 1
                return

    def exposition(self, model: dict[str, str]) -> str:
        """Return all figures in Prometheus' text format; pd_ begins the names of Paddle Serving's own."""
        total = {name: float(self._figures[:, place].sum()) for name, place in _COLUMNS.items()}
        states = self.states()
        good = sum(total[f"requests.{protocol}.200"] for protocol in PROTOCOLS)
        requests = sum(value for name, value in total.items() if name.startswith("requests."))
        lines = [
            *_family("ppghost_model_info", "gauge", "The model that is served.", [(_labels(model), 1.0)]),
            *_single("ppghost_workers", "gauge", "Processes.", len(states)),
            *_single("ppghost_workers_ready", "gauge", "Processes that answer.", states.count(READY)),
            *_single(
                "ppghost_worker_restarts_total",
                "counter",
                "Processes that were started again.",
                max(0.0, total["starts"] - len(states)),
            ),
            *_single("ppghost_requests_under_way", "gauge", "Requests being answered.", total["under_way"]),
            *_single("ppghost_connections", "gauge", "Open HTTP connections.", total["connections"]),
            *_single("ppghost_waiting_bytes", "gauge", "Bodies being received.", total["waiting_bytes"]),
            *_family(
                "ppghost_requests_total",
                "counter",
                "Requests by protocol and HTTP status.",
                [
                    (
                        _labels({"protocol": protocol, "status": str(status)}),
                        total[f"requests.{protocol}.{status}"],
                    )
                    for protocol in PROTOCOLS
                    for status in STATUSES
                ],
            ),
            *_single("ppghost_pictures_total", "counter", "Pictures classified.", total["pictures"]),
            *_histogram(total, "ppghost_request_seconds", "Time of good requests.", "seconds", SECONDS, good),
            *_histogram(
                total,
                "ppghost_batch_pictures",
                "Pictures in one run of the network.",
                "batch",
                BATCHES,
                total["batches"],
                "batch_pictures",
            ),
            *_single(
                "ppghost_preprocess_seconds_total",
                "counter",
                "Time in preprocessing.",
                total["preprocess_seconds"],
            ),
            *_single(
                "ppghost_network_seconds_total", "counter", "Time in the network.", total["network_seconds"]
            ),
            *_single("pd_query_request_success_total", "counter", "Good requests.", good),
            *_single("pd_query_request_failure_total", "counter", "Other requests.", requests - good),
            *_single("pd_query_request_duration_us_total", "counter", "Their time.", total["seconds"] * 1e6),
            *_single("pd_inference_count_total", "counter", "Runs of the network.", total["batches"]),
            *_single(
                "pd_inference_duration_us_total", "counter", "Their time.", total["network_seconds"] * 1e6
            ),
        ]
        return "\n".join(lines) + "\n"


def _single(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    return _family(name, kind, text, [("", value)])


def _family(name: str, kind: str, text: str, samples: list[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    yield from (f"{name}{labels} {value:.17g}" for labels, value in samples)


def _histogram(
    total: dict[str, float],
    name: str,
    text: str,
    column: str,
    bounds: tuple[float, ...],
    count: float,
    sum_column: str = "",
) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} histogram"
    below = 0.0
    for bound in bounds:
        below += total[f"{column}.{bound}"]
        yield f'{name}_bucket{{le="{bound}"}} {below:.17g}'
    yield f'{name}_bucket{{le="+Inf"}} {count:.17g}'
    yield f"{name}_sum {total[sum_column or column]:.17g}"
    yield f"{name}_count {count:.17g}"


def _labels(values: dict[str, str]) -> str:
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for name, value in values.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
