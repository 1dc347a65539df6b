"""What a load test found: its table, its plain values, its plot.

A program's part; imports the reports' brick and the rock, matplotlib only for the plot.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from closed_loop import Measured, Request
from soak_cases import Expected, what_is_wrong

from ppghost.bench.report import MEGABYTE, check_plotting, table_lines, write_figure

SERVICE, NO_SERVER = "service", "no server"
BUSY_STATUS = 503
COMPARED_CLIENTS = 16
_SHOWN_WRONG = 10
_HEAD = ("server", "clients", "requests/s", "min..max", "p50 ms", "p95 ms", "p99 ms", "busy", "wrong", "lost")


@dataclass
class Checked:
    """Compares answers with what has to come back.

    Attributes:
        expected: for each request.
        right: how many answers were.
        busy: how many said that the server is busy.
        wrong: how many were anything else.
        sentences: about the first wrong ones.
    """

    expected: Mapping[Request, Expected]
    right: int = 0
    busy: int = 0
    wrong: int = 0
    sentences: list[str] = field(default_factory=list)

    def __call__(self, request: Request, status: int, body: bytes) -> None:
        """Take one answer."""
        complaint = what_is_wrong(self.expected[request], status, body)
        if complaint is None:
            self.right += 1
        elif status == BUSY_STATUS:
            self.busy += 1
        else:
            self.wrong += 1
            if len(self.sentences) < _SHOWN_WRONG:
                self.sentences.append(f"{request.name}: {complaint}")


@dataclass
class Row:
    """All turns of one server with one number of clients.

    Attributes:
        server: its name.
        clients: how many asked at once; threads of the work without a server.
        checked: the answers.
        turns: what was measured.
    """

    server: str
    clients: int
    checked: Checked
    turns: list[Measured] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Requests a second, of each turn."""
        return [len(turn.latencies_s) / turn.seconds for turn in self.turns]

    @property
    def lost(self) -> int:
        """How many requests ended without an answer."""
        return sum(sum(turn.lost.values()) for turn in self.turns)

    def percentile_ms(self, percent: int) -> float:
        """Return the latency that so many per cent of all requests keep under; NaN without any."""
        ordered = sorted(itertools.chain.from_iterable(turn.latencies_s for turn in self.turns))
        return 1000 * ordered[(len(ordered) - 1) * percent // 100] if ordered else float("nan")


@dataclass
class Load:
    """The result of a load test.

    Attributes:
        facts: where and how it was measured.
        rows: one for each server and number of clients.
        memory: server -> bytes of its processes before and after.
    """

    facts: dict[str, Any]
    rows: list[Row]
    memory: dict[str, tuple[int, int]]

    def find(self, server: str, clients: int) -> Optional[Row]:
        """Return a row, None where it was not measured."""
        return next((row for row in self.rows if (row.server, row.clients) == (server, clients)), None)

    @property
    def is_right(self) -> bool:
        """Whether no answer was wrong and none missing."""
        return not any(row.checked.wrong or row.lost for row in self.rows)


def load_lines(load: Load) -> list[str]:
    """Return the table, what it amounts to, and the first wrong answers."""
    facts = load.facts
    lines = [
        f"{facts['model']} on {facts.get('cpu', facts['machine'])}, {facts['cpus']} CPU(s) for servers and "
        f"clients, {facts['date']}.",
        f"{facts['rounds']} rounds of {facts['seconds']:g} s in which all take turns: medians of requests/s, "
        "percentiles of all requests.",
        "",
        *table_lines([_HEAD, *map(_cells, load.rows)], left=1),
        "",
    ]
    for server, (before, after) in load.memory.items():
        lines.append(f"{server}: {before / MEGABYTE:.0f} MB before, {after / MEGABYTE:.0f} MB after")
    lines += [f"{name}: {value:.2f}" for name, value in ratios_of(load).items()]
    clients_ms = [1000 * turn.cpu_s / len(turn.latencies_s) for turn in _turns_of(load, SERVICE)]
    if clients_ms:
        lines.append(
            f"the clients themselves take {statistics.median(clients_ms):.2f} ms of a processor a request"
        )
    return lines + list(itertools.chain.from_iterable(row.checked.sentences for row in load.rows))


def _turns_of(load: Load, server: str) -> list[Measured]:
    return [turn for row in load.rows if row.server == server for turn in row.turns if turn.latencies_s]


def _cells(row: Row) -> tuple[str, ...]:
    is_served = row.server != NO_SERVER
    rates = row.rates
    return (
        row.server,
        str(row.clients) if is_served else f"{row.clients} threads",
        f"{statistics.median(rates):.1f}",
        f"{min(rates):.1f}..{max(rates):.1f}",
        *(f"{row.percentile_ms(percent):.1f}" if is_served else "-" for percent in (50, 95, 99)),
        *(str(count) if is_served else "-" for count in (row.checked.busy, row.checked.wrong, row.lost)),
    )


def ratios_of(load: Load) -> dict[str, float]:
    """Return what the service is compared by: medians over the rounds, and the tail of its latencies."""
    found: dict[str, float] = {}
    ours = load.find(SERVICE, COMPARED_CLIENTS)
    if ours is None:
        return found
    for row in load.rows:
        if row.server == NO_SERVER or (row.server != SERVICE and row.clients == COMPARED_CLIENTS):
            ratio = statistics.median(mine / other for mine, other in zip(ours.rates, row.rates))
            found[f"requests/s at {COMPARED_CLIENTS} clients, service / {row.server}"] = ratio
    alone = load.find(SERVICE, 1)
    if alone is not None:
        tail = ours.percentile_ms(99) / alone.percentile_ms(50)
        found[f"p99 at {COMPARED_CLIENTS} clients / p50 at 1 client"] = tail
    return found


def load_dict(load: Load) -> dict[str, Any]:
    """Return everything as plain values."""
    return {
        "facts": load.facts,
        "ratios": ratios_of(load),
        "memory_bytes": {server: list(pair) for server, pair in load.memory.items()},
        "rows": [
            {
                "server": row.server,
                "clients": row.clients,
                "requests_per_s": row.rates,
                **{f"p{percent}_ms": row.percentile_ms(percent) for percent in (50, 95, 99)},
                "right": row.checked.right,
                "busy": row.checked.busy,
                "wrong": row.checked.wrong,
                "lost": row.lost,
                "clients_cpu_s": [turn.cpu_s for turn in row.turns],
            }
            for row in load.rows
        ],
    }


def write_plot(load: Load, path: Path) -> None:
    """Draw requests a second, and the latencies, over the number of clients.

    Raises:
        ToolMissingError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    check_plotting()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    rates, latencies = figure.subplots(1, 2)
    counts = sorted({row.clients for row in load.rows if row.server != NO_SERVER})
    places = list(range(len(counts)))
    for number, server in enumerate(load.memory):
        rows = [row for count in counts for row in [load.find(server, count)] if row is not None]
        middles = [statistics.median(row.rates) for row in rows]
        whiskers = [
            [middle - min(row.rates) for row, middle in zip(rows, middles)],
            [max(row.rates) - middle for row, middle in zip(rows, middles)],
        ]
        colour = f"C{number}"
        rates.errorbar(places, middles, yerr=whiskers, label=server, color=colour, marker="o", capsize=3)
        for percent, style in ((50, "-"), (99, "--")):
            values = [row.percentile_ms(percent) for row in rows]
            latencies.plot(places, values, style, color=colour, marker="o")
    for row in load.rows:
        if row.server == NO_SERVER:
            label = f"no server, {row.clients} threads"
            rates.axhline(statistics.median(row.rates), color="0.5", linestyle=":", label=label)
    rates.set_ylim(bottom=0)
    rates.set_ylabel("requests/s, median and range of the rounds")
    latencies.set_yscale("log")
    latencies.set_ylabel("ms from request to answer: p50, and p99 dashed")
    for panel in (rates, latencies):
        panel.set_xticks(places, [str(count) for count in counts])
        panel.set_xlabel("clients that ask at once")
        panel.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4)
    figure.suptitle(f"{load.facts['model']}, {load.facts['cpus']} CPU(s) shared by servers and clients")
    write_figure(figure, path)
