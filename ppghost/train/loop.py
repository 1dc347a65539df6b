"""The training loop and the evaluation loop: one epoch each.

The loop knows a task's `loss` and nothing else of it. It stops when the loss is not finite, before that loss
can reach the weights, and names the step. Every step draws from a generator seeded by (seed, rank, step), so
that a run resumed in the middle of an epoch continues bit for bit.

House: imports paddle, its own room, the data room's types.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Protocol

import numpy as np
import paddle
from paddle import nn

from ppghost.data import Batch
from ppghost.data import Loader as BatchLoader
from ppghost.errors import TrainingError
from ppghost.nets.native import fast_evaluation
from ppghost.train import dist
from ppghost.train.amp import MixedPrecision
from ppghost.train.ema import Ema
from ppghost.train.log import Clock, Mean, Meters, eval_line, train_line
from ppghost.train.losses import Loss
from ppghost.train.metrics import Metrics
from ppghost.train.task import Task
from ppghost.vision import Rng

# PaddleClas forgets the first steps of an epoch when it measures time.
WARMUP_STEPS = 5


class Reporter(Protocol):
    """Where a run tells how it goes; the command line prints, draws a bar and stores curves."""

    def line(self, text: str) -> None:
        """Take one line of the log."""
        ...

    def progress(self, phase: str, title: str, done: int, total: int, note: str) -> None:
        """Take how far `phase` ("train" or "eval") is: `done` of `total` steps; `note` is a short text."""
        ...

    def scalar(self, name: str, value: float, step: int) -> None:
        """Take one point of a curve."""
        ...


class Silent:
    """A reporter that tells nobody."""

    def line(self, text: str) -> None:
        """Drop the line."""

    def progress(self, phase: str, title: str, done: int, total: int, note: str) -> None:
        """Drop the progress."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Drop the point."""


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user asked to stop; everything up to `step` of the epoch is in the weights."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def step_seed(seed: int, rank: int, global_step: int) -> int:
    """Return the seed of the random numbers (dropout) of one training step."""
    return Rng.derive(seed, rank, global_step, 1).seed


