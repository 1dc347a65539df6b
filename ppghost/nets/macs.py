"""Count what a network costs: parameters and multiply-accumulates, by running it once.

Brick: imports paddle only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn


def count_params(net: nn.Layer) -> int:
    """Return how many numbers gradient descent may change, frozen ones included.

    Paddle keeps batch norm's running mean and variance among the parameters; they are not counted.
    """
    statistics = {"_mean", "_variance"}
    return sum(
        int(tensor.size) for name, tensor in net.named_parameters() if name.split(".")[-1] not in statistics
    )


def count_params_with_statistics(net: nn.Layer) -> int:
    """Return how many numbers a weight file holds: parameters and batch norm's means and variances."""
    return sum(int(tensor.size) for tensor in net.state_dict().values())


def count_macs(net: nn.Layer, input_shape: Sequence[int] = (3, 224, 224)) -> int:
    """Return the multiply-accumulates of all convolutions and linear layers for one picture.

    Batch norm, activations, pooling and additions are not counted: that is the convention of GhostNet's
    paper. The network runs once in eval mode on zeros; its mode is restored.

    Args:
        net: maps `float32 [1, *input_shape]` to anything.
        input_shape: channels, height, width.
    """
    total = 0

    def count(layer: nn.Layer, _: Any, output: paddle.Tensor) -> None:
        nonlocal total
        weight = layer.weight
        if isinstance(layer, nn.Conv2D):
            # Weight [out, in / groups, k, k]: every output position costs one pass over the whole kernel.
            total += int(weight.size) * int(output.shape[2]) * int(output.shape[3])
        else:
            total += int(weight.size)

    hooks = [
        layer.register_forward_post_hook(count)
        for layer in net.sublayers(include_self=True)
        if isinstance(layer, (nn.Conv2D, nn.Linear))
    ]
    was_training = net.training
    net.eval()
    try:
        with paddle.no_grad():
            net(paddle.zeros([1, *input_shape], dtype="float32"))
    finally:
        for hook in hooks:
            hook.remove()
        if was_training:
            net.train()
    return total
