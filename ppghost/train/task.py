"""What is trained: a task turns a batch into a loss. The loop knows a task's `loss` and nothing else of it.

House: imports paddle, the loss brick; not the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from paddle import Tensor, nn

from ppghost.data import Batch
from ppghost.train.losses import Loss


class Task(Protocol):
    """The part of a run that differs between plain training and distillation."""

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return `logits` (float32 [N, class_num]) and the named losses, `loss` (scalar) being their sum."""
        ...

    def eval_net(self) -> nn.Layer:
        """Return the network whose accuracy is measured and which is shipped."""
        ...

    def trainable(self) -> nn.Layer:
        """Return the layer whose parameters are trained and saved."""
        ...


class Classify:
    """Train one network on labelled pictures.

    Args:
        net: pictures `float32 [N, 3, H, W]` -> logits `float32 [N, class_num]`.
        loss: logits and labels -> named losses.
        forward: what runs instead of `net` in a step: the same network wrapped for several devices or
            compiled. Its parameters are `net`'s.
    """

    def __init__(self, net: nn.Layer, loss: Loss, forward: nn.Layer | None = None) -> None:
        self.net = net
        self.loss = loss
        self.forward = net if forward is None else forward

    def step(self, batch: Batch) -> Mapping[str, Tensor]:
        """Run the network on the pictures and its logits through the loss."""
        logits = self.forward(batch.images)
        return {"logits": logits, **self.loss(logits, batch.labels)}

    def eval_net(self) -> nn.Layer:
        """Return the network."""
        return self.net

    def trainable(self) -> nn.Layer:
        """Return the network."""
        return self.net