@dataclass
class Learner:
    """Everything that one training step changes, and how often to tell about it.

    Attributes:
        task: what is trained.
        optimizers: one or more; each has its schedule at the same place in `schedules`.
        schedules: learning rates.
        amp: mixed precision, or a stand-in that does nothing.
        ema: averaged weights, None without.
        metrics: counted on the training batches, None where labels are mixed.
        update_freq: steps whose gradients are added up before an update.
        seed: `Global.seed`.
        global_step: training steps done.
        print_batch_step: steps between two lines.
        reporter: where lines go.
        should_stop: whether the user wants to stop; asked after every update.
        skipped: path and reason of each picture left out in the epoch, in all its passes over the data.
        memory: returns the memory fields of a line, empty where not asked for.
        tick: called before each step with nothing; the profiler's place.
    """

    task: Task
    optimizers: Sequence[paddle.optimizer.Optimizer]
    schedules: Sequence[paddle.optimizer.lr.LRScheduler]
    amp: MixedPrecision
    ema: Optional[Ema] = None
    metrics: Optional[Metrics] = None
    update_freq: int = 1
    seed: int = 0
    global_step: int = 0
    print_batch_step: int = 10
    reporter: Reporter = field(default_factory=Silent)
    should_stop: Callable[[], bool] = lambda: False
    skipped: dict[str, str] = field(default_factory=dict)
    memory: Callable[[], str] = lambda: ""
    tick: Callable[[], None] = lambda: None

    def train_epoch(self, loader: BatchLoader, epoch: int, epochs: int, steps: int, start: int = 0) -> Meters:
        """Train one epoch and return its running means.

        Args:
            loader: batches of this process.
            epoch: number of the epoch, from 1.
            epochs: how many there are.
            steps: steps of an epoch; more than the loader has starts it again.
            start: steps of this epoch that are done already.

        Raises:
            TrainingError: the loss is not finite.
            Interrupted: `should_stop` said so.
        """
        self.task.trainable().train()
        self.skipped.clear()
        meters, clock = Meters(), Clock()
        tic = time.perf_counter()
        for step, batch in enumerate(self._cycle(loader, epoch, start, steps), start):
            if step - start == WARMUP_STEPS:
                clock.reset()
            clock.reader_cost.add(time.perf_counter() - tic)
            self.tick()
            updates = (step + 1) % self.update_freq == 0
            meters.add(self.train_batch(batch, epoch, step, updates), batch.size)
            clock.batch_cost.add(time.perf_counter() - tic)
            self._report(epoch, epochs, step, steps, meters, clock, batch.size)
            if updates and step + 1 < steps and self._is_asked_to_stop_after(step):
                raise Interrupted(step + 1)
            tic = time.perf_counter()
        for schedule in self.schedules:
            if schedule.by_epoch and not isinstance(schedule, paddle.optimizer.lr.ReduceOnPlateau):
                schedule.step()
        return meters

    def train_batch(self, batch: Batch, epoch: int, step: int, updates: bool) -> dict[str, float]:
        """Train one step and return its losses and metrics; `updates` says whether the weights move.

        Raises:
            TrainingError: the loss is not finite.
        """
        paddle.seed(step_seed(self.seed, dist.rank(), self.global_step))
        self.global_step += 1
        with self.amp.autocast(training=True):
            outputs = dict(self.task.step(batch))
        logits = outputs.pop("logits")
        losses = {name: float(value) for name, value in outputs.items()}
        if not math.isfinite(losses["loss"]):
            raise TrainingError(
                f"The loss is {losses['loss']} at epoch {epoch}, step {step} (losses: {losses}); training "
                "stopped before it reached the weights. Usual causes: a learning rate too high for the batch "
                "size (try -o Optimizer.lr.auto_scale=True), broken pretrained weights, or float16 overflow."
            )
        self.amp.scale(outputs["loss"] / self.update_freq).backward()
        if updates:
            self._update()
        counted = self.metrics.count(logits, batch.labels) if self.metrics else {}
        return {**counted, **losses}

    def _update(self) -> None:
        self.amp.step(*self.optimizers)
        for optimizer in self.optimizers:
            optimizer.clear_grad()
        for schedule in self.schedules:
            if not schedule.by_epoch:
                schedule.step()
        if self.ema:
            self.ema.update(self.task.trainable())

    def _is_asked_to_stop_after(self, step: int) -> bool:
        """Say whether to stop inside an epoch; several processes, who have to agree, ask less often."""
        update = (step + 1) // self.update_freq
        if dist.world_size() > 1 and update % self.print_batch_step:
            return False
        return self.is_asked_to_stop()

    def is_asked_to_stop(self) -> bool:
        """Say whether any process was asked to stop: the same answer in all, who must all ask together."""
        return bool(dist.sum_over_ranks(np.array([float(self.should_stop())]))[0])

    def _cycle(self, loader: BatchLoader, epoch: int, start: int, steps: int) -> Iterator[Batch]:
        """Yield batches `start` to `steps` of an epoch; a loader that ends early begins again."""
        done = start
        while done < steps:
            for batch in loader.batches(epoch, start=done % loader.steps_per_epoch):
                yield batch
                done += 1
                if done == steps:
                    break
            self.skipped.update(loader.skipped)

    def rates(self) -> list[tuple[str, float]]:
        """Return (type of the schedule, learning rate) of each optimizer."""
        return [(type(schedule).__name__, float(schedule.last_lr)) for schedule in self.schedules]

    def _report(
        self, epoch: int, epochs: int, step: int, steps: int, meters: Meters, clock: Clock, batch_size: int
    ) -> None:
        loss = meters.means["loss"].mean
        self.reporter.progress("train", f"epoch {epoch}/{epochs}", step + 1, steps, f"loss {loss:.4f}")
        if step % self.print_batch_step:
            return
        self.reporter.line(
            train_line(
                epoch=epoch,
                epochs=epochs,
                step=step,
                steps=steps,
                rates=self.rates(),
                meters=meters,
                clock=clock,
                batch_size=batch_size,
                memory=self.memory(),
            )
        )
        clock.reset()
        for kind, value in self.rates():
            self.reporter.scalar(f"lr({kind})", value, self.global_step)
        for name, mean in meters.means.items():
            self.reporter.scalar(f"train_{name}", mean.mean, self.global_step)


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation over all processes.

    Attributes:
        losses: name -> mean over all samples, in the order of the configuration.
        metrics: name -> value, in the order of the configuration.
        sample_count: how many samples were counted.
        text: PaddleClas' summary, "CELoss: ..., loss: ..., top1: ..., top5: ...".
    """

    losses: dict[str, float]
    metrics: dict[str, float]
    sample_count: int
    text: str

    @property
    def score(self) -> float:
        """The first metric: what decides which model is best. -1 without metrics."""
        return next(iter(self.metrics.values()), -1.0)


@paddle.no_grad()
def evaluate(
    net: nn.Layer,
    loader: BatchLoader,
    *,
    loss: Optional[Loss],
    metrics: Optional[Metrics],
    amp: MixedPrecision,
    epoch: int = 0,
    print_batch_step: int = 10,
    reporter: Optional[Reporter] = None,
) -> Evaluation:
    """Measure a network on every sample of a loader, each counted once over all processes.

    The network is put into eval mode and gets its mode back, unless the evaluation fails.

    Args:
        net: pictures `float32 [N, 3, H, W]` -> logits.
        loader: batches of this process.
        loss: the losses to average, None for none.
        metrics: the metrics to count, None for none; they are reset first.
        amp: mixed precision.
        epoch: number that stands in the lines.
        print_batch_step: steps between two lines.
        reporter: where lines go, None for nowhere.
    """
    reporter = reporter or Silent()
    was_training = net.training
    net.eval()
    if metrics:
        metrics.reset()
    # Named before the first batch: a process without pictures has as many sums to share as the others.
    losses = Meters({name: Mean() for name in (loss.names if loss else ())})
    clock, steps = Clock(), loader.steps_per_epoch
    tic = time.perf_counter()
    for step, batch in enumerate(loader.batches(epoch=1)):
        if step == WARMUP_STEPS:
            clock.reset()
        clock.reader_cost.add(time.perf_counter() - tic)
        with amp.autocast(training=False), fast_evaluation():
            logits = net(batch.images)
            named = loss(logits, batch.labels) if loss else {}
        losses.add({name: float(value) for name, value in named.items()}, batch.size)
        if metrics:
            metrics.count(logits, batch.labels)
        clock.batch_cost.add(time.perf_counter() - tic)
        reporter.progress("eval", f"epoch {epoch}", step + 1, steps, "")
        if step % print_batch_step == 0:
            text = metrics.averages() if metrics else ""
            reporter.line(
                eval_line(
                    epoch=epoch,
                    step=step,
                    steps=steps,
                    losses=losses,
                    metrics=text,
                    clock=clock,
                    batch_size=batch.size,
                )
            )
        tic = time.perf_counter()
    if was_training:
        net.train()
    return _gather(losses, metrics, loader.sample_count)


def _gather(losses: Meters, metrics: Optional[Metrics], sample_count: int) -> Evaluation:
    """Add up what every process counted."""
    sums = [float(sample_count), *(x for mean in losses.means.values() for x in (mean.total, mean.count))]
    samples, *totals = dist.sum_over_ranks(np.array(sums)).tolist()
    means = {name: total / count for name, total, count in zip(losses.means, totals[::2], totals[1::2])}
    if metrics:
        metrics.load_sums(dist.sum_over_ranks(metrics.sums()))
    values: dict[str, Any] = metrics.values() if metrics else {}
    text = ", ".join(f"{name}: {value:.5f}" for name, value in {**means, **values}.items())
    return Evaluation(means, values, int(samples), text)
