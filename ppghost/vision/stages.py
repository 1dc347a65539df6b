"""Progressive training: pictures grow and their augmentation strengthens in four stages of equal length.

An op whose `size` or `magnitude` changes lists the four values in `progress_size` or `progress_magnitude`.
PaddleClas looks for the first at position 1 of the list and for the second at position 3; here any op may
have them.

Ground: never paddle. Source: Tan and Le, "EfficientNetV2", arXiv:2104.00298, section 4;
PaddleClas `ppcls/engine/train/train_progressive.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Optional

STAGES = 4
_KEYS = {"progress_size": "size", "progress_magnitude": "magnitude"}


def stage_of(epoch: int, epochs: int) -> int:
    """Return the stage, 0 to 3, of an epoch.

    Args:
        epoch: from 1; one behind the last belongs to the last stage.
        epochs: how many the training has. Of less than four, some stages have none.
    """
    return min(sum(epoch > epochs * (stage + 1) // STAGES for stage in range(STAGES)), STAGES - 1)


def progress_of(op: Any) -> dict[str, tuple[Any, ...]]:
    """Return what changes from stage to stage: key that lists the four values -> the values."""
    listed = {key: getattr(op, key, None) for key in _KEYS}
    return {key: values for key, values in listed.items() if values is not None}


def at_stage(op: Any, stage: int) -> Any:
    """Return the op with the values of a stage; the op itself where none change."""
    values = {_KEYS[key]: listed[stage] for key, listed in progress_of(op).items()}
    return dataclasses.replace(op, **values) if values else op


def check_stages(where: str, values: Optional[tuple[Any, ...]], check: Callable[[str, Any], None]) -> None:
    """Raise ValueError unless `values` is None, or one value for each stage, each of which passes `check`."""
    if values is None:
        return
    if len(values) != STAGES:
        raise ValueError(
            f"{where} has {len(values)} values; progressive training has {STAGES} stages, give one for each."
        )
    for number, value in enumerate(values):
        check(f"{where}[{number}]", value)
