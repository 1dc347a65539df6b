"""The summary of a run and its results, as `ais_infer` and `ais_bench` write them.

    RESULTS/sumary.json        ais_infer's (its spelling), in the folder of the results
    RESULTS_summary.json       ais_bench's, beside the folder

Both hold `filesinfo`: for each sample the input files and the result files; latencies in milliseconds; and
the throughput, which is 1000 * batch / mean of NPU_compute_time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppghost.errors import DataError
from ppghost.files import replaced_file
from ppghost.offline.names import by_stem, natural_key, stem_of
from ppghost.offline.outputs import FORMATS
from ppghost.results import printable

SUMMARY_FILE = "sumary.json"
_BENCH_SUFFIX = "_summary.json"
_PERCENTILE = 99
# `cat_0.npy` is the first output for `cat.bin`.
_OUTPUT_NUMBER = re.compile(r"_[0-9]+$")
# Early versions of ais_infer count the pictures instead.
_SAMPLE_NUMBER = re.compile(r"sample_id_([0-9]+)_output_")
# A batch size that is computed back may be off by the rounding of two printed numbers.
_WHOLE = 1e-3
# How many letters of a wrong name are told.
_NAME_SHOWN = 200


@dataclass(frozen=True)
class Results:
    """The results of a run.

    Attributes:
        files: stem of the picture -> file of its scores.
        source: the summary, or the folder where there is none.
        preprocessing: which way the inputs were made; None where nobody recorded it.
    """

    files: Mapping[str, Path]
    source: Path
    preprocessing: Optional[str] = None


@dataclass(frozen=True)
class Speed:
    """How fast a run was.

    Attributes:
        batch: pictures at once.
        mean_ms: mean time of a batch on the device, without transfers.
        throughput: pictures a second.
        engine: what ran it; "NPU" where Ascend's tools wrote the summary.
    """

    batch: int
    mean_ms: float
    throughput: float
    engine: str


def statistics_of(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return the figures of a list of times as the tools write them; zeros for an empty list."""
    times = np.asarray(milliseconds or [0.0], np.float64)
    return {
        "min": float(times.min()),
        "max": float(times.max()),
        "mean": float(times.mean()),
        "median": float(np.median(times)),
        f"percentile({_PERCENTILE}%)": float(np.percentile(times, _PERCENTILE)),
        "count": len(milliseconds),
    }


def write_summary(
    path: Path,
    files: Sequence[tuple[Path, Path]],
    milliseconds: Sequence[float],
    batch: int,
    facts: Mapping[str, Any],
) -> None:
    """Write a summary.

    Args:
        path: the file.
        files: input and result of each picture, in order.
        milliseconds: time of each batch.
        batch: pictures at once.
        facts: what else is to be known, beside what the tools write.

    Raises:
        OutputError: the file cannot be written.
    """
    compute = statistics_of(milliseconds)
    summary = {
        "filesinfo": {
            str(index): {"infiles": [str(given)], "outfiles": [str(made)]}
            for index, (given, made) in enumerate(files)
        },
        "NPU_compute_time": compute,
        "H2D_latency": statistics_of([]),
        "D2H_latency": statistics_of([]),
        "throughput": 1000 * batch / compute["mean"] if compute["mean"] else 0.0,
        **facts,
    }
    with replaced_file(path) as part:
        part.write_bytes(printable(json.dumps(summary, ensure_ascii=False)).encode())


def read_summary(path: Path) -> dict[str, Any]:
    """Return the content of a summary.

    Raises:
        DataError: it cannot be read, or is no summary.
    """
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"The summary '{path}' cannot be read: {error}.") from error
    if not isinstance(summary, dict) or not isinstance(summary.get("filesinfo"), dict):
        raise DataError(f"'{path}' is no summary of a run: it has no 'filesinfo'.")
    return summary


def find_results(place: Path) -> Results:
    """Return the results of a run.

    Args:
        place: a summary; or a folder of results, with its summary in it or beside it, or without one: then
            the names of the files tell the pictures, `<stem>_0.npy`.

    Raises:
        DataError: there is none, or the summary and the files contradict each other.
    """
    if not place.is_dir():
        return _results_of(place)
    # `place` may end with a slash or be a dot.
    absolute = Path(os.path.abspath(place))
    for summary in (place / SUMMARY_FILE, absolute.with_name(absolute.name + _BENCH_SUFFIX)):
        if summary.is_file():
            return _results_of(summary)
    found = [path for path in place.iterdir() if path.suffix[1:].lower() in FORMATS]
    if not found:
        raise DataError(
            f"There is no result in '{place}'. Accepted: a summary, or files of {', '.join(FORMATS)}."
        )
    files: dict[str, Path] = {}
    for path in sorted(found, key=lambda path: natural_key(path.name)):
        stem = _picture_of(path)
        if stem in files:
            raise DataError(
                f"'{files[stem]}' and '{path}' are results for one picture, '{stem}'. Remove one."
            )
        files[stem] = path
    return Results(files, place)


