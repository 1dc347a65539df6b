"""What PaddleClas does (recorded by `tests/reference/record_recipe.py`), and the toy it was recorded on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ppghost.config.bind import bind_plain

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
sys.path.insert(0, str(REFERENCE))

from record_recipe import (  # noqa: E402 - the path must be set first
    EMA_DECAY,
    EPOCHS,
    STEPS,
    distilled_samples,
    follow,
    gradient,
    samples,
    shift_toy,
    toy_net,
    train_toy,
)

RECORDED: dict[str, Any] = json.loads((REFERENCE / "recipe.json").read_text(encoding="utf-8"))

__all__ = [
    "EMA_DECAY",
    "EPOCHS",
    "RECORDED",
    "STEPS",
    "bound",
    "distilled_samples",
    "follow",
    "gradient",
    "samples",
    "shift_toy",
    "toy_net",
    "train_toy",
]


def bound(tree: Any, annotation: Any) -> Any:
    """Return the spec of a plain tree, through the binder that reads configurations."""
    return bind_plain(tree, annotation, source="test")
