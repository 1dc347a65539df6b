"""Samplers: which samples make up each batch of an epoch, on each process.

A plan is a pure function of the sampler's keys, the number of samples, the epoch, the seed and the process:
nothing is carried from one epoch to the next, so training resumes anywhere without replaying what was before.

Epochs count from 1. PaddleClas' samplers shuffle epoch 1 with seed 0, epoch 2 with seed 1 and so on, and
`Global.seed` does not reach them; here the shuffling seed is `epoch - 1 + seed`, the same for an unset seed.

NumPy only.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np

from ppghost.config import loading
from ppghost.errors import ConfigError, DataError

# Repeated augmentation cuts an epoch to a multiple of this. Source: PaddleClas `ra_sampler.py`, after DeiT.
_RA_MULTIPLE = 256

PictureSize = Union[tuple[int, int], int, None]
"""What a batch asks of the transform ops: (width, height) in pixels, the values of a stage, or nothing."""


@dataclass(frozen=True)
class Place:
    """Where in a run a plan is for.

    Attributes:
        epoch: from 1.
        seed: `Global.seed`, 0 where unset.
        rank: the process, from 0.
        world_size: how many processes there are.
    """

    epoch: int
    seed: int = 0
    rank: int = 0
    world_size: int = 1

    @property
    def shuffle_seed(self) -> int:
        """The seed that this epoch is shuffled with, 0 to 2**32 - 1."""
        return (self.epoch - 1 + self.seed) % 2**32


@dataclass(frozen=True)
class Plan:
    """The batches of one epoch on one process.

    Attributes:
        indices: int64 [N], the samples in order.
        copies: int64 [N], tells repetitions of one sample apart, so that they are augmented differently.
        bounds: int64 [steps + 1], where each batch starts and the last one ends in `indices`.
        sizes: (width, height) in pixels for each batch, or the stage of a progressive training; None leaves
            the size to the transform ops.
    """

    indices: np.ndarray
    copies: np.ndarray
    bounds: np.ndarray
    sizes: Optional[tuple[PictureSize, ...]] = None

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def rows(self, number: int) -> int:
        """Return how many samples batch `number` has."""
        return int(self.bounds[number + 1] - self.bounds[number])

    def size(self, number: int) -> PictureSize:
        """Return what batch `number` asks of the ops: (width, height), a stage, or nothing."""
        return None if self.sizes is None else self.sizes[number]


def plan_training(sampler: Any, counts: tuple[int, ...], place: Place) -> Plan:
    """Return the batches of a training epoch.

    Args:
        sampler: one of the dataclasses in `ppghost.config.loading.SAMPLERS`.
        counts: how many samples each dataset has; one number unless the datasets are mixed.
        place: epoch, seed and process.

    Raises:
        ConfigError: the sampler is for one process and there are more.
        DataError: there are too few samples for one batch.
    """
    plan = _PLANNERS[type(sampler)](sampler, counts, place)
    if not len(plan):
        raise DataError(
            f"{sum(counts)} pictures on {place.world_size} processes give no batch with {sampler}. "
            "Lower batch_size, or set drop_last: False."
        )
    return plan


def plan_evaluation(sampler: Any, counts: tuple[int, ...], place: Place) -> Plan:
    """Return the batches of an evaluation: each sample exactly once over all processes, nothing padded.

    Args:
        sampler: as in `plan_training`.
        counts: as in `plan_training`.
        place: process and seed; every epoch is the same.

    Raises:
        ConfigError: the sampler repeats, mixes or drops samples, which an evaluation cannot.
    """
    if isinstance(sampler, (loading.RASampler, loading.MixSampler)):
        raise ConfigError(
            f"{type(sampler).__name__} repeats samples, but an evaluation counts each once. "
            "Use DistributedBatchSampler in DataLoader.Eval."
        )
    if getattr(sampler, "drop_last", False):
        raise ConfigError(
            "drop_last: True would leave samples out of the evaluation. "
            "Set DataLoader.Eval.sampler.drop_last: False."
        )
    order = np.arange(sum(counts))
    if sampler.shuffle and not isinstance(sampler, loading.MultiScaleSampler):
        np.random.RandomState(place.seed % 2**32).shuffle(order)
    share = order[place.rank :: place.world_size]
    if not isinstance(sampler, loading.MultiScaleSampler):
        return _cut(share, sampler.batch_size, drop_last=False)
    plan = _cut(share, sampler.first_bs, drop_last=False)
    return Plan(plan.indices, plan.copies, plan.bounds, (sampler.sizes[0],) * len(plan))


def _cut(
    indices: np.ndarray, batch_size: int, *, drop_last: bool, copies: Optional[np.ndarray] = None
) -> Plan:
    """Return the plan that takes `indices` in batches of `batch_size`."""
    kept = len(indices) // batch_size * batch_size if drop_last else len(indices)
    bounds = np.append(np.arange(0, kept, batch_size), kept) if kept else np.zeros(1, np.int64)
    copies = np.zeros(len(indices), np.int64) if copies is None else copies
    return Plan(indices[:kept], copies[:kept], bounds.astype(np.int64))


def _order(count: int, place: Place, *, batch_size: int, shuffle: bool) -> np.ndarray:
    """Return the samples of one process in the order of `paddle.io.DistributedBatchSampler`.

    The list is padded with its own beginning to a multiple of the world size, then shuffled; each process
    takes its block of `batch_size` from every global batch, and its part of the rest.
    """
    per_process = math.ceil(count / place.world_size)
    order = np.resize(np.arange(count), per_process * place.world_size)
    if shuffle:
        np.random.RandomState(place.shuffle_seed).shuffle(order)
    rest = len(order) % (batch_size * place.world_size)
    whole = order[: len(order) - rest].reshape(-1, place.world_size, batch_size)[:, place.rank]
    last = order[len(order) - rest :].reshape(place.world_size, -1)[place.rank]
    return np.concatenate([whole.reshape(-1), last])


def _plan_distributed(
    sampler: loading.DistributedBatchSampler, counts: tuple[int, ...], place: Place
) -> Plan:
    order = _order(sum(counts), place, batch_size=sampler.batch_size, shuffle=sampler.shuffle)
    return _cut(order, sampler.batch_size, drop_last=sampler.drop_last)


def _plan_alone(sampler: loading.BatchSampler, counts: tuple[int, ...], place: Place) -> Plan:
    if place.world_size > 1:
        raise ConfigError(
            f"BatchSampler, also the sampler without a name, gives all samples to each of the "
            f"{place.world_size} processes. Write name: DistributedBatchSampler in DataLoader.Train.sampler."
        )
    order = _order(sum(counts), place, batch_size=sampler.batch_size, shuffle=sampler.shuffle)
    return _cut(order, sampler.batch_size, drop_last=sampler.drop_last)


def _plan_repeated(sampler: loading.RASampler, counts: tuple[int, ...], place: Place) -> Plan:
    """Repeat each sample `num_repeats` times side by side, and deal them out to the processes in turn."""
    count = sum(counts)
    order = np.arange(count)
    if sampler.shuffle:
        np.random.RandomState(place.shuffle_seed).shuffle(order)
    per_process = math.ceil(count * sampler.num_repeats / place.world_size)
    dealt = np.resize(np.arange(count * sampler.num_repeats), per_process * place.world_size)
    selected = count // _RA_MULTIPLE * _RA_MULTIPLE // place.world_size
    mine = dealt[place.rank :: place.world_size][:selected]
    copies = mine % sampler.num_repeats
    return _cut(
        order[mine // sampler.num_repeats], sampler.batch_size, drop_last=sampler.drop_last, copies=copies
    )


def _plan_scales(sampler: loading.MultiScaleSampler, counts: tuple[int, ...], place: Place) -> Plan:
    """Draw the sizes once per run, the same on all processes, and shuffle the samples in each epoch.

    The order is PaddleClas' in epoch 1; from then on PaddleClas shuffles what it has shuffled before, which
    cannot be resumed, and here each epoch is shuffled afresh.
    """
    seed = place.seed if sampler.seed is None else sampler.seed
    pairs = _scaled_batches(sampler)
    count = sum(counts)
    order = list(range(count))
    if sampler.shuffle:
        random.Random(place.epoch - 1 + seed).shuffle(order)
    mine = np.array(order[place.rank :: place.world_size], np.int64)
    per_process = math.ceil(count / place.world_size)
    draw = random.Random(seed)
    sizes: list[tuple[int, int]] = []
    batches: list[np.ndarray] = []
    start = 0
    while start < per_process and len(mine):
        width, height, rows = draw.choice(pairs)
        batch = mine[start : min(start + rows, per_process)]
        batches.append(np.concatenate([batch, mine[: rows - len(batch)]]))
        sizes.append((width, height))
        start += rows
    indices = np.concatenate(batches) if batches else mine
    bounds = np.cumsum([0, *(len(batch) for batch in batches)]).astype(np.int64)
    return Plan(indices, np.zeros(len(indices), np.int64), bounds, tuple(sizes))


def _scaled_batches(sampler: loading.MultiScaleSampler) -> list[tuple[int, int, int]]:
    """Return (width, height, samples) for each scale; the number of pixels in a batch is about the same."""
    base_width, base_height = sampler.sizes[0]
    if not sampler.is_training:
        return [(base_width, base_height, sampler.first_bs)]
    factor = sampler.divided_factor
    rounded = [(width // factor * factor, height // factor * factor) for width, height in sampler.sizes]
    pixels = base_width * base_height * sampler.first_bs
    return [(width, height, int(max(1, pixels / (height * width)))) for width, height in rounded]


def _plan_mixed(sampler: loading.MixSampler, counts: tuple[int, ...], place: Place) -> Plan:
    """Take each batch's share from every dataset; a dataset that is used up starts again.

    A dataset's incomplete last batch makes the whole batch incomplete, and such a batch is left out, as
    PaddleClas does. Its epoch has `iter_per_epoch` batches here; PaddleClas adds a multiple of the datasets'
    sizes to that number and then fails to take its length.
    """
    starts = np.cumsum([0, *counts])
    parts = [
        _MixedStream(part, rows, count, int(start), place)
        for part, rows, count, start in zip(sampler.sample_configs, sampler.part_sizes, counts, starts)
    ]
    wanted = (place.epoch - 1) * sampler.iter_per_epoch
    chosen: list[int] = []
    turn, complete = 0, 0
    while len(chosen) < sampler.iter_per_epoch:
        if all(part.is_complete(turn) for part in parts):
            complete += 1
            if complete > wanted:
                chosen.append(turn)
        turn += 1
    drawn = [part.take(turn) for turn in chosen for part in parts]
    indices = np.concatenate([indices for indices, _ in drawn])
    copies = np.concatenate([np.full(len(indices), lap, np.int64) for indices, lap in drawn])
    bounds = np.arange(sampler.iter_per_epoch + 1, dtype=np.int64) * sampler.batch_size
    return Plan(indices, copies, bounds)


class _MixedStream:
    """One dataset of a mix: its batches, lap after lap, numbered by turns."""

    def __init__(self, part: loading.MixedPart, rows: int, count: int, start: int, place: Place) -> None:
        per_process = math.ceil(count / place.world_size)
        if rows > per_process:
            raise DataError(
                f"A batch wants {rows} samples of a dataset that has {per_process} for each process. "
                "Lower batch_size or the dataset's ratio in DataLoader.Train.sampler."
            )
        self._part, self._rows, self._count, self._start, self._place = part, rows, count, start, place
        self._whole = per_process // rows
        self._laps: dict[int, np.ndarray] = {}
        self.turns_per_lap = self._whole if part.drop_last else math.ceil(per_process / rows)

    def is_complete(self, turn: int) -> bool:
        """Say whether the batch of this turn is a whole one."""
        return turn % self.turns_per_lap < self._whole

    def take(self, turn: int) -> tuple[np.ndarray, int]:
        """Return the samples of this turn and the number of the lap."""
        lap, inner = divmod(turn, self.turns_per_lap)
        if lap not in self._laps:
            place = Place(lap + 1, self._place.seed, self._place.rank, self._place.world_size)
            order = _order(self._count, place, batch_size=self._rows, shuffle=self._part.shuffle)
            self._laps = {lap: order + self._start}
        return self._laps[lap][inner * self._rows : (inner + 1) * self._rows], lap


_PLANNERS: dict[type, Any] = {
    loading.DistributedBatchSampler: _plan_distributed,
    loading.BatchSampler: _plan_alone,
    loading.RASampler: _plan_repeated,
    loading.MultiScaleSampler: _plan_scales,
    loading.MixSampler: _plan_mixed,
}
