"""The network alone: programs that are started one by one, proven right, and then timed in turns.

Door: imports environments, artifacts and the rock.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppghost.artifact import read_artifact, read_golden
from ppghost.bench.files import ModelFiles
from ppghost.bench.findings import Comparison, Measurement, Setting, Start, artifact_facts
from ppghost.bench.programs import TOLERANCES, Program
from ppghost.bench.workers import Pace, Progress, Race, Worker, WorkerEnded, started_worker
from ppghost.errors import GhostError

PACE = Pace(turn_seconds=0.5, most_calls=200)
_TINIEST = 1e-30


class Group:
    """The programs of one network and one number of threads, running side by side.

    Args:
        files: of the network.
        threads: of each program.
        result: what is found is put here.
        stack: ends the programs.
    """

    def __init__(self, files: ModelFiles, threads: int, result: Comparison, stack: ExitStack) -> None:
        self._files = files
        self._model = files.subject.model
        self._threads = threads
        self._result = result
        self._stack = stack
        self._workers: dict[str, Worker] = {}
        self._starts: dict[str, Start] = {}
        self._how: dict[str, str] = {}
        golden = read_golden(read_artifact(files.artifact("stock")))
        self._truth = golden.tensor_logits
        self._rows = files.folder / "rows.npy"
        self._answers = files.folder / "answers.npy"
        np.save(self._rows, golden.tensor)

    def start(self, program: Program, python: Path) -> None:
        """Start a program and let it predict once, while the others do nothing."""
        try:
            job, files = self._files.job_of(program, self._threads)
            begin = time.perf_counter()
            worker = self._stack.enter_context(
                started_worker(job, python, self._threads, is_ours=program.is_ours)
            )
            facts = worker.hear()
            first_seconds = time.perf_counter() - begin
        except (GhostError, WorkerEnded) as error:
            self._leave_out(program, str(error))
            return
        self._result.frameworks[program.name] = facts["framework"]
        self._workers[program.name] = worker
        self._starts[program.name] = Start(
            model=self._model,
            threads=self._threads,
            program=program.name,
            first_seconds=first_seconds,
            load_seconds=facts["load_seconds"],
            peak_bytes=facts["peak_bytes"],
            file_bytes=sum(file.stat().st_size for file in files),
        )
        if "artifact" in job:
            artifacts = self._result.provenance["artifacts"][self._model]
            artifacts[program.graph or "default"] = artifact_facts(Path(job["artifact"]))

    def check(self, batch: int, progress: Progress) -> None:
        """Compare every program's outputs with the network's, and leave out who is wrong."""
        for name in list(self._workers):
            progress(0, f"{name}, its outputs")
            program = self._result.programs[name]
            try:
                error = self._error_of(name, batch)
            except WorkerEnded as ended:
                self._leave_out(program, str(ended))
                continue
            self._starts[name].error = max(self._starts[name].error or 0.0, error)
            if not error <= TOLERANCES[program.precision]:
                self._leave_out(
                    program,
                    f"its outputs for batch {batch} are wrong: a logit differs from the network's by "
                    f"{error:.1e} of the largest; tolerated in {program.precision}: "
                    f"{TOLERANCES[program.precision]:.0e}.",
                )

    def race(self, batch: int, rounds: int, deadline: float, progress: Progress) -> None:
        """Time all programs in turns."""
        race = Race(self._workers, PACE, {"what": "time", "batch": batch})
        race.run(rounds, deadline, progress)
        for name, ended in race.ended.items():
            self._leave_out(self._result.programs[name], str(ended))
        setting = Setting(self._model, self._threads, batch)
        self._result.measurements += [
            Measurement(setting, name, series.ms, series.peak_bytes, self._how[name], series.best_ms)
            for name, series in race.series.items()
        ]

    def compare_classes(self, batch: int, rows: Path, classes: NDArray[np.int64], progress: Progress) -> None:
        """Note in how many pictures the programs of lower precision see what the network sees.

        This takes much memory: only after the last race.
        """
        for name in list(self._workers):
            program = self._result.programs[name]
            if program.precision == "fp32":
                continue
            progress(1, f"{name}, its best classes")
            try:
                found = self._outputs(name, batch, rows).argmax(axis=1)
            except WorkerEnded as ended:
                self._leave_out(program, str(ended))
                continue
            self._starts[name].agreement = float(np.mean(found == classes))

    def finish(self) -> None:
        """Hand in how the programs started that are still there."""
        self._result.starts += self._starts.values()

    def _error_of(self, name: str, batch: int) -> float:
        outputs = self._outputs(name, batch, self._rows)
        if self._result.programs[name].form != "timm":
            return logit_error(centred(np.log(np.maximum(outputs, _TINIEST))), centred(self._truth))
        truth = self._outputs(name, batch, self._rows, reference=True)
        return logit_error(centred(outputs), centred(truth))

    def _outputs(self, name: str, batch: int, rows: Path, *, reference: bool = False) -> NDArray[np.float32]:
        answer = self._workers[name].ask(
            what="score", batch=batch, rows=str(rows), output=str(self._answers), reference=reference
        )
        self._how[name] = answer["setting"]
        outputs: NDArray[np.float32] = np.load(self._answers)
        return outputs

    def _leave_out(self, program: Program, reason: str) -> None:
        self._workers.pop(program.name, None)
        self._starts.pop(program.name, None)
        self._result.missing.append(
            f"{program.name} is left out for {self._model}, {self._threads} thread(s): {reason}"
        )


def centred(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return logits without their mean, which softmax does not see: logarithms of probabilities are alike.

    Args:
        logits: `float32 [N, classes]`, or logarithms of probabilities.
    """
    wide = np.asarray(logits, np.float64)
    centre: NDArray[np.float64] = wide - wide.mean(axis=1, keepdims=True)
    return centre


def logit_error(logits: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the largest difference as a share of the largest value; infinite for NaN or another shape."""
    if logits.shape != truth.shape or not np.isfinite(logits).all():
        return float("inf")
    return float(np.abs(logits - truth).max() / np.abs(truth).max())
