"""Slots: the memory that batches are read into, lent to tensors and used again.

A fresh array for every batch costs more than filling it: the system hands out memory page by page. A slot is
memory for one batch that stays; shared between processes, so that a worker writes where the tensor reads.
It is anonymous (no file in /dev/shm to fill up or to leave behind) and vanishes with its last process.

Must not import paddle: workers use it.
"""

from __future__ import annotations

import mmap

import numpy as np

_ALIGNMENT = 64


class Slots:
    """Room for `count` batches.

    Attributes:
        count: how many slots there are.
        rows: how many samples fit into one.
        generation: int64 [1], shared in any case: which tasks still count.
    """

    def __init__(self, count: int, rows: int, floats: int, classes: int, *, shared: bool) -> None:
        """Reserve the room; pages are taken when first written.

        Args:
            count: how many slots.
            rows: samples in a slot.
            floats: float32 numbers in the largest picture.
            classes: length of a soft label; 0 where labels are never soft.
            shared: share with processes forked later; False gives each of them its own copy.
        """
        self.count = count
        self.rows = rows
        self.generation = _block(8, shared=True).view(np.int64)
        self._classes = classes
        self._soft_at = _aligned(rows * floats * 4)
        self._hard_at = self._soft_at + _aligned(rows * classes * 4)
        size = self._hard_at + rows * 8
        self._blocks = [_block(size, shared=shared) for _ in range(count)]

    def images(self, slot: int, shape: tuple[int, int, int]) -> np.ndarray:
        """Return the pictures of a slot, float32 [rows, *shape]; a new view at each call."""
        end = self.rows * int(np.prod(shape)) * 4
        return self._blocks[slot][:end].view(np.float32).reshape(self.rows, *shape)

    def soft_labels(self, slot: int) -> np.ndarray:
        """Return the distributions of a slot, float32 [rows, classes]."""
        end = self._soft_at + self.rows * self._classes * 4
        return self._blocks[slot][self._soft_at : end].view(np.float32).reshape(self.rows, self._classes)

    def labels(self, slot: int) -> np.ndarray:
        """Return the labels of a slot, int64 [rows]."""
        return self._blocks[slot][self._hard_at : self._hard_at + self.rows * 8].view(np.int64)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _block(size: int, *, shared: bool) -> np.ndarray:
    """Return uint8 [size] in memory of its own."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8) if shared else np.zeros(size, np.uint8)
