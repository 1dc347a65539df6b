"""Pictures and op lists for the tests: drawn from a seed, saved without loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = 5

NORMALIZE = {
    "NormalizeImage": {
        "scale": "1.0/255.0",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "order": "",
    }
}
DECODE = {"DecodeImage": {"to_rgb": True, "channel_first": False}}
TRAIN_OPS = [DECODE, {"RandCropImage": {"size": 16}}, {"RandFlipImage": {"flip_code": 1}}, NORMALIZE]
EVAL_OPS = [DECODE, {"CropImage": {"size": 16}}, NORMALIZE]


def draw(number: int) -> np.ndarray:
    """Return picture `number`, uint8 [H, W, 3] RGB; sizes differ."""
    random = np.random.RandomState(number)
    coarse = random.randint(0, 256, (5, 6, 3)).astype(np.uint8)
    return coarse.repeat(4 + number % 3, axis=0).repeat(4, axis=1)


def write_set(folder: Path, count: int) -> None:
    """Write `count` pictures and `list.txt` (`p/<number>.png <label>`) into `folder`."""
    (folder / "p").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / "p" / f"{number}.png"), draw(number)[:, :, ::-1])
    lines = [f"p/{number}.png {number % CLASSES}\n" for number in range(count)]
    (folder / "list.txt").write_text("".join(lines), encoding="utf-8")


# What `record_paddleclas.py` ran PaddleClas with.
RECORDED_OPS = [DECODE, {"ResizeImage": {"resize_short": 18}}, {"CropImage": {"size": 16}}, NORMALIZE]
RECORDED_SAMPLER = {"batch_size": 4, "shuffle": True, "drop_last": False}
