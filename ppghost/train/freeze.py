"""Freeze parts of a network by name.

House: imports paddle and the rock.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from paddle import nn

from ppghost.errors import GhostError, suggest

_NORMALISATION = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)


def freeze(net: nn.Layer, patterns: Sequence[str]) -> list[str]:
    """Stop training every parameter whose name matches a pattern; return their names.

    A batch norm whose scale and shift are both frozen also keeps its running mean and variance and
    normalises with them while training. Changes `net`.

    Args:
        net: any network.
        patterns: shell patterns (`*`, `?`, `[...]`) for names in the state dict, such as `conv1.*`,
            `_ghostbottleneck_[0-4].*` or `*_batch_norm*`.

    Raises:
        GhostError: a pattern matches nothing, or everything is frozen.
    """
    names = [name for name, _ in net.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            first = {name.split(".")[0] + ".*" for name in names}
            raise GhostError(
                f"Arch.freeze: no parameter matches '{pattern}'. {suggest(pattern, first, most=30)}"
            )
    frozen = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    for name, parameter in net.named_parameters():
        if name in set(frozen):
            parameter.stop_gradient = True
            parameter.trainable = False
    for layer in net.sublayers(include_self=True):
        if isinstance(layer, _NORMALISATION) and layer.weight.stop_gradient and layer.bias.stop_gradient:
            layer._use_global_stats = True
    if all(parameter.stop_gradient for parameter in net.parameters()):
        raise GhostError(f"Arch.freeze: {list(patterns)} freezes every parameter; nothing is left to train.")
    return frozen