def _results_of(summary_path: Path) -> Results:
    summary = read_summary(summary_path)
    pairs = [_pair(summary_path, index, info) for index, info in summary["filesinfo"].items()]
    if len({given for given, _ in pairs}) != len(pairs):
        raise DataError(
            f"'{summary_path}' names an input twice, so one of its results is of another picture."
        )
    inputs = by_stem(given for given, _ in pairs)
    files: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    places = _places(summary_path, [made for _, made in pairs])
    for (given, made), path in zip(pairs, places):
        stem = stem_of(given)
        if path in taken:
            raise DataError(
                f"'{summary_path}' names the result '{made}' for '{taken[path]}' and for '{stem}'."
            )
        if _picture_of(made) in inputs and _picture_of(made) != stem:
            raise DataError(f"'{summary_path}' names the result '{made}' for the picture '{stem}'.")
        taken[path], files[stem] = stem, path
    _check_unnamed(summary_path, set(taken), {Path(given.name) for given, _ in pairs})
    return Results(files, summary_path, summary.get("preprocessing"))


def _pair(summary_path: Path, index: str, info: Any) -> tuple[Path, Path]:
    names: list[Any] = [info.get(key) if isinstance(info, dict) else None for key in ("infiles", "outfiles")]
    if not all(isinstance(name, list) and len(name) == 1 and isinstance(name[0], str) for name in names):
        raise DataError(
            f"'{summary_path}': sample {index} has {names[0]!r} as input and {names[1]!r} as result; "
            "accepted: one "
            "file each."
        )
    numbered = _SAMPLE_NUMBER.match(os.path.basename(names[1][0]))
    if numbered and numbered[1] != index:
        raise DataError(f"'{summary_path}' names the result '{names[1][0]}' for the sample {index}.")
    return Path(names[0][0]), Path(names[1][0])


def _places(summary_path: Path, results: Sequence[Path]) -> list[Path]:
    """Return where the results lie: beside the summary, as in a folder that was copied, else as written.

    All of them in one way: the folder that was copied may still be there, and be another run's by now.

    Raises:
        DataError: one is not there.
    """
    folders = [summary_path.parent]
    if summary_path.name.endswith(_BENCH_SUFFIX):
        folders.insert(0, summary_path.with_name(summary_path.name[: -len(_BENCH_SUFFIX)]))
    # `os.path.isfile`, for which a name that the system cannot even look up is none.
    found = [
        next((path for path in (folder / made.name for folder in folders) if os.path.isfile(path)), None)
        for made in results
    ]
    if not any(found):
        found = [made if os.path.isfile(made) else None for made in results]
    for made, path in zip(results, found):
        if path is None:
            raise DataError(
                f"'{summary_path}' names the result '{printable(str(made))[:_NAME_SHOWN]}', which is neither "
                "there nor beside the summary with the others. Copy the whole folder of the run."
            )
    return [Path(os.path.realpath(path)) for path in found if path is not None]


def _check_unnamed(summary_path: Path, named: set[Path], inputs: set[Path]) -> None:
    """Raise DataError if there are results that the summary does not name: it is of another run."""
    suffixes = {path.suffix for path in named if path.suffix[1:].lower() in FORMATS}
    for folder in {path.parent for path in named}:
        for path in folder.iterdir():
            is_result = path.suffix in suffixes and Path(path.name) not in inputs
            if is_result and Path(os.path.realpath(path)) not in named:
                raise DataError(
                    f"'{path}' is a result that '{summary_path}' does not name: the two are of different "
                    "runs. "
                    "Run the inference again, into an empty folder."
                )


def _picture_of(result: Path) -> str:
    return _OUTPUT_NUMBER.sub("", stem_of(result))


def speed_of(path: Path) -> Speed:
    """Return how fast a run was, as its summary says.

    The summary does not name the batch size; the throughput and the mean time give it.

    Raises:
        DataError: the figures are missing or contradict each other.
    """
    summary = read_summary(path)
    compute = summary.get("NPU_compute_time")
    mean = compute.get("mean") if isinstance(compute, dict) else None
    throughput = summary.get("throughput")
    numbers = [
        number for number in (mean, throughput) if isinstance(number, (int, float)) and 0 < number < np.inf
    ]
    if len(numbers) != 2:
        raise DataError(
            f"'{path}' has no mean NPU_compute_time and throughput above 0, so there is no speed in it."
        )
    batch = numbers[0] * numbers[1] / 1000
    if round(batch) < 1 or abs(batch - round(batch)) > _WHOLE * batch:
        raise DataError(
            f"'{path}' contradicts itself: throughput x mean time / 1000 is {batch:.4f}, and must be the "
            "batch size."
        )
    return Speed(round(batch), numbers[0], numbers[1], str(summary.get("engine", "NPU")))
