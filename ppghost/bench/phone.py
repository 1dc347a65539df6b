"""The result of a benchmark with Paddle Lite, on a phone or elsewhere: read, and checked before it counts.

The C++ program and the Android app of `deploy/lite` write it; `deploy/lite/README.md` describes the file.
Where a device does not tell a thing, it is null; a key is never left out.

Door: imports the binder of `config` and the rock.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Optional

from ppghost.config.bind import bind_plain
from ppghost.config.types import Choice, PositiveInt, Range
from ppghost.errors import ConfigError, DataError

FORMAT = 1
KIND = "ppghost-phone-benchmark"
POWER_MODES = tuple(
    f"LITE_POWER_{name}" for name in ("HIGH", "LOW", "FULL", "NO_BIND", "RAND_HIGH", "RAND_LOW")
)
MODERATE = 2
"""The thermal status of Android from which a device slows itself down."""

_Count = Annotated[int, Range(0)]
_Nanoseconds = Annotated[float, Range(0, above=True)]
_Time = Annotated[int, Range(1, 2**63 - 1)]
_Thermal = Annotated[int, Range(0, 6)]
_SHA256 = re.compile("[0-9a-f]{64}")
_FEWER_NANOSECONDS_ARE_EQUAL = 1.0
_MOST_CELLS = 10_000
_ARCHS = MappingProxyType({"arm64-v8a": "armv8", "armeabi-v7a": "armv7", "x86_64": "x86"})


@dataclass(frozen=True)
class Program:
    """What measured: its name and version."""

    name: str
    version: str


@dataclass(frozen=True)
class Plan:
    """What was to be measured: each model with each number of threads, so many rounds.

    Attributes:
        models: ids of the models, in the order given.
        threads: numbers of threads.
        power_mode: which cores were asked for.
        batch: pictures in a run, always 1.
        warmup: runs before the timed ones of a cell.
        repeats: timed runs of a cell.
        rounds: how often each cell is measured.
        seed: of the order; null where it was not shuffled.
        pause_seconds: rest between cells.
    """

    models: tuple[str, ...]
    threads: tuple[PositiveInt, ...]
    power_mode: Annotated[str, Choice(POWER_MODES)]
    batch: Annotated[int, Choice((1,))]
    warmup: _Count
    repeats: PositiveInt
    rounds: PositiveInt
    seed: Optional[int]
    pause_seconds: Annotated[float, Range(0)]


@dataclass(frozen=True)
class Device:
    """Where it was measured."""

    manufacturer: Optional[str]
    model: str
    soc: Optional[str]
    os: str
    os_build: Optional[str]
    abi: Annotated[str, Choice(tuple(_ARCHS))]
    cpu_count: PositiveInt
    page_size_bytes: Optional[PositiveInt]


@dataclass(frozen=True)
class Engine:
    """What ran the networks: its name and the version that the library itself tells."""

    name: Annotated[str, Choice(("Paddle Lite",))]
    version: str


@dataclass(frozen=True)
class Model:
    """A measured network and the `.nb` file that it was read from."""

    id: str
    name: str
    version: str
    graph: str
    arch: Annotated[str, Choice(("armv8", "armv7", "x86"))]
    precision: Annotated[str, Choice(("fp32", "fp16"))]
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    class_num: PositiveInt
    file: str
    size_bytes: PositiveInt
    sha256: str
    meta_version: PositiveInt
    opt_version: str


@dataclass(frozen=True)
class Cell:
    """The runs of one model with one number of threads in one round."""

    model: str
    threads: PositiveInt
    round: PositiveInt
    times_ns: tuple[_Time, ...]
    average_ns: _Nanoseconds
    median_ns: _Nanoseconds
    p90_ns: _Nanoseconds
    min_ns: _Nanoseconds
    max_ns: _Nanoseconds
    frequencies_before_khz: Optional[tuple[Optional[_Count], ...]]
    frequencies_after_khz: Optional[tuple[Optional[_Count], ...]]
    thermal_before: Optional[_Thermal]
    thermal_after: Optional[_Thermal]
    charging: Optional[bool]
    battery_saver: Optional[bool]
    golden_passed: Optional[bool]

    @property
    def place(self) -> tuple[str, int, int]:
        """Which of the planned ones it is: model, threads, round."""
        return self.model, self.threads, self.round

    @property
    def is_throttled(self) -> bool:
        """Whether the device slowed itself down, for heat or for its battery."""
        heat = max(self.thermal_before or 0, self.thermal_after or 0)
        return heat >= MODERATE or bool(self.battery_saver)


@dataclass(frozen=True)
class Skipped:
    """A planned cell that was not measured, and why."""

    model: str
    threads: PositiveInt
    round: PositiveInt
    reason: str

    @property
    def place(self) -> tuple[str, int, int]:
        """As `Cell.place`."""
        return self.model, self.threads, self.round


@dataclass(frozen=True)
class Result:
    """A whole file. `created` is when it began, in ISO 8601 with its offset or Z."""

    format: Annotated[int, Choice((FORMAT,))]
    kind: Annotated[str, Choice((KIND,))]
    created: str
    program: Program
    plan: Plan
    device: Device
    engine: Engine
    models: tuple[Model, ...]
    cells: tuple[Cell, ...]
    skipped: tuple[Skipped, ...]


def read_result(path: Path) -> Result:
    """Return the content of a result file that has passed every check.

    Raises:
        DataError: it cannot be read, lacks something, or contradicts itself; one line for each finding.
    """
    try:
        tree = json.loads(path.read_bytes(), object_pairs_hook=_mapping)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is no JSON: {error}. Give the file that the app exported.") from error
    if not isinstance(tree, Mapping) or tree.get("kind") != KIND:
        raise DataError(f"'{path}' is no result of a benchmark on a phone: its kind is not {KIND}.")
    try:
        result: Result = bind_plain(tree, Result, source=str(path))
    except (ConfigError, RecursionError) as error:
        raise DataError(f"'{path}' is no complete result: {error}") from error
    problems = [*_type_problems(tree, dataclasses.asdict(result)), *problems_of(result)]
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise DataError(f"'{path}' cannot be a result of our programs:{listed}")
    return result


def _mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; a key that stands twice is an error."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise ValueError(f"the key '{twice[0]}' stands twice")
    return dict(pairs)


def _type_problems(given: Any, read: Any, path: str = "") -> Iterator[str]:
    """Yield where the binder was kinder than a program deserves: 0 for false, a text for a number."""
    if given is None and read is not None:
        yield f"{path} is null"
    elif isinstance(read, Mapping):
        for key, value in read.items():
            yield from _type_problems(given[key], value, f"{path}.{key}".lstrip("."))
    elif isinstance(read, tuple):
        for number, (one, value) in enumerate(zip(given, read)):
            yield from _type_problems(one, value, f"{path}.{number}")
    elif isinstance(given, bool) != isinstance(read, bool) or isinstance(given, str) != isinstance(read, str):
        yield f"{path} is {json.dumps(given)} and should be {json.dumps(read)}"
    elif isinstance(read, str) and not read.isprintable():
        yield f"{path} is {json.dumps(read)}, which cannot be printed on one line"


def problems_of(result: Result) -> Iterator[str]:
    """Yield what is wrong with a result whose keys and types are right."""
    yield from _provenance_problems(result)
    yield from _count_problems(result)
    for cell in result.cells:
        name = f"{cell.model}, {cell.threads} thread(s), round {cell.round}"
        yield from (f"{name}: {problem}" for problem in _cell_problems(cell, result))


def warnings_of(result: Result) -> Iterator[str]:
    """Yield what a reader of a right result should know."""
    for model in result.models:
        if model.opt_version != result.engine.version:
            yield f"{model.id} was converted by {model.opt_version} and ran in {result.engine.version}."
    throttled = sum(cell.is_throttled for cell in result.cells)
    if throttled:
        yield f"In {throttled} of {len(result.cells)} cells the device slowed itself down; they are marked *."
    unchecked = sum(cell.golden_passed is None for cell in result.cells)
    if unchecked:
        yield f"In {unchecked} of {len(result.cells)} cells the outputs were not compared with golden."
    yield from (f"{one.model}, {one.threads} thread(s), skipped: {one.reason}" for one in result.skipped)


def _provenance_problems(result: Result) -> Iterator[str]:
    try:
        created = datetime.datetime.fromisoformat(result.created.replace("Z", "+00:00"))
    except ValueError:
        created = None
    if created is None or created.tzinfo is None:
        yield f"created is '{result.created}'; accepted: a time such as 2026-01-31T12:00:00Z"
    for what, text in (
        ("program.name", result.program.name),
        ("program.version", result.program.version),
        ("device.model", result.device.model),
        ("device.os", result.device.os),
        ("engine.version", result.engine.version),
    ):
        if not text.strip():
            yield f"{what} is empty"
    for model in result.models:
        if not _SHA256.fullmatch(model.sha256):
            yield f"{model.id}: sha256 is no 64 hex digits"
        if not all(text.strip() for text in (model.name, model.version, model.file, model.opt_version)):
            yield f"{model.id}: name, version, file or opt_version is empty"
        if model.arch != _ARCHS[result.device.abi]:
            yield f"{model.id}: arch is {model.arch}, which {result.device.abi} cannot run"
        if model.input_shape[0] != 1:
            yield f"{model.id}: input_shape begins with {model.input_shape[0]}, and batch is 1"


def _count_problems(result: Result) -> Iterator[str]:
    """Yield where plan, models, cells and skipped do not belong together."""
    plan = result.plan
    known = [model.id for model in result.models]
    for what, values in (("models", known), ("plan.models", plan.models), ("plan.threads", plan.threads)):
        if len(set(values)) != len(values) or not values:
            yield f"{what} is empty or names one twice: {', '.join(map(str, values))}"
    if set(plan.models) != set(known):
        yield f"plan.models ({', '.join(plan.models)}) are not those of models ({', '.join(known)})"
    planned_count = len(plan.models) * len(plan.threads) * plan.rounds
    if planned_count > _MOST_CELLS:
        yield f"{planned_count} cells are planned; no run measures more than {_MOST_CELLS}"
        return
    planned = {
        (model, threads, number)
        for model in plan.models
        for threads in plan.threads
        for number in range(1, plan.rounds + 1)
    }
    found = Counter([cell.place for cell in result.cells] + [one.place for one in result.skipped])
    for place in sorted(planned - set(found)):
        yield f"{_told(place)} was planned and is neither in cells nor in skipped"
    for place in sorted(set(found) - planned):
        yield f"{_told(place)} was not planned"
    for place in sorted(place for place, count in found.items() if count > 1):
        yield f"{_told(place)} is there {found[place]} times"


def _told(place: tuple[str, int, int]) -> str:
    return f"{place[0]}, {place[1]} thread(s), round {place[2]}"


def _cell_problems(cell: Cell, result: Result) -> Iterator[str]:
    if len(cell.times_ns) != result.plan.repeats:
        yield f"{len(cell.times_ns)} times, and {result.plan.repeats} were planned"
    if cell.times_ns:
        for name, value in statistics_of(cell.times_ns).items():
            given = getattr(cell, name)
            if abs(given - value) >= _FEWER_NANOSECONDS_ARE_EQUAL:
                yield f"{name} is {given:.0f}, but the times give {value:.0f}"
    for name in ("frequencies_before_khz", "frequencies_after_khz"):
        frequencies = getattr(cell, name)
        if frequencies is not None and len(frequencies) != result.device.cpu_count:
            yield f"{name} has {len(frequencies)} values for {result.device.cpu_count} processors"
    if cell.golden_passed is False:
        yield "the outputs were not those of the network (golden_passed): its times are no result"


def statistics_of(times_ns: Sequence[int]) -> dict[str, float]:
    """Return the statistics of a cell, in nanoseconds, by their keys in the file.

    The 90th percentile is that of the nearest rank: a time that was measured.
    """
    ordered = sorted(times_ns)
    middle = len(ordered) // 2
    return {
        "average_ns": sum(ordered) / len(ordered),
        "median_ns": (ordered[middle] + ordered[~middle]) / 2,
        "p90_ns": ordered[math.ceil(0.9 * len(ordered)) - 1],
        "min_ns": ordered[0],
        "max_ns": ordered[-1],
    }
