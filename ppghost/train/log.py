"""The lines of `train.log`, letter for letter as PaddleClas writes them: its log parsers go on working.

Pure functions and two meters; where the lines go is the command line's affair.

House: imports nothing of ours.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Mean:
    """A running mean of a value, weighted by how many samples it stands for."""

    total: float = 0.0
    count: float = 0.0
    last: float = 0.0

    def add(self, value: float, count: float = 1) -> None:
        """Add `value` as the mean of `count` samples."""
        self.last = value
        self.total += value * count
        self.count += count

    @property
    def mean(self) -> float:
        """The mean of everything added, 0 before the first."""
        return self.total / self.count if self.count else 0.0


@dataclass
class Meters:
    """Named running means in the order in which the names first came."""

    means: dict[str, Mean] = field(default_factory=dict)

    def add(self, values: Mapping[str, float], count: float = 1) -> None:
        """Add each value as the mean of `count` samples."""
        for name, value in values.items():
            self.means.setdefault(name, Mean()).add(value, count)

    def averages(self) -> str:
        """Return "name: mean, ..." with five decimals."""
        return ", ".join(f"{name}: {mean.mean:.5f}" for name, mean in self.means.items())

    def latest(self) -> str:
        """Return "name: last value, ..." with five decimals."""
        return ", ".join(f"{name}: {mean.last:.5f}" for name, mean in self.means.items())


@dataclass
class Clock:
    """Mean seconds per step: in all, and waiting for data. PaddleClas resets both after every line."""

    batch_cost: Mean = field(default_factory=Mean)
    reader_cost: Mean = field(default_factory=Mean)

    def reset(self) -> None:
        """Start anew."""
        self.batch_cost, self.reader_cost = Mean(), Mean()

    def costs(self) -> str:
        """Return PaddleClas' two fields; its second one has no unit."""
        return f"batch_cost: {self.batch_cost.mean:.5f}s, reader_cost: {self.reader_cost.mean:.5f}"

    def images_per_second(self, batch_size: int) -> float:
        """Return pictures per second at `batch_size` pictures a step, 0 before the first step."""
        return batch_size / self.batch_cost.mean if self.batch_cost.mean else 0.0


def learning_rates(rates: list[tuple[str, float]]) -> str:
    """Return "lr(TypeName): value, ..." with eight decimals."""
    return ", ".join(f"lr({kind}): {value:.8f}" for kind, value in rates)


def train_line(
    *,
    epoch: int,
    epochs: int,
    step: int,
    steps: int,
    rates: list[tuple[str, float]],
    meters: Meters,
    clock: Clock,
    batch_size: int,
    memory: str = "",
) -> str:
    """Return the line of one training step; `step` counts from 0, `epoch` from 1."""
    seconds = ((epochs - epoch + 1) * steps - step) * clock.batch_cost.mean
    left = datetime.timedelta(seconds=int(seconds))
    return (
        f"[Train][Epoch {epoch}/{epochs}][Iter: {step}/{steps}]{learning_rates(rates)}, {meters.averages()}, "
        f"{clock.costs()}, ips: {clock.images_per_second(batch_size):.5f} samples/s, eta: {left}{memory}"
    )


def eval_line(
    *, epoch: int, step: int, steps: int, losses: Meters, metrics: str, clock: Clock, batch_size: int
) -> str:
    """Return the line of one evaluation step."""
    fields = [text for text in (losses.latest(), metrics) if text]
    ips = f"ips: {clock.images_per_second(batch_size):.5f} images/sec"
    return f"[Eval][Epoch {epoch}][Iter: {step}/{steps}]{', '.join([*fields, clock.costs(), ips])}"


def epoch_line(phase: str, epoch: str, *parts: str) -> str:
    """Return the line that closes an epoch: `phase` is Train or Eval, `epoch` "3/10" or "3"."""
    return f"[{phase}][Epoch {epoch}][Avg]{', '.join(part for part in parts if part)}"
