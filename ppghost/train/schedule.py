"""Learning rates: Paddle's own schedules, put together as PaddleClas puts them together.

The values are PaddleClas' to the last bit, with one exception: with `by_epoch`, its Linear warms up for as
many epochs as the warm-up has steps; here `warmup_epoch` means epochs in every schedule.

House: imports paddle, the recipe's specs and the rock.
Source: PaddleClas `ppcls/optimizer/learning_rate.py`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from paddle.optimizer import lr

from ppghost.config import recipe
from ppghost.errors import ConfigError


class Constant(lr.LRScheduler):
    """One rate for ever; the name stands in the log."""

    def get_lr(self) -> float:
        """Return the rate."""
        return self.base_lr


class LinearWarmup(lr.LinearWarmup):
    """Paddle's warm-up, which resumes without a warning about its own state; the name stands in the log."""

    def set_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` gave."""
        state = dict(state_dict)
        self.learning_rate.set_state_dict(state.pop("LinearWarmup_LR"))
        lr.LRScheduler.set_state_dict(self, state)


@dataclass(frozen=True)
class _Run:
    """How long a run is, in moves of the learning rate.

    Attributes:
        epochs: length of the run.
        moves_per_epoch: 1 where the rate moves once per epoch, else the updates of an epoch.
        updates: updates of the whole run.
        warmup: epochs of warm-up, at most `epochs`.
    """

    epochs: int
    moves_per_epoch: int
    updates: int
    warmup: float

    def moves(self, epochs: float) -> int:
        """Return how often the rate moves in so many epochs."""
        return round(epochs * self.moves_per_epoch)

    @property
    def moves_after_warmup(self) -> int:
        return self.moves(self.epochs - self.warmup)


def build_schedule(spec: recipe.Schedule, epochs: int, steps_per_epoch: int) -> lr.LRScheduler:
    """Return the Paddle schedule of a learning rate.

    It starts at its first rate, `last_lr`; `step()` moves it. Its attribute `by_epoch` says whether that is
    due once per epoch or after each update; a ReduceOnPlateau is moved with `step(accuracy)` after an
    evaluation. A warm-up that is as long as the run or longer takes the whole run.

    Args:
        spec: what the configuration says; `auto_scale` has been applied (`spec.scaled`).
        epochs: length of the run.
        steps_per_epoch: updates of the weights in an epoch.

    Raises:
        ConfigError: the run is too short for the schedule.
        ValueError: `auto_scale` has not been applied.
    """
    if spec.auto_scale:
        raise ValueError("call spec.scaled(total_batch) first")
    warmup = min(getattr(spec, "warmup_epoch", 0), epochs)
    run = _Run(epochs, 1 if spec.by_epoch else steps_per_epoch, epochs * steps_per_epoch, warmup)
    schedule = _curve(spec, run)
    if isinstance(spec, recipe.Warmup) and run.moves(warmup) > 0:
        schedule = LinearWarmup(
            schedule, run.moves(warmup), spec.warmup_start_lr, spec.start, last_epoch=spec.last_epoch
        )
    schedule.by_epoch = spec.by_epoch
    return schedule


@functools.singledispatch
def _curve(spec: Any, run: _Run) -> lr.LRScheduler:
    """Return the schedule without its warm-up."""
    raise TypeError(f"no schedule is written for {type(spec).__name__}")


@_curve.register(recipe.Constant)
@_curve.register(recipe.ConstLR)
def _(spec: recipe.ConstLR, run: _Run) -> lr.LRScheduler:
    return Constant(spec.learning_rate)


@_curve.register(recipe.Linear)
def _(spec: recipe.Linear, run: _Run) -> lr.LRScheduler:
    if run.moves_after_warmup <= 0:
        return Constant(spec.learning_rate)
    return lr.PolynomialDecay(
        spec.learning_rate,
        run.moves_after_warmup,
        end_lr=spec.end_lr,
        power=spec.power,
        cycle=spec.cycle,
        last_epoch=spec.last_epoch,
    )


@_curve.register(recipe.Cosine)
def _(spec: recipe.Cosine, run: _Run) -> lr.LRScheduler:
    if run.moves_after_warmup <= 0:
        return Constant(spec.learning_rate)
    return lr.CosineAnnealingDecay(
        spec.learning_rate, run.moves_after_warmup, eta_min=spec.eta_min, last_epoch=spec.last_epoch
    )


@_curve.register(recipe.Cyclic)
def _(spec: recipe.Cyclic, run: _Run) -> lr.LRScheduler:
    return lr.CyclicLR(
        spec.base_learning_rate,
        spec.max_learning_rate,
        spec.step_size_up,
        step_size_down=spec.step_size_down,
        mode=spec.mode,
        exp_gamma=float(spec.exp_gamma),
        last_epoch=spec.last_epoch,
    )


@_curve.register(recipe.Step)
def _(spec: recipe.Step, run: _Run) -> lr.LRScheduler:
    # PaddleClas cuts here where it rounds elsewhere: 2.4 epochs of 7 steps are 16 steps.
    step_size = int(spec.step_size * run.moves_per_epoch)
    if step_size < 1:
        raise ConfigError(
            f"Optimizer.lr: step_size is {spec.step_size:g} epochs, less than one step of this run; it takes "
            f"at least {1 / run.moves_per_epoch:g}."
        )
    return lr.StepDecay(spec.learning_rate, step_size, gamma=spec.gamma, last_epoch=spec.last_epoch)


@_curve.register(recipe.Piecewise)
def _(spec: recipe.Piecewise, run: _Run) -> lr.LRScheduler:
    if spec.learning_rate:
        epochs, values = _tenth_every_30_epochs(spec.learning_rate, run.epochs)
    else:
        epochs, values = list(spec.decay_epochs or ()), list(spec.values or ())
    boundaries = [epoch * run.moves_per_epoch for epoch in epochs]
    return lr.PiecewiseDecay(boundaries, values, last_epoch=spec.last_epoch)


def _tenth_every_30_epochs(learning_rate: float, epochs: int) -> tuple[list[int], list[float]]:
    """Return the epochs of the drops and the rates between them, of PaddleClas' second form of Piecewise."""
    starts = list(range(0, epochs, 30))
    values = [learning_rate * (0.1**drops) for drops in range(len(starts))]
    if len(starts) > 1:
        return starts[1:], values
    # Paddle takes no empty list of boundaries: a drop that changes nothing, at the end.
    return [epochs], [learning_rate, learning_rate]


@_curve.register(recipe.MultiStepDecay)
def _(spec: recipe.MultiStepDecay, run: _Run) -> lr.LRScheduler:
    milestones = [epoch * run.moves_per_epoch for epoch in spec.milestones]
    return lr.MultiStepDecay(spec.learning_rate, milestones, gamma=spec.gamma, last_epoch=spec.last_epoch)


@_curve.register(recipe.ReduceOnPlateau)
def _(spec: recipe.ReduceOnPlateau, run: _Run) -> lr.LRScheduler:
    return lr.ReduceOnPlateau(
        spec.learning_rate,
        mode=spec.mode,
        factor=spec.factor,
        patience=spec.patience,
        threshold=spec.threshold,
        threshold_mode=spec.threshold_mode,
        cooldown=spec.cooldown,
        min_lr=spec.min_lr,
        epsilon=spec.epsilon,
    )


@_curve.register(recipe.CosineFixmatch)
def _(spec: recipe.CosineFixmatch, run: _Run) -> lr.LRScheduler:
    def factor(move: int) -> float:
        if move < spec.num_warmup_steps:
            return float(move) / float(max(1, spec.num_warmup_steps))
        progress = float(move - spec.num_warmup_steps) / float(max(1, run.updates - spec.num_warmup_steps))
        return max(0.0, math.cos(math.pi * spec.num_cycles * progress))

    return lr.LambdaDecay(spec.learning_rate, factor, last_epoch=spec.last_epoch)


@_curve.register(recipe.OneCycleLR)
def _(spec: recipe.OneCycleLR, run: _Run) -> lr.LRScheduler:
    if spec.phase_pct * run.updates <= 1:
        raise ConfigError(
            f"Optimizer.lr: phase_pct is {spec.phase_pct:g}, so the climb of OneCycleLR has no step in this "
            f"run of {run.updates} updates; train longer or climb for more than {1 / max(run.updates, 1):g}."
        )
    return lr.OneCycleLR(
        spec.max_learning_rate,
        run.updates,
        divide_factor=spec.divide_factor,
        end_learning_rate=spec.end_learning_rate,
        phase_pct=float(spec.phase_pct),
        anneal_strategy=spec.anneal_strategy,
        three_phase=spec.three_phase,
        last_epoch=spec.last_epoch,
    )
