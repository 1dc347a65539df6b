"""From picture files to answers: ours against PaddleClas' way, timed in turns.

Door: imports environments, artifacts and the rock.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import yaml

from ppghost.artifact import FACTS_FILE, read_artifact
from ppghost.bench.files import ModelFiles
from ppghost.bench.findings import Comparison, Measurement, Setting
from ppghost.bench.programs import REFERENCE
from ppghost.bench.workers import Pace, Progress, Race, Worker, WorkerEnded, started_worker
from ppghost.environments import PADDLECLAS, PADDLECLAS_2, Environment
from ppghost.errors import GhostError, OutputError, VerificationError
from ppghost.vision import shapes

PACE = Pace(turn_seconds=2.0, most_calls=2000)
MOST_PICTURES = 1000
CHECKED_PICTURES = 100
DRAWN_PICTURES = 32
# Photographs of ImageNet are of about this size.
DRAWN_SIDE, DRAWN_HEIGHT, DRAWN_QUALITY = 500, 375, 90
# JPEG decoders differ by a grey level here and there, which may turn a close decision.
LEAST_AGREEMENT = 0.9


@dataclass(frozen=True)
class PicturesProgram:
    """A program that goes from picture files to answers.

    Attributes:
        name: what the table calls it.
        title: what it is, in words.
        environment: where it runs; None for this one.
        form: form of the graph that PaddleClas' loop runs, "json" or "pdmodel".
    """

    name: str
    title: str
    environment: Optional[Environment] = None
    form: str = ""


PICTURES_PROGRAMS: dict[str, PicturesProgram] = {
    one.name: one
    for one in (
        PicturesProgram(REFERENCE, "ppghost infer"),
        PicturesProgram("paddle2", "PaddleClas' way, Paddle 2", PADDLECLAS_2, "pdmodel"),
        PicturesProgram("paddle", "PaddleClas' way, Paddle 3", PADDLECLAS, "json"),
    )
}


def draw_pictures(folder: Path, count: int = DRAWN_PICTURES) -> list[Path]:
    """Write drawn JPEG files of the size of photographs, always the same; return their paths.

    Raises:
        OutputError: OpenCV cannot write JPEG.
    """
    folder.mkdir()
    paths = []
    for number in range(count):
        name = shapes.CLASSES[number % len(shapes.CLASSES)]
        drawn = shapes.draw(name, DRAWN_SIDE, np.random.RandomState(number))[:DRAWN_HEIGHT]
        path = folder / f"{number:03d}-{name}.jpg"
        if not cv2.imwrite(str(path), drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, DRAWN_QUALITY]):
            raise OutputError(f"OpenCV cannot write {path}: no space, or built without JPEG.")
        paths.append(path)
    return paths


def write_rows(files: ModelFiles, pictures: Sequence[Path]) -> Path:
    """Write what the pipeline makes of the pictures, `float32 [N, 3, H, W]`, and return the file.

    Raises:
        DataError: a picture cannot be read.
    """
    pipeline = read_artifact(files.artifact("stock")).pipeline
    rows = np.stack([pipeline.to_chw(path.read_bytes()) for path in pictures])
    path = files.folder / "pictures.npy"
    np.save(path, rows)
    return path


def score_rows(files: ModelFiles, rows: Path, threads: int) -> Path:
    """Write the network's outputs for every row, in float32 by the plain engine on the stock graph.

    Raises:
        WorkerEnded: it died.
    """
    stock = files.artifact("stock")
    job = {
        "part": "networks",
        "engine": "ours",
        "threads": threads,
        "golden": str(stock / "golden.npz"),
        "artifact": str(stock),
        "options": {"engine": "native"},
    }
    output = files.folder / "scores.npy"
    with started_worker(job, Path(sys.executable), threads, is_ours=True) as worker:
        worker.hear()
        worker.ask(what="score", batch=8, rows=str(rows), output=str(output))
    return output


def job_of(
    program: PicturesProgram, files: ModelFiles, pictures: Sequence[Path], threads: int
) -> dict[str, Any]:
    """Return what the program's worker is told.

    Raises:
        GhostError: its files cannot be made.
    """
    job: dict[str, Any] = {"part": "pictures", "pictures": [str(path) for path in pictures]}
    job["threads"] = threads
    if program.environment is None:
        return {**job, "program": "ours", "artifact": str(files.artifact(None))}
    folder = files.artifact("stock")
    model = read_artifact(folder).facts.model(program.form)
    tree = yaml.safe_load((folder / FACTS_FILE).read_bytes())
    return {
        **job,
        "program": "paddleclas",
        "files": [str(folder / model.graph), str(folder / (model.weights or ""))],
        "options": {"memory_optim": program.form == "pdmodel"},
        "transform_ops": tree["PreProcess"]["transform_ops"],
        "operators": "paddleclas.deploy.python.preprocess",
        "postprocess": "paddleclas.deploy.python.postprocess",
    }


def measure_pictures(
    files: ModelFiles,
    names: Sequence[str],
    threads: int,
    pythons: Mapping[Optional[Environment], Path],
    pictures: Sequence[Path],
    result: Comparison,
    *,
    rounds: int,
    deadline: float,
    progress: Progress,
) -> None:
    """Start the programs, make sure that they see the same, and time them in turns.

    Args:
        files: of the network.
        names: keys of `PICTURES_PROGRAMS`.
        threads: of each program.
        pythons: interpreter of each environment that could be made.
        pictures: the files.
        result: what is found is put here.
        rounds: the most rounds.
        deadline: of `time.monotonic`.
        progress: told before each turn.
    """
    setting = Setting(files.subject.model, threads, None)
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        truth: list[int] = []
        for program in (PICTURES_PROGRAMS[name] for name in names):
            if program.environment not in pythons:
                continue
            progress(0, f"start of {program.title}")
            try:
                job = job_of(program, files, pictures, threads)
                python = pythons[program.environment]
                worker = stack.enter_context(
                    started_worker(job, python, threads, is_ours=program.environment is None)
                )
                classes = _first_answers(worker, program, setting, result)
                truth = truth or classes
                _check_agreement(classes, truth)
            except (GhostError, WorkerEnded) as error:
                result.missing.append(_sentence(setting, program, str(error)))
                continue
            workers[program.name] = worker
        race = Race(workers, PACE, {"what": "time"})
        race.run(rounds, deadline, progress)
    result.missing += [
        _sentence(setting, PICTURES_PROGRAMS[name], str(error)) for name, error in race.ended.items()
    ]
    result.measurements += [
        Measurement(setting, name, series.ms, series.peak_bytes, best_ms=series.best_ms)
        for name, series in race.series.items()
    ]


def _first_answers(
    worker: Worker, program: PicturesProgram, setting: Setting, result: Comparison
) -> list[int]:
    """Note what runs the program and, of ours, the parts of its work; return the classes that it sees.

    Raises:
        WorkerEnded: it died.
    """
    result.frameworks[f"{program.name}, from files"] = worker.hear()["framework"]
    classes: list[int] = worker.ask(what="classes", calls=CHECKED_PICTURES)["classes"]
    if program.name == REFERENCE:
        result.parts[setting.model] = worker.ask(what="parts", calls=CHECKED_PICTURES)
    return classes


def _check_agreement(classes: Sequence[int], truth: Sequence[int]) -> None:
    """Make sure that a program sees what the first one sees.

    Raises:
        VerificationError: in too many pictures it sees another class.
    """
    agreement = float(np.mean([one == other for one, other in zip(classes, truth)]))
    if agreement < LEAST_AGREEMENT:
        raise VerificationError(f"it sees the same best class in {agreement:.0%} of the pictures only.")


def _sentence(setting: Setting, program: PicturesProgram, reason: str) -> str:
    return (
        f"{program.title} is left out for {setting.model}, {setting.threads} thread(s), from files: {reason}"
    )
