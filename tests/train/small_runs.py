"""What small runs start from: the reference configuration, pointed at forty noise pictures, at 32 pixels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
sys.path.insert(0, str(REFERENCE))

# A step takes a tenth of a second.
QUICK = (
    "DataLoader.Train.dataset.transform_ops.1.CropImage.size=32",
    "DataLoader.Eval.dataset.transform_ops.1.CropImage.size=32",
    "DataLoader.Train.sampler.batch_size=8",
    "Optimizer.lr.learning_rate=0.02",
    "Global.pretrained_model=null",
    "Global.eval_interval=2",
)

# Batch norm frozen, nothing dropped, nothing drawn: the halves of a batch then add up to the batch. It takes
# calm weights (`trajectory.write_calm_weights`): without working batch norm, others grow beyond all bounds.
COMPARABLE = (
    "Arch.freeze=['*_batch_norm*']",
    "Arch.dropout=0.0",
    "Optimizer.lr.learning_rate=0.00001",
    "Optimizer.lr.warmup_epoch=0",
    "Global.epochs=1",
)


def weights_of(prefix: Path) -> dict[str, Any]:
    """Return the weights at a path without suffix as arrays."""
    return {name: tensor.numpy() for name, tensor in paddle.load(f"{prefix}.pdparams").items()}


def assert_same_change(before: dict[str, Any], one: dict[str, Any], two: dict[str, Any]) -> None:
    """Assert that two runs moved the weights alike: the difference is a thousandth of the way at most."""
    way = np.concatenate([(one[name] - value).ravel() for name, value in before.items()])
    other = np.concatenate([(two[name] - value).ravel() for name, value in before.items()])
    assert np.linalg.norm(way) > 0
    assert np.linalg.norm(other - way) < 1e-3 * np.linalg.norm(way)


def small_overrides(pictures: Path, output: Path, *overrides: str) -> list[str]:
    """Return the overrides of a small run that writes into `output`."""
    return [*places(pictures), f"Global.output_dir={output}", *QUICK, *overrides]


def places(pictures: Path) -> list[str]:
    """Return the overrides that point a configuration to the pictures."""
    return [
        f"DataLoader.{split}.dataset.{key}={pictures / name}"
        for split in ("Train", "Eval")
        for key, name in (("image_root", "pictures"), ("cls_label_path", "list.txt"))
    ]
