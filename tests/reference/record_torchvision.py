"""Record what torchvision's own transforms give, for `tests/vision/test_torchvision.py`.

    PYTHONPATH=../.. python record_torchvision.py

Runs in an interpreter with torch and torchvision (the environment `timm` of `ppghost/environments.py`), draws
its own pictures and writes `torchvision.npz` beside itself: PNG files, and of each result every 8th pixel.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ppghost.bench.inside.training import open_torchvision

# (width, height): wide, high, square, small, of exactly the size, with halves to round, and very long.
SIZES = (
    (317, 241),
    (200, 333),
    (300, 300),
    (41, 29),
    (256, 256),
    (256, 291),
    (259, 256),
    (57, 400),
    (640, 480),
)
STEP = 8


def draw(width: int, height: int, seed: int) -> Image.Image:
    """Return slopes, a disc and noise in coarse blocks, which compress and still have edges everywhere."""
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], axis=2)
    blocks = rng.randint(-60, 60, (height // 9 + 1, width // 9 + 1, 3)).repeat(9, 0).repeat(9, 1)
    picture = picture + blocks[:height, :width]
    picture[(rows - height // 3) ** 2 + (columns - width // 2) ** 2 < (height // 5) ** 2] = rng.randint(
        0, 256, 3
    )
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def main() -> None:
    """Write the reference."""
    open_torchvision()
    import torchvision
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    arrays = {"version": np.array(torchvision.__version__)}
    for number, (width, height) in enumerate(SIZES):
        image = draw(width, height, number)
        if number == 3:
            image = image.convert("RGBA")
        if number == 4:
            image = image.convert("L")
        stream = io.BytesIO()
        image.save(stream, "PNG", optimize=True)
        arrays[f"png_{number}"] = np.frombuffer(stream.getvalue(), np.uint8)
        arrays[f"tensor_{number}"] = transform(image.convert("RGB")).numpy()[:, ::STEP, ::STEP]
    np.savez_compressed(Path(__file__).with_name("torchvision.npz"), **arrays)


if __name__ == "__main__":
    main()
