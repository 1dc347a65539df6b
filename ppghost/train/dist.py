"""Several processes as one: rank, world, sums over all ranks.

`paddle.distributed.launch` starts the processes and sets their environment; alone, everything here is a
no-op with the same answers.

House: imports paddle, nothing of ours.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.distributed as dist


def rank() -> int:
    """Return this process' number, 0 when alone."""
    return int(dist.get_rank())


def world_size() -> int:
    """Return how many processes train together."""
    return int(dist.get_world_size())


def init() -> None:
    """Join the other processes; does nothing when alone or already joined."""
    if world_size() > 1 and not dist.is_initialized():
        dist.init_parallel_env()


def sum_over_ranks(values: np.ndarray) -> np.ndarray:
    """Return the sum of `values` (float64, any shape) over all ranks, equal on every rank."""
    if world_size() == 1:
        return values
    total = paddle.to_tensor(values.astype("float64"))
    dist.all_reduce(total)
    return total.numpy()


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()
