"""The reader: turns a task, some rows of a batch, into numbers in a slot. It runs wherever reading is done.

Must not import paddle: a worker that never touches paddle can be forked from a process that uses a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np

from ppghost.data.dataset import Samples
from ppghost.data.sampler import PictureSize, Plan
from ppghost.data.slots import Slots
from ppghost.errors import ConfigError, DataError
from ppghost.vision import Rng

Skipped = tuple[str, str]

# Parts the random stream of the batch ops from those of the samples, which are derived from fewer numbers.
_BATCH_STREAM = 0xBA7C4


@dataclass(frozen=True)
class Task:
    """Some rows of a batch to be read.

    Attributes:
        flight: names the batch while it is on its way.
        generation: the task is void once the slots' generation is another.
        slot: where to.
        epoch: of which epoch; 0 in an evaluation.
        number: of which batch.
        first: the first row.
        last: the row after the last one.
    """

    flight: int
    generation: int
    slot: int
    epoch: int
    number: int
    first: int
    last: int


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: the task.
        kept: how many samples could be read; they lie side by side from the task's first row on.
        soft: the labels are distributions.
        skipped: path and reason of each sample that could not.
        gaps: the positions of these in the epoch.
        error: why the task failed as a whole, or None.
        traceback: where in a worker that was, as text; tracebacks themselves cannot travel.
    """

    task: Task
    kept: int = 0
    soft: bool = False
    skipped: tuple[Skipped, ...] = ()
    gaps: tuple[int, ...] = ()
    error: Optional[BaseException] = None
    traceback: str = ""


@dataclass(frozen=True)
class Views:
    """Drawings that epochs take in turn, instead of drawing each picture anew in every epoch.

    Attributes:
        count: how many there are.
        seed: a view has the random numbers of the epoch of its number in a run with this `Global.seed`.
    """

    count: int
    seed: int


@dataclass(frozen=True)
class Recipe:
    """What is read, apart from where to.

    Attributes:
        samples: the samples.
        plan_of: the plan of an epoch.
        seed: `Global.seed`.
        rank: the process; batch ops draw different numbers on each.
        world_size: how many processes there are.
        class_num: how many classes there are.
        training: skip samples that cannot be read; in an evaluation they are an error.
        batch_ops: what happens to a whole batch.
        views: drawings that epochs take in turn; None draws anew in every epoch.
    """

    samples: Samples
    plan_of: Callable[[int], Plan]
    seed: int
    rank: int
    world_size: int
    class_num: int
    training: bool
    batch_ops: tuple[Any, ...] = ()
    views: Optional[Views] = None

    def view(self, epoch: int) -> int:
        """Return which drawing of the pictures an epoch reads, from 1; without views, each has its own."""
        return epoch if self.views is None else (epoch - 1) % self.views.count + 1

    def read(self, epoch: int, position: int, size: PictureSize) -> tuple[np.ndarray, int]:
        """Return the sample at a position of an epoch, as `Samples.read`; raises as that."""
        plan = self.plan_of(epoch)
        index, copy = int(plan.indices[position]), int(plan.copies[position])
        seed = self.seed if self.views is None else self.views.seed
        parts = (seed, self.view(epoch), index, copy) if copy else (seed, self.view(epoch), index)
        return self.samples.read(index, Rng.derive(*parts), size)

    def name(self, epoch: int, position: int) -> str:
        """Return the name of the sample at a position of an epoch."""
        return self.samples.name(int(self.plan_of(epoch).indices[position]))

    def excuse(self, epoch: int, position: int, error: Exception) -> Skipped:
        """Return what to note about a sample that cannot be read.

        Raises:
            DataError: this is an evaluation, which excuses nothing.
        """
        name = self.name(epoch, position)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if not self.training:
            raise DataError(
                f"The picture '{name}' cannot be read: {reason.rstrip('.')}. An evaluation counts every "
                "picture once: repair it, or take its line out of the list."
            ) from error
        return name, reason


class Reader:
    """Reads tasks into slots.

    Attributes:
        slots: where the numbers go.
    """

    def __init__(
        self, recipe: Recipe, slots: Slots, shapes: Mapping[PictureSize, tuple[int, int, int]]
    ) -> None:
        """Make a reader.

        Args:
            recipe: what is read.
            slots: where the numbers go.
            shapes: the shape of one picture for each size that the plans name.
        """
        self._recipe = recipe
        self.slots = slots
        self._shapes = shapes

    def attempt(self, task: Task) -> Outcome:
        """Read the rows of a task into its slot; whatever goes wrong is in the outcome."""
        try:
            return self._read(task)
        except Exception as error:  # noqa: BLE001 - it is raised where the batch is asked for
            return Outcome(task, error=error)

    def blocks(self, task: Task) -> list[memoryview]:
        """Return the memory that a task writes to, for those who have to send or receive it."""
        return [array.reshape(-1).view(np.uint8).data for array in self._arrays(task) if array.size]

    def _arrays(self, task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows of a task: pictures, soft labels, labels."""
        size = self._recipe.plan_of(task.epoch).size(task.number)
        rows = slice(task.first, task.last)
        images = self.slots.images(task.slot, self._shapes[size])[rows]
        return images, self.slots.soft_labels(task.slot)[rows], self.slots.labels(task.slot)[rows]

    def _read(self, task: Task) -> Outcome:
        images, soft_labels, labels = self._arrays(task)
        plan = self._recipe.plan_of(task.epoch)
        size = plan.size(task.number)
        skipped: list[Skipped] = []
        gaps: list[int] = []
        kept = 0
        for position in range(plan.bounds[task.number] + task.first, plan.bounds[task.number] + task.last):
            if self.slots.generation[0] != task.generation:
                return Outcome(task)
            try:
                picture, label = self._recipe.read(task.epoch, position, size)
            except (DataError, OSError) as error:
                skipped.append(self._recipe.excuse(task.epoch, position, error))
                gaps.append(position)
                continue
            if picture.shape != images.shape[1:]:
                raise DataError(
                    f"'{self._recipe.name(task.epoch, position)}' becomes {list(picture.shape)}, other "
                    f"pictures {list(images.shape[1:])}. End transform_ops with a fixed size (CropImage)."
                )
            images[kept], labels[kept] = picture, label
            kept += 1
        soft = self._apply_batch_ops(task, images[:kept], soft_labels, labels[:kept])
        return Outcome(task, kept, soft, tuple(skipped), tuple(gaps))

    def _apply_batch_ops(
        self, task: Task, images: np.ndarray, soft_labels: np.ndarray, labels: np.ndarray
    ) -> bool:
        """Run the batch ops in place and say whether the labels became distributions."""
        if not self._recipe.batch_ops or not len(images) or not self._recipe.training:
            return False
        rng = Rng.derive(self._recipe.seed, task.epoch, task.number, self._recipe.rank, _BATCH_STREAM)
        mixed, mixed_labels = images, labels
        for op in self._recipe.batch_ops:
            try:
                mixed, mixed_labels = op(mixed, mixed_labels, rng, self._recipe.class_num)
            except ValueError as error:
                raise ConfigError(f"batch_transform_ops: {error}") from error
        images[:] = mixed
        if mixed_labels.ndim == 1:
            labels[:] = mixed_labels
            return False
        soft_labels[: len(images)] = mixed_labels
        return True
