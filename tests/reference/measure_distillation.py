"""Train students with labels alone and with teachers, several seeds, and tell the top-1 accuracies apart.

    python tests/reference/measure_distillation.py DATA --output output/measured

DATA is a folder as `configs/demo/GhostNet_x0_5_cifar10.yaml` wants it, 2,000 pictures of each of ten classes.
Two settings: 400 pictures of each class are labelled, drawn by chance, or all are. In both, a GhostNet_x1_3
learns from the labelled pictures; a GhostNet_x0_5 learns from the same labels alone, or from the teacher's
answers on all pictures without labels, or, with 4,000 labels, from stored answers. All students take the same
number of steps. The two teachers and fifteen students take about two hours on two cores, too long for the
test suite.

A run that ended well is not repeated, so the command can be stopped and given again.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[2]
PLAIN = "configs/demo/GhostNet_x1_3_cifar10.yaml"
TAUGHT = "configs/demo/GhostNet_x0_5_cifar10_ssld.yaml"
FEW, ALL, PER_CLASS = "4,000", "20,000", 400
# Epochs over a list; each student takes 1,600 steps of 50 pictures.
EPOCHS = {FEW: 20, ALL: 4}
TEACHER_EPOCHS = {FEW: 30, ALL: 6}
_TOP1 = re.compile(r"\[Eval\]\[Epoch \d+\]\[Avg\].*top1: ([\d.]+)")


@dataclass(frozen=True)
class Run:
    """A command of `tools`, and where its result is.

    Attributes:
        title: row of the table.
        folder: where it writes; the file `done` there says that it ended well.
        words: of the command line, after Python.
    """

    title: str
    folder: Path
    words: tuple[str, ...]

    def perform(self) -> None:
        """Run it, unless that was done.

        Raises:
            subprocess.CalledProcessError: it failed; `run.log` says why.
        """
        if (self.folder / "done").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / "run.log").open("w") as log:
            subprocess.run(
                [sys.executable, *self.words], stdout=log, stderr=subprocess.STDOUT, env=environ, check=True
            )
        (self.folder / "done").touch()

    def top1(self) -> float:
        """Return the accuracy after the last epoch, in percent."""
        return 100 * float(_TOP1.findall((self.folder / "run.log").read_text())[-1])


class Measurement:
    """The runs of one command line, and their table.

    Args:
        data: folder of the pictures.
        output: where all runs write.
    """

    def __init__(self, data: Path, output: Path) -> None:
        self.data, self.output = data.resolve(), output.resolve()
        self.output.mkdir(parents=True, exist_ok=True)
        self.lists = {FEW: self.output / "train_list_4000.txt", ALL: self.data / "train_list.txt"}
        draw_list(self.lists[ALL], self.lists[FEW])

    def train(self, title: str, recipe: str, listed: Path, epochs: int, *overrides: str) -> Run:
        """Return the training of a recipe on the pictures of a list, evaluated at its end."""
        folder = self.output / re.sub(r"\W+", "_", title)
        words = [str(ROOT / "tools/train.py"), "-c", str(ROOT / recipe)]
        for override in (
            f"Global.output_dir={folder}",
            f"DataLoader.Train.dataset.image_root={self.data}",
            f"DataLoader.Eval.dataset.image_root={self.data}",
            f"DataLoader.Train.dataset.cls_label_path={listed}",
            f"DataLoader.Eval.dataset.cls_label_path={self.data / 'val_list.txt'}",
            f"Global.epochs={epochs}",
            f"Global.eval_interval={epochs}",
            f"Global.save_interval={epochs}",
            *overrides,
        ):
            words += ["-o", override]
        return Run(title, folder, tuple(words))

    def teacher(self, labels: str) -> Run:
        """Return the training of the teacher that saw so many labels."""
        return self.train(f"teacher, {labels} labels", PLAIN, self.lists[labels], TEACHER_EPOCHS[labels])

    def labels_alone(self, labels: str, seed: int) -> Run:
        """Return the training of a student on labels."""
        return self.train(
            f"labels alone, {labels} labels, seed {seed}",
            PLAIN,
            self.lists[labels],
            EPOCHS[labels],
            "Arch.name=GhostNet_x0_5",
            "Arch.dropout=0.0",
            f"Global.seed={seed}",
        )

    def taught(self, labels: str, seed: int) -> Run:
        """Return the training of a student by the teacher that saw so many labels."""
        teacher = self.teacher(labels).folder / "best_model"
        return self.train(
            f"SSLD, {labels} labels, seed {seed}",
            TAUGHT,
            self.lists[ALL],
            EPOCHS[ALL],
            f"Arch.models.0.Teacher.pretrained={teacher}",
            f"Global.seed={seed}",
        )


def draw_list(source: Path, target: Path) -> None:
    """Write `PER_CLASS` lines of each class, drawn by chance, the same ones each time."""
    classes: dict[str, list[str]] = {}
    for line in source.read_text(encoding="utf-8").splitlines():
        classes.setdefault(line.split()[1], []).append(line)
    draw = random.Random(0)
    chosen = [sorted(draw.sample(sorted(classes[name]), PER_CLASS)) for name in sorted(classes, key=int)]
    target.write_text("".join(f"{line}\n" for lines in chosen for line in lines), encoding="utf-8")


def storing_for(live: Run, answers: Path) -> Run:
    """Return what stores the answers that the teacher of a run gives to its pictures."""
    words = (str(ROOT / "tools/store_soft_labels.py"), *live.words[1:], "--output", str(answers))
    return Run("storing", answers.with_suffix(""), words)


def with_stored(live: Run, answers: Path) -> Run:
    """Return a run that reads the answers instead of asking its teacher."""
    folder = live.folder.with_name(f"{live.folder.name}_stored")
    words = [word.replace(str(live.folder), str(folder)) for word in live.words]
    return Run(live.title, folder, (*words, "-o", f"Arch.models.0.Teacher.soft_labels={answers}"))


def measure(measurement: Measurement, seeds: Sequence[int], jobs: int) -> dict[str, list[Run]]:
    """Run everything, `jobs` at a time, and return the runs by row of the table."""
    teachers = {f"teacher, {labels} labels": [measurement.teacher(labels)] for labels in EPOCHS}
    alone = {
        f"labels alone, {labels} labels": [measurement.labels_alone(labels, s) for s in seeds]
        for labels in EPOCHS
    }
    taught = {f"SSLD, {labels} labels": [measurement.taught(labels, s) for s in seeds] for labels in EPOCHS}
    [few, *_] = taught.values()
    answers = measurement.output / "answers.soft"
    stored = {f"SSLD, {FEW} labels, stored answers": [with_stored(run, answers) for run in few]}
    with ThreadPoolExecutor(jobs) as pool:
        for rows in (teachers | alone, {"": [storing_for(few[0], answers)]} | taught, stored):
            wait_for([pool.submit(run.perform) for runs in rows.values() for run in runs])
    return teachers | alone | taught | stored


def wait_for(runs: Sequence[Future[None]]) -> None:
    """Return when all have ended; raises what the first of them raised."""
    for run in runs:
        run.result()


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the pictures")
    parser.add_argument("--output", type=Path, default=Path("output/measured"), help="where runs write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    return parser.parse_args(arguments)


def main() -> int:
    """Run the program; return its exit code."""
    options = parse_arguments()
    rows = measure(Measurement(options.data, options.output), options.seeds, options.jobs)
    for title, runs in rows.items():
        found = [run.top1() for run in runs]
        spread = f"+- {statistics.stdev(found):.2f}" if len(found) > 1 else ""
        each = " ".join(f"{top1:.2f}" for top1 in found)
        sys.stdout.write(f"{title:38} {statistics.mean(found):.2f} {spread:8} {each}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
