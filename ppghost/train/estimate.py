"""What a run will cost, found out by some of its own steps.

The model: a picture costs three times its forward pass in a network that is trained (forward, gradient of
weights, gradient of inputs), once in a frozen one. An epoch takes its steps times the mean time of a measured
step, reading included, and an evaluation likewise; writing checkpoints and starting up are left out. Where
pictures grow from stage to stage, each stage is measured and counts by its epochs. On other
devices an epoch takes its multiply-adds divided by theirs. What `Arch.freeze` names counts as trained, so the
multiply-adds are an upper bound there.

House: imports paddle and its own room.
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

import numpy as np
import paddle
from paddle import nn

from ppghost.config import Config
from ppghost.config.sections import DistillationModel
from ppghost.data import Batch, Loader
from ppghost.errors import ConfigError
from ppghost.nets.macs import count_macs
from ppghost.nets.native import fast_evaluation
from ppghost.train.distillation import Distill
from ppghost.train.log import Mean
from ppghost.train.loop import Learner
from ppghost.train.plan import Pace
from ppghost.train.teachers import ExportedNetwork
from ppghost.vision.stages import stage_of

WARMUP_STEPS = 3
"""Steps before the clock starts: kernels are chosen and workers started in them."""
LEAST_STEPS = 8
MOST_SECONDS = 20.0


@dataclass(frozen=True)
class Devices:
    """Devices that a run is planned for.

    Attributes:
        count: how many.
        gmacs: multiply-adds that one of them does in a second while it trains, in units of 1e9.
    """

    count: int
    gmacs: float


@dataclass(frozen=True)
class Cost:
    """What an epoch of a run costs.

    Attributes:
        epochs: how many there are.
        evaluations: how many evaluations there are.
        pictures: that an epoch trains on, in all processes.
        evaluated: pictures of an evaluation, in all processes.
        student_macs: multiply-adds of one forward pass of one picture in the networks that are trained.
        teacher_macs: the same in the frozen networks; None where one runs outside of Paddle, uncounted.
        shipped_macs: the same in the network that is evaluated.
        picture_seconds: of training on one picture, here, reading included.
        teacher_seconds: of these, in the frozen networks.
        reading_seconds: of these, spent waiting for the picture.
        evaluation_seconds: of evaluating one picture.
    """

    epochs: int
    evaluations: int
    pictures: int
    evaluated: int
    student_macs: int
    teacher_macs: Optional[int]
    shipped_macs: int
    picture_seconds: float
    teacher_seconds: float
    reading_seconds: float
    evaluation_seconds: float

    @property
    def macs(self) -> int:
        """Multiply-adds of training on one picture."""
        return 3 * self.student_macs + (self.teacher_macs or 0)

    @property
    def seconds(self) -> float:
        """Of the whole run, here."""
        training = self.epochs * self.pictures * self.picture_seconds
        return training + self.evaluations * self.evaluated * self.evaluation_seconds

    def seconds_on(self, devices: Devices) -> float:
        """Return how long the whole run takes on other devices.

        Raises:
            ConfigError: the multiply-adds of a teacher are not known.
        """
        if self.teacher_macs is None:
            raise ConfigError(
                "--devices needs the multiply-adds of all networks, but a teacher is an exported folder, "
                "which does not tell its own. Leave --devices out, or give the teacher as weights."
            )
        work = self.epochs * self.pictures * self.macs + self.evaluations * self.evaluated * self.shipped_macs
        return work / (devices.count * devices.gmacs * 1e9)

    def lines(self, devices: Optional[Devices] = None) -> list[str]:
        """Return the estimate in sentences."""
        lines = [
            f"A picture: 3 x {self.student_macs / 1e6:.1f} M multiply-adds in what is trained, "
            + (
                "and those of an exported teacher, which are not known"
                if self.teacher_macs is None
                else f"{self.teacher_macs / 1e6:.1f} M in what is frozen: {self.macs / 1e6:.1f} M"
            ),
            f"The run: {self.epochs} epochs x {self.pictures} pictures x {self.macs / 1e6:.1f} M = "
            f"{self.epochs * self.pictures * self.macs:.3g} multiply-adds",
            f"Here: {1 / self.picture_seconds:.1f} pictures a second "
            f"({self.macs / self.picture_seconds / 1e9:.1f} GMAC/s); of each "
            f"{self.picture_seconds * 1e3:.2f} ms {self.teacher_seconds * 1e3:.2f} are the teacher's and "
            f"{self.reading_seconds * 1e3:.2f} waiting for pictures",
            f"Here: {_duration(self.pictures * self.picture_seconds)} an epoch, "
            f"{_duration(self.evaluated * self.evaluation_seconds)} an evaluation, "
            f"{_duration(self.seconds)} in all",
        ]
        if devices is not None:
            seconds = self.seconds_on(devices)
            rate = (self.epochs * self.pictures + self.evaluations * self.evaluated) / seconds
            lines.append(
                f"On {devices.count} device(s) of {devices.gmacs:g} GMAC/s: "
                f"{_duration(seconds / self.epochs)} an epoch, {_duration(seconds)} in all, if "
                f"{rate:.0f} pictures a second can be read"
            )
        return lines


class Measurable(Protocol):
    """What is measured of a run that was built and not begun; `evaluator` is None where nothing evaluates."""

    config: Config
    learner: Learner
    loader: Loader
    pace: Pace
    evaluator: Any


@dataclass(frozen=True)
class Steps:
    """What some steps of training showed.

    Attributes:
        epochs: how many epochs they stand for.
        picture_seconds: of one picture, reading included.
        reading_seconds: of these, spent waiting for it.
        batch: the last one.
        shapes: [3, H, W] of the batches -> how many pictures had it.
    """

    epochs: int
    picture_seconds: float
    reading_seconds: float
    batch: Batch
    shapes: Mapping[tuple[int, ...], int]


def measure_training(learner: Learner, loader: Loader, epoch: int, epochs: int, most: int) -> Steps:
    """Train some steps of an epoch: the weights move, nothing is written.

    Args:
        learner: as a run builds it.
        loader: the pictures of this process.
        epoch: which.
        epochs: how many epochs are like it.
        most: steps of all of them; a short run is measured no longer than it takes.
    """
    learner.task.trainable().train()
    whole, waiting = Mean(), Mean()
    shapes: Counter[tuple[int, ...]] = Counter()
    tic = started = time.perf_counter()
    for step, batch in enumerate(_endless(loader, epoch)):
        waited = time.perf_counter() - tic
        learner.train_batch(batch, epoch, step, updates=(step + 1) % learner.update_freq == 0)
        seconds = time.perf_counter() - tic
        if step >= WARMUP_STEPS:
            whole.add(seconds / batch.size, batch.size)
            waiting.add(waited / batch.size, batch.size)
            shapes[tuple(batch.images.shape[1:])] += batch.size
        else:
            started = time.perf_counter()
        lasted = time.perf_counter() - started > MOST_SECONDS
        if step + 1 >= WARMUP_STEPS + LEAST_STEPS and (lasted or step + 1 >= most):
            break
        tic = time.perf_counter()
    return Steps(epochs, whole.mean, waiting.mean, batch, shapes)


def measure_forward(net: nn.Layer, batches: Iterator[Batch], seconds: float) -> float:
    """Return the mean seconds of one picture in evaluation, with its reading, after a first batch."""
    was_training = net.training
    net.eval()
    mean, started, tic = Mean(), time.perf_counter(), time.perf_counter()
    with paddle.no_grad(), fast_evaluation():
        for position, batch in enumerate(batches):
            net(batch.images).numpy()
            if position:
                mean.add((time.perf_counter() - tic) / batch.size, batch.size)
            if position >= LEAST_STEPS or (position and time.perf_counter() - started > seconds):
                break
            tic = time.perf_counter()
    if was_training:
        net.train()
    return mean.mean


def measure(run: Measurable) -> Cost:
    """Return what a run costs; its weights move, nothing is written.

    Raises:
        GhostError: anything that training would raise in its first steps.
    """
    task, settings = run.learner.task, run.config.Global
    stages = [
        measure_training(run.learner, run.loader, first, epochs, epochs * run.pace.steps)
        for first, epochs in _stages(run.config)
    ]
    networks = dict(task.members.named_children()) if isinstance(task, Distill) else {"": task.eval_net()}
    frozen = run.config.Arch.frozen if isinstance(run.config.Arch, DistillationModel) else ()
    teachers = [networks[name] for name in frozen if name in networks]
    evaluated, evaluation_seconds = 0, 0.0
    if run.evaluator is not None:
        loader = run.evaluator.loader
        evaluated = loader.sample_count
        evaluation_seconds = measure_forward(task.eval_net(), _endless(loader, 1), MOST_SECONDS / 4)
    return Cost(
        epochs=settings.epochs,
        evaluations=_evaluations(run.config) if run.evaluator is not None else 0,
        pictures=run.pace.steps * run.pace.total_batch // run.pace.update_freq
        if settings.iter_per_epoch
        else run.loader.sample_count,
        evaluated=evaluated,
        student_macs=sum(_macs(net, stages) for name, net in networks.items() if name not in frozen),
        teacher_macs=None
        if any(isinstance(net, ExportedNetwork) for net in teachers)
        else sum(_macs(net, stages) for net in teachers),
        shipped_macs=_macs(task.eval_net(), stages),
        picture_seconds=_mean((stage.picture_seconds, stage.epochs) for stage in stages),
        teacher_seconds=_mean(
            (
                sum(
                    measure_forward(net, itertools.repeat(stage.batch), MOST_SECONDS / 4) for net in teachers
                ),
                stage.epochs,
            )
            for stage in stages
        ),
        reading_seconds=_mean((stage.reading_seconds, stage.epochs) for stage in stages),
        evaluation_seconds=evaluation_seconds,
    )


def _evaluations(config: Config) -> int:
    settings = config.Global
    epochs = range(1, settings.epochs + 1)
    times = sum(n % settings.eval_interval == 0 and n >= settings.start_eval_epoch for n in epochs)
    return times * (2 if config.EMA else 1)


def _endless(loader: Loader, epoch: int) -> Iterator[Batch]:
    while True:
        yield from loader.batches(epoch)


def _stages(config: Config) -> list[tuple[int, int]]:
    """Return the first epoch of each stage and how many epochs it has; one stage where none changes."""
    epochs = config.Global.epochs
    if config.Global.train_mode != "progressive":
        return [(1, epochs)]
    stages = [stage_of(epoch, epochs) for epoch in range(1, epochs + 1)]
    return [(stages.index(stage) + 1, stages.count(stage)) for stage in sorted(set(stages))]


def _macs(net: nn.Layer, stages: Sequence[Steps]) -> int:
    """Return the multiply-adds of one forward pass, the mean over the pictures of a run."""
    return round(
        _mean(
            (_mean((count_macs(net, shape), count) for shape, count in stage.shapes.items()), stage.epochs)
            for stage in stages
        )
    )


def _mean(weighted: Iterable[tuple[float, int]]) -> float:
    """Return the mean of (value, weight)."""
    values, weights = zip(*weighted)
    return float(np.average(values, weights=weights))


def _duration(seconds: float) -> str:
    """Return hours, minutes, seconds; days in front where there are any."""
    return str(datetime.timedelta(seconds=max(1, round(seconds))))
