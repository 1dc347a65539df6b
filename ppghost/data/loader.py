"""The loader: batches as paddle tensors, read ahead by a crew, the same whoever reads them and when.

This room may import paddle; never `nets`, `train` or `zoo`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Optional

import numpy as np
import paddle

from ppghost.config.loading import Split, is_progressive
from ppghost.data.crew import Crew, InlineCrew, ProcessCrew
from ppghost.data.dataset import MixedSamples, build_samples
from ppghost.data.lists import is_unbearable
from ppghost.data.reader import Outcome, Reader, Recipe, Skipped, Task, Views
from ppghost.data.sampler import PictureSize, Place, Plan, plan_evaluation, plan_training
from ppghost.data.slots import Slots
from ppghost.errors import DataError, TrainingError
from ppghost.vision.stages import STAGES, stage_of

# How many batches the caller may hold without a copy being made for the next.
_LENT = 3

# Fewer rows than this are not worth a message to a worker.
_LEAST_ROWS = 8

# How many broken pictures an error message names.
_NAMED = 3


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        images: float32 [N, 3, H, W], RGB, as the transform ops leave them; on the current device.
        labels: int64 [N], or float32 [N, classes] after batch ops.
        size: N, less than the sampler's batch size where pictures were skipped or the epoch ends.
        number: its place in the epoch, from 0; `batches(epoch, start=number + 1)` goes on behind it.
        indices: int64 [N], the numbers of its samples in the dataset.
        view: which drawing of the samples it holds: the epoch, or its place among `build_loader`'s views.
    """

    images: paddle.Tensor
    labels: paddle.Tensor
    size: int
    number: int
    indices: np.ndarray
    view: int


@dataclass
class _Flight:
    """A batch on its way."""

    key: int
    epoch: int
    number: int
    slot: int
    missing: int
    abandoned: bool = False
    outcomes: list[Outcome] = field(default_factory=list)


