"""What small runs start from: the reference configuration, pointed at forty noise pictures, at 32 pixels."""

from __future__ import annotations

import sys
from pathlib import Path

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
