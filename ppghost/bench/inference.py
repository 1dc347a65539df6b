"""How fast a network answers: ours by engine and graph, against other programs on their own stock exports.

Each program is a process of its own, held to as many CPUs as it has threads, and all take turns. Whoever does
not give the network's outputs is left out before any time is taken. Batch 1 is latency; a larger batch is one
call with so many pictures. A second measurement goes from JPEG files to answers.

Door: imports environments, artifacts and the rock; what is measured runs in processes of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np

from ppghost.bench.files import ModelFiles, Subject
from ppghost.bench.findings import Comparison, artifact_facts, provenance
from ppghost.bench.networks import Group
from ppghost.bench.pictures import (
    MOST_PICTURES,
    PICTURES_PROGRAMS,
    PicturesProgram,
    draw_pictures,
    measure_pictures,
    score_rows,
    write_rows,
)
from ppghost.bench.programs import Program
from ppghost.bench.workers import Progress, WorkerEnded
from ppghost.environments import Environment, ensure_environment
from ppghost.errors import GhostError, ToolMissingError


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Attributes:
        subjects: the networks.
        programs: who runs the network alone.
        pictures_programs: who goes from files to answers; keys of `PICTURES_PROGRAMS`.
        threads: numbers of threads.
        batches: batch sizes.
        rounds: the most rounds of a setting.
        budget_seconds: the time for all of it, without making environments; each setting has two rounds at
            least, whatever it is.
        pictures: picture files; empty for drawn ones.
        command: what the user typed.
    """

    subjects: Sequence[Subject]
    programs: Sequence[Program]
    pictures_programs: Sequence[str]
    threads: Sequence[int]
    batches: Sequence[int]
    rounds: int
    budget_seconds: float
    pictures: Sequence[Path] = ()
    command: str = ""

    def count(self) -> int:
        """Return how many settings there are."""
        each = len(self.batches) * bool(self.programs) + bool(self.pictures_programs)
        return len(self.subjects) * len(self.threads) * each


def compare(plan: Plan, progress: Progress = lambda _done, _note: None) -> Comparison:
    """Measure every program in every setting, in turns.

    Ctrl-C ends the comparison; the settings that were measured by then are returned.

    Side effects: makes environments that are missing (once, gigabytes), and starts processes, which end with
    this call.

    Raises:
        ToolMissingError: not one of the programs can run.
        GhostError: the stock export of a network cannot be made, or a picture cannot be read.
    """
    result = Comparison(provenance(plan.command), {one.name: one for one in plan.programs})
    pythons = _find_pythons(plan, result, progress)
    if all(one.environment not in pythons for one in _everyone(plan)):
        raise ToolMissingError("Nothing can be measured. " + " ".join(result.missing))
    with tempfile.TemporaryDirectory(prefix="ppghost-bench-") as folder:
        pictures = list(plan.pictures) or draw_pictures(Path(folder) / "pictures")
        try:
            _Comparing(plan, result, pythons, pictures[:MOST_PICTURES], progress).run(Path(folder))
            progress(plan.count(), "done")
        except KeyboardInterrupt:
            if not result.measurements:
                raise
            result.missing.append("Stopped by Ctrl-C: the settings that are not above were not measured.")
    if not result.measurements:
        raise ToolMissingError("Nothing could be measured. " + " ".join(result.missing))
    return result


def _find_pythons(plan: Plan, result: Comparison, progress: Progress) -> dict[Optional[Environment], Path]:
    """Return the interpreter of each environment that can be made; note the programs of the others."""
    pythons: dict[Optional[Environment], Path] = {None: Path(sys.executable)}
    users: dict[Environment, list[str]] = {}
    for one in _everyone(plan):
        if one.environment is not None:
            users.setdefault(one.environment, []).append(one.title)
    for environment, titles in users.items():
        progress(0, f"the environment of {titles[0]}")
        try:
            pythons[environment] = ensure_environment(environment)
        except GhostError as error:
            result.missing.append(f"{', '.join(titles)} cannot be measured: {error}")
    return pythons


def _everyone(plan: Plan) -> list[Union[Program, PicturesProgram]]:
    return [*plan.programs, *(PICTURES_PROGRAMS[name] for name in plan.pictures_programs)]


class _Comparing:
    """The settings one after the other, and how the time is shared between them."""

    def __init__(
        self,
        plan: Plan,
        result: Comparison,
        pythons: Mapping[Optional[Environment], Path],
        pictures: Sequence[Path],
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._result = result
        self._pythons = pythons
        self._pictures = pictures
        self._progress = progress
        self._deadline = time.monotonic() + plan.budget_seconds
        self._done = 0
        self._note = ""

    def run(self, folder: Path) -> None:
        """Measure everything; files are made in `folder`."""
        for subject in self._plan.subjects:
            place = folder / subject.model
            place.mkdir()
            files = ModelFiles(subject, place)
            self._note = subject.model
            self._tell(0, "export")
            stock = artifact_facts(files.artifact("stock"))
            self._result.provenance["artifacts"][subject.model] = {"stock": stock}
            for threads in self._plan.threads:
                if self._plan.programs:
                    self._measure_network(files, threads)
                if self._plan.pictures_programs:
                    self._measure_pictures(files, threads)

    def _measure_network(self, files: ModelFiles, threads: int) -> None:
        batches = sorted(self._plan.batches)
        with ExitStack() as stack:
            group = Group(files, threads, self._result, stack)
            stack.callback(group.finish)
            for program in self._plan.programs:
                self._note = f"{files.subject.model}, {threads} thread(s)"
                self._tell(0, f"start of {program.name}")
                if program.environment in self._pythons:
                    group.start(program, self._pythons[program.environment])
            for batch in batches:
                self._note = f"{files.subject.model}, {threads} thread(s), batch {batch}"
                group.check(batch, self._tell)
                group.race(batch, self._plan.rounds, self._share_ends(), self._tell)
                self._done += 1
            if any(program.precision != "fp32" for program in self._plan.programs):
                self._compare_classes(group, files, batches[-1])

    def _compare_classes(self, group: Group, files: ModelFiles, batch: int) -> None:
        rows, scores = files.folder / "pictures.npy", files.folder / "scores.npy"
        try:
            if not scores.exists():
                score_rows(files, write_rows(files, self._pictures), max(self._plan.threads))
        except WorkerEnded as error:
            self._result.missing.append(f"The best classes in float32 are unknown: {error}")
            return
        group.compare_classes(batch, rows, np.load(scores).argmax(axis=1), self._tell)

    def _measure_pictures(self, files: ModelFiles, threads: int) -> None:
        self._note = f"{files.subject.model}, {threads} thread(s), from files"
        measure_pictures(
            files,
            self._plan.pictures_programs,
            threads,
            self._pythons,
            self._pictures,
            self._result,
            rounds=self._plan.rounds,
            deadline=self._share_ends(),
            progress=self._tell,
        )
        self._done += 1

    def _tell(self, part: float, name: str) -> None:
        self._progress(self._done + part, f"{self._note}: {name}")

    def _share_ends(self) -> float:
        """Return when the setting that begins now should end."""
        now = time.monotonic()
        return now + (self._deadline - now) / (self._plan.count() - self._done)
