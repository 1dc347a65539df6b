"""Key maps: the same network under other names, turned into ours.

A key map is a pure function from a mapping key -> array in the source's naming and layout to one in
PaddleClas' (a linear weight is [in, out] in Paddle, [out, in] in PyTorch). No paddle, no torch: whoever has a
PyTorch file saves its state dict as NumPy arrays first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

from ppghost.errors import WeightsError

State = dict[str, NDArray[Any]]

_BLOCKS = 16
_LEAVES = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}


def from_paddleclas(state: Mapping[str, NDArray[Any]]) -> State:
    """Return the state as it is: PaddleClas' names are ours."""
    return dict(state)


def from_iamhankai(state: Mapping[str, NDArray[Any]]) -> State:
    """Rename the first public GhostNet, github.com/iamhankai/ghostnet.pytorch (PyTorch layout).

    PaddleClas ported that network, so no shape conflicts. Counters (`num_batches_tracked`) are dropped.

    Raises:
        WeightsError: a key has no place in that network.
    """
    renamed: State = {}
    for key, array in state.items():
        if key.endswith(".num_batches_tracked"):
            continue
        if key not in _IAMHANKAI:
            raise WeightsError(
                f"'{key}' is no key of iamhankai's GhostNet. Are the weights of another network?"
            )
        target = _IAMHANKAI[key]
        if target == "fc_0._conv.weight":
            # A linear layer there, a 1x1 convolution here.
            renamed[target] = array[:, :, np.newaxis, np.newaxis]
        else:
            is_linear = target.endswith(".weight") and array.ndim == 2
            renamed[target] = np.ascontiguousarray(array.T) if is_linear else array
    return renamed


def _conv_bn(source: str, target: str, conv: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a convolution at index `conv` of `source` and the batch norm behind it."""
    yield f"{source}.{conv}.weight", f"{target}._conv.weight"
    for theirs, ours in _LEAVES.items():
        yield f"{source}.{conv + 1}.{theirs}", f"{target}._batch_norm.{ours}"


def _linear(source: str, target: str) -> Iterator[tuple[str, str]]:
    for leaf in ("weight", "bias"):
        yield f"{source}.{leaf}", f"{target}.{leaf}"


def _iamhankai_pairs() -> Iterator[tuple[str, str]]:
    """Yield every (their key, our key), parts that only some blocks have included."""
    yield from _conv_bn("features.0", "conv1")
    for index in range(_BLOCKS):
        source, target = f"features.{index + 1}", f"_ghostbottleneck_{index}"
        for place, module in ((0, "ghost_module_1"), (3, "ghost_module_2")):
            for half in ("primary_conv", "cheap_operation"):
                yield from _conv_bn(f"{source}.conv.{place}.{half}", f"{target}.{module}.{half}")
        yield from _conv_bn(f"{source}.conv.1", f"{target}.depthwise_conv")
        yield from _linear(f"{source}.conv.2.fc.0", f"{target}.se_block.squeeze")
        yield from _linear(f"{source}.conv.2.fc.2", f"{target}.se_block.excitation")
        yield from _conv_bn(f"{source}.shortcut.0", f"{target}.shortcut_depthwise")
        yield from _conv_bn(f"{source}.shortcut", f"{target}.shortcut_conv", conv=1)
    yield from _conv_bn("squeeze", "conv_last")
    yield from _conv_bn("classifier", "fc_0")
    yield from _linear("classifier.4", "fc_1")


_IAMHANKAI = dict(_iamhankai_pairs())

KEYMAPS: dict[str, Callable[[Mapping[str, NDArray[Any]]], State]] = {
    "paddleclas": from_paddleclas,
    "iamhankai": from_iamhankai,
}


def foreign_origin(state: Mapping[str, NDArray[Any]]) -> str:
    """Return a sentence on weights in another project's naming and what to do, or nothing for our naming."""
    if "conv_stem.weight" in state:
        return (
            "These are weights of Huawei's or timm's GhostNet. Its squeeze-and-excitation is wider than "
            "PaddleClas' (20 against 18 channels in block 3 at width 1.0), so they fit no model here."
        )
    if "features.0.0.weight" in state and "classifier.4.weight" in state:
        return (
            "These are weights of iamhankai's GhostNet in PyTorch naming: load them with keymap='iamhankai'."
        )
    return ""