class Loader:
    """Reads the batches of a split, epoch after epoch.

    Worker processes start with the first batch and stay until the loader is closed or dropped. A picture that
    cannot be read is an error in an evaluation. In training it is left out of its batch and noted in
    `skipped`; more than 1 % of an epoch end the run.

    Attributes:
        steps_per_epoch: batches that this process gets in an epoch.
        sample_count: samples that this process gets in an epoch.
        samples: what is read.
        skipped: path and reason of each picture left out so far in the epoch that is being read.
    """

    def __init__(self, split: Split, recipe: Recipe, epochs: int) -> None:
        """Make a loader; `build_loader` is the usual way.

        Args:
            split: whose `loader` says who reads.
            recipe: what is read.
            epochs: the last epoch; nothing is read ahead beyond it.
        """
        plan = recipe.plan_of(1 if recipe.training else 0)
        self.steps_per_epoch = len(plan)
        self.sample_count = len(plan.indices)
        self.samples = recipe.samples
        self.skipped: list[Skipped] = []
        self._recipe = recipe
        self._epochs = epochs
        self._stages = range(STAGES if recipe.training and is_progressive(split.dataset) else 0)
        self._workers = split.loader.num_workers
        self._shared = split.loader.use_shared_memory
        self._rows = int(np.diff(plan.bounds).max(initial=1))
        self._task_rows = _rows_per_task(self._rows, self._workers, whole=bool(recipe.batch_ops))
        # Workers have two tasks each at hand, and one batch is finished while the next are read.
        self._ahead = 1 + math.ceil(2 * self._workers / math.ceil(self._rows / self._task_rows))
        self._shapes: dict[PictureSize, tuple[int, int, int]] = {}
        self._slots: Optional[Slots] = None
        self._free: deque[int] = deque()
        self._crew: Optional[Crew] = None
        self._keys = itertools.count()
        self._flights: dict[int, _Flight] = {}
        self._queue: deque[_Flight] = deque()
        self._course: Iterator[tuple[int, int]] = iter(())
        self._expected: Optional[tuple[int, int]] = None
        self._iteration = 0

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Return an iterator over the batches of an epoch; an iterator that was returned before ends.

        Args:
            epoch: from 1; an evaluation is the same in every epoch.
            start: number of the first batch; those before it are not read.

        Raises:
            DataError: a picture of an evaluation cannot be read, pictures differ in shape, or a worker died.
            TrainingError: too many pictures of the epoch cannot be read.
            ValueError: there is no such epoch or batch.
        """
        if epoch < 1 or not 0 <= start <= self.steps_per_epoch:
            raise ValueError(
                f"epoch {epoch}, batch {start}: epochs count from 1, batches to {self.steps_per_epoch}"
            )
        self._iteration += 1
        self.skipped = []
        return self._deliver(epoch if self._recipe.training else 0, start, self._iteration)

    def close(self) -> None:
        """End the workers and forget what was read ahead; `batches` starts anew."""
        if self._crew is not None:
            assert self._slots is not None, "a crew works on slots"
            self._slots.generation[0] += 1
            self._crew.close()
            self._crew = None
        self._free.extend(flight.slot for flight in self._flights.values())
        self._flights.clear()
        self._queue.clear()
        self._expected = None

    def _deliver(self, epoch: int, start: int, iteration: int) -> Iterator[Batch]:
        for number in range(start, self.steps_per_epoch):
            if iteration != self._iteration:
                raise RuntimeError("this iterator ended when the loader's batches() was called again")
            try:
                self._steer(epoch, number)
                batch = self._hand_over(self._await_first())
            except BaseException:
                # Also on Ctrl-C: what was on its way may be half received.
                self.close()
                raise
            if batch is not None:
                yield batch

    def _steer(self, epoch: int, number: int) -> None:
        """Make batch `number` of `epoch` the next one; what was read ahead for another course is dropped."""
        if self._crew is None:
            self._crew = self._assemble(epoch, number)
        if self._expected != (epoch, number):
            self._abandon()
            self._course = self._batches_from(epoch, number)
        self._expected = self._next(epoch, number)

    def _abandon(self) -> None:
        """Drop what was read ahead; a batch that is still being read gives its slot back when it lands."""
        assert self._slots is not None, "the crew was assembled with slots"
        self._slots.generation[0] += 1
        for flight in self._queue:
            flight.abandoned = True
            self._release_abandoned(flight)
        self._queue.clear()

    def _release_abandoned(self, flight: _Flight) -> None:
        if flight.abandoned and not flight.missing:
            del self._flights[flight.key]
            self._free.append(flight.slot)

    def _next(self, epoch: int, number: int) -> Optional[tuple[int, int]]:
        """Return epoch and number of the batch that is read ahead behind this one, or None at the end."""
        if number + 1 < self.steps_per_epoch:
            return epoch, number + 1
        return (epoch + 1, 0) if self._recipe.training and epoch < self._epochs else None

    def _batches_from(self, epoch: int, start: int) -> Iterator[tuple[int, int]]:
        """Yield epoch and number of the batches from one on, in training across the epochs to come."""
        last = max(self._epochs, epoch) if self._recipe.training else epoch
        for each in range(epoch, last + 1):
            for number in range(start if each == epoch else 0, self.steps_per_epoch):
                yield each, number

    def _assemble(self, epoch: int, number: int) -> Crew:
        """Return a crew that can read from batch `number` of `epoch` on."""
        if self._slots is None:
            self._shapes = self._probe(epoch, number)
            classes = self._recipe.class_num if self._recipe.batch_ops else 0
            floats = max(math.prod(shape) for shape in self._shapes.values())
            shared = self._workers > 0 and self._shared
            self._slots = Slots(self._ahead + _LENT, self._rows, floats, classes, shared=shared)
            self._free.extend(range(self._slots.count))
        reader = Reader(self._recipe, self._slots, self._shapes)
        if not self._workers:
            return InlineCrew(reader)
        crew = ProcessCrew(reader, self._workers, shared=self._shared)
        weakref.finalize(self, _dismiss, crew, self._slots.generation)
        return crew

    def _probe(self, epoch: int, number: int) -> dict[PictureSize, tuple[int, int, int]]:
        """Return the shape of a picture for each size in the plan, read from the given batch on."""
        plan = self._recipe.plan_of(epoch)
        numbers = [*range(number, len(plan)), *range(number)] if plan.sizes else [number]
        firsts: dict[PictureSize, int] = {plan.size(each): each for each in reversed(numbers)}
        # The slots have to hold the pictures of the stages to come, too.
        firsts.update(dict.fromkeys(self._stages, number))
        return {
            size: self._shape_from(epoch, int(plan.bounds[first]), size) for size, first in firsts.items()
        }

    def _shape_from(self, epoch: int, start: int, size: PictureSize) -> tuple[int, int, int]:
        """Return the shape of the first picture from a position on that can be read."""
        broken: list[Skipped] = []
        for position in itertools.chain(range(start, self.sample_count), range(start)):
            try:
                picture, _ = self._recipe.read(epoch, position, size)
            except (DataError, OSError) as error:
                broken.append(self._recipe.excuse(epoch, position, error))
            else:
                channels, height, width = picture.shape
                return channels, height, width
            if is_unbearable(len(broken), self.sample_count):
                break
        raise self._too_many(broken)

    def _await_first(self) -> _Flight:
        """Return the first flight of the queue, landed; keeps the crew supplied while it waits."""
        assert self._crew is not None, "nobody reads"
        while True:
            self._supply(self._crew)
            if self._queue and not self._queue[0].missing:
                flight = self._queue.popleft()
                del self._flights[flight.key]
                return flight
            for outcome in self._crew.collect():
                self._note(outcome)

    def _supply(self, crew: Crew) -> None:
        """Send off batches until enough are on their way."""
        assert self._slots is not None, "nowhere to read to"
        while len(self._flights) < self._ahead and self._free:
            ahead = next(self._course, None)
            if ahead is None:
                return
            epoch, number = ahead
            rows = self._recipe.plan_of(epoch).rows(number)
            starts = range(0, rows, self._task_rows)
            flight = _Flight(next(self._keys), epoch, number, self._free.pop(), len(starts))
            self._flights[flight.key] = flight
            self._queue.append(flight)
            generation = int(self._slots.generation[0])
            for first in starts:
                last = min(first + self._task_rows, rows)
                crew.submit(Task(flight.key, generation, flight.slot, epoch, number, first, last))

    def _note(self, outcome: Outcome) -> None:
        flight = self._flights[outcome.task.flight]
        flight.outcomes.append(outcome)
        flight.missing -= 1
        self._release_abandoned(flight)

    def _hand_over(self, flight: _Flight) -> Optional[Batch]:
        """Return a flight's batch, or None if none of its pictures can be read."""
        outcomes = sorted(flight.outcomes, key=lambda outcome: outcome.task.first)
        for outcome in outcomes:
            if outcome.error is not None:
                self._free.append(flight.slot)
                raise outcome.error
            self.skipped.extend(outcome.skipped)
        if is_unbearable(len(self.skipped), self.sample_count):
            raise self._too_many(self.skipped)
        size = sum(outcome.kept for outcome in outcomes)
        if not size:
            self._free.append(flight.slot)
            if self._recipe.world_size > 1:
                raise self._too_many(
                    self.skipped, ", a whole batch among them, which other processes wait for"
                )
            return None
        images, labels = self._gather(flight, outcomes)
        indices = self._indices(flight, [position for each in outcomes for position in each.gaps])
        return Batch(images, labels, size, flight.number, indices, self._recipe.view(flight.epoch))

    def _indices(self, flight: _Flight, gaps: list[int]) -> np.ndarray:
        """Return the numbers of the samples that a flight brought."""
        plan = self._recipe.plan_of(flight.epoch)
        start, end = (int(bound) for bound in plan.bounds[flight.number : flight.number + 2])
        return np.delete(plan.indices[start:end], np.array(gaps, np.int64) - start)

    def _gather(self, flight: _Flight, outcomes: list[Outcome]) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the tensors of a flight, and see to it that its slot becomes free."""
        assert self._slots is not None, "nowhere to read from"
        shape = self._shapes[self._recipe.plan_of(flight.epoch).size(flight.number)]
        images = self._slots.images(flight.slot, shape)
        labels = self._slots.soft_labels(flight.slot) if outcomes[0].soft else self._slots.labels(flight.slot)
        parts = [slice(each.task.first, each.task.first + each.kept) for each in outcomes]
        label_tensor = paddle.to_tensor(np.concatenate([labels[part] for part in parts]))
        dense = all(before.stop == after.start for before, after in zip(parts, parts[1:]))
        lent = self._slots.count - len(self._free) - len(self._flights) - 1
        if dense and lent < _LENT and paddle.device.get_device() == "cpu":
            view = images[: parts[-1].stop]
            weakref.finalize(view, self._free.append, flight.slot).atexit = False
            return paddle.utils.dlpack.from_dlpack(view), label_tensor
        image_tensor = paddle.to_tensor(
            images[: parts[-1].stop] if dense else np.concatenate([images[part] for part in parts])
        )
        self._free.append(flight.slot)
        return image_tensor, label_tensor

    def _too_many(self, broken: list[Skipped], extent: str = "; training bears 1 %") -> TrainingError:
        named = "; ".join(f"'{name}' ({reason})" for name, reason in broken[:_NAMED])
        more = "; ..." if len(broken) > _NAMED else ""
        return TrainingError(
            f"{len(broken)} of the {self.sample_count} pictures of the epoch cannot be read{extent}: "
            f"{named}{more}. Repair them, or take their lines out of the list."
        )


def _rows_per_task(rows: int, workers: int, *, whole: bool) -> int:
    """Return how many samples make a task: a batch is shared out unless batch ops need it `whole`."""
    return rows if whole or not workers else min(rows, max(_LEAST_ROWS, math.ceil(rows / workers)))


def _dismiss(crew: ProcessCrew, generation: np.ndarray) -> None:
    """End the workers of a loader that nobody holds any more."""
    generation[0] += 1
    crew.close()


def build_loader(
    split: Split,
    *,
    seed: int,
    rank: int,
    world_size: int,
    epochs: int,
    class_num: int,
    training: bool,
    distinct: bool = False,
    views: Optional[Views] = None,
) -> Loader:
    """Return the loader of a split.

    Args:
        split: `config.DataLoader.Train` or `.Eval`.
        seed: `Global.seed`, 0 where unset. Shuffling and every sample's random numbers depend on it.
        rank: this process, from 0.
        world_size: how many processes there are. Training deals out equal shares, padded; an evaluation deals
            out every sample once, so shares may differ by one.
        epochs: `Global.epochs`.
        class_num: `Arch.class_num`.
        training: what the loader is for.
        distinct: refuse lists that name a picture again.
        views: drawings of each picture that the epochs take in turn; None draws anew in every epoch. The
            order of the pictures is that of the epoch either way.

    Raises:
        DataError: pictures, lists or labels are missing or wrong.
        ConfigError: the sampler cannot do what is asked.
    """
    samples = build_samples(
        split.dataset, class_num=class_num, seed=seed, training=training, distinct=distinct
    )
    counts = (
        tuple(len(part) for part in samples.parts) if isinstance(samples, MixedSamples) else (len(samples),)
    )
    plan = plan_training if training else plan_evaluation

    @lru_cache(maxsize=2)
    def plan_of(epoch: int) -> Plan:
        made = plan(split.sampler, counts, Place(epoch, seed, rank, world_size))
        if not (training and is_progressive(split.dataset)):
            return made
        return dataclasses.replace(made, sizes=(stage_of(epoch, epochs),) * len(made))

    recipe = Recipe(
        samples=samples,
        plan_of=plan_of,
        seed=seed,
        rank=rank,
        world_size=world_size,
        class_num=class_num,
        training=training,
        batch_ops=split.dataset.batch_transform_ops or () if training else (),
        views=views,
    )
    return Loader(split, recipe, epochs)
