"""Several processes as one: rank, world, sums over all ranks, batch norm over all their pictures.

`paddle.distributed.launch` starts the processes and sets their environment; alone, everything here is a
no-op with the same answers.

House: imports paddle, nothing of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import nn


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


def is_same_everywhere(values: Sequence[float]) -> bool:
    """Say whether every process gives the same `values`; the answer is equal on every rank."""
    if world_size() == 1:
        return True
    given = np.asarray(values, dtype="float64")
    bounds = paddle.to_tensor(np.concatenate([given, -given]))
    dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
    largest, smallest = np.split(bounds.numpy(), 2)
    return bool((largest == -smallest).all())


def share_buffers(net: nn.Layer) -> None:
    """Give every process the first one's buffers, the running statistics of batch norm. Changes `net`.

    Each process has moved its own while it trained; the first one's are those that a checkpoint holds.
    """
    if world_size() > 1:
        for buffer in net.buffers():
            dist.broadcast(buffer, src=0)


def synchronise(net: nn.Layer) -> None:
    """Let batch norm normalise with the statistics of the pictures of all processes. Changes `net`.

    A frozen batch norm (`ppghost.train.freeze`) stays as it is. Paddle's own conversion of a whole network
    would unfreeze it: `nn.SyncBatchNorm` cannot normalise with running statistics while it trains.
    """
    for layer in net.sublayers(include_self=True):
        for name, child in list(layer.named_children()):
            if isinstance(child, (nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D)) and (
                not child._use_global_stats
            ):
                layer.add_sublayer(name, nn.SyncBatchNorm.convert_sync_batchnorm(child))


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()
