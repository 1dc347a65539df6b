"""Record what PaddleClas' ops give, for `tests/vision`.

    cd tests/reference && python record_ops.py /path/to/PaddleClas

Runs in an interpreter in which PaddleClas runs (not ours), draws its own pictures and writes `ops.npz` beside
itself. Three defects are mended first, because without that there is nothing to record; see `mend`.
"""

from __future__ import annotations

import copy
import io
import random
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ops_cases import BATCH_CASES, BATCH_CLASSES, CASES, BatchCase, Case
from PIL import Image


def draw_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Return uint8 [height, width, 3]: slopes of grey, discs and some noise."""
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([rows * 4, columns * 5, 200 - rows * 2 - columns], axis=2).astype(np.float64)
    for _ in range(6):
        row, column, radius = rng.randint(height), rng.randint(width), rng.randint(3, 10)
        picture[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = rng.randint(0, 256, 3)
    return np.clip(picture + rng.randint(-1, 2, picture.shape), 0, 255).astype(np.uint8)


def encode_files(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Return the picture as files of several kinds, each as uint8 [bytes]."""
    rgb = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = np.dstack(
        [picture, np.tile(np.arange(picture.shape[1], dtype=np.uint8) * 6, (picture.shape[0], 1))]
    )
    kinds = {
        "jpeg": (rgb, "JPEG", {"quality": 90}),
        "jpeg_grey": (rgb.convert("L"), "JPEG", {"quality": 90}),
        "jpeg_cmyk": (rgb.convert("CMYK"), "JPEG", {"quality": 90}),
        "jpeg_exif": (rgb, "JPEG", {"quality": 90, "exif": exif}),
        "png": (rgb, "PNG", {}),
        "png_grey": (rgb.convert("L"), "PNG", {}),
        "png_rgba": (Image.fromarray(alpha), "PNG", {}),
        "png_palette": (rgb.quantize(16), "PNG", {}),
        "bmp": (rgb.crop((0, 0, 12, 10)), "BMP", {}),
        "webp": (rgb, "WEBP", {"lossless": True}),
    }
    files = {}
    for name, (image, kind, options) in kinds.items():
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        files[name] = np.frombuffer(stream.getvalue(), np.uint8)
    sixteen = picture[:, :, 0].astype(np.uint16) * 257 // 2
    files["png_16bit"] = cv2.imencode(".png", sixteen)[1].reshape(-1)
    return files


def give(inputs: dict[str, np.ndarray], case: Case) -> Any:
    """Return a fresh input of a case in the form it asks for."""
    array = inputs[case.picture].copy()
    forms = {
        "array": lambda: array,
        "pil": lambda: Image.fromarray(array),
        "chw": lambda: np.ascontiguousarray(array.transpose(2, 0, 1)),
        "float": lambda: array.astype(np.float32) / 255,
        "bytes": array.tobytes,
    }
    return forms[case.form]()


def mend(preprocess: Any) -> None:
    """Repair what keeps ops from running at all, and nothing that changes a number.

    `GridMask` counts epochs that nobody counts, `CropWithPadding` calls a function that paddle has renamed,
    and `MixupCutmixHybrid` uses a name that NumPy has dropped.
    """
    from ppcls.data.preprocess.ops import grid

    grid.CURR_EPOCH = grid.NUM_EPOCHS
    preprocess.CropWithPadding._get_param = preprocess.CropWithPadding._dynamic_get_param
    np.bool = bool


def build(preprocess: Any, name: str, params: dict[str, Any]) -> Any:
    """Return PaddleClas' op; the policies of TimmAutoAugment, which its face does not reach, from behind."""
    text = params.get("config_str", "rand")
    if name != "TimmAutoAugment" or text.startswith(("rand", "augmix")):
        return getattr(preprocess, name)(**params)
    from ppcls.data.preprocess.ops import timm_autoaugment

    op = preprocess.TimmAutoAugment()
    settings = {"translate_const": 100, "img_mean": (124, 116, 104), "interpolation": Image.BICUBIC}
    op.augment_func = timm_autoaugment.auto_augment_transform(text, settings)
    return op


def run_case(preprocess: Any, inputs: dict[str, np.ndarray], case: Case) -> list[np.ndarray]:
    """Return the result for every seed, thinned out."""
    entries = copy.deepcopy(case.ops)
    ops = [build(preprocess, name, params or {}) for entry in entries for name, params in entry.items()]
    results = []
    for seed in range(case.seeds):
        random.seed(seed)
        np.random.seed(seed)
        image = give(inputs, case)
        for op in ops:
            image = op(image)
        image = np.asarray(image.numpy() if hasattr(image, "numpy") else image)
        is_last = image.shape[-1] in (3, 4)
        results.append(image[:: case.step, :: case.step] if is_last else image[:, :: case.step, :: case.step])
    return results


def run_batch_case(preprocess: Any, inputs: dict[str, np.ndarray], case: BatchCase) -> tuple[Any, Any]:
    """Return mixed pictures and labels for every seed."""
    params = copy.deepcopy(case.params)
    if case.name != "MixupCutmixHybrid":
        params["class_num"] = BATCH_CLASSES
    op = getattr(preprocess, case.name)(**params)
    pictures, labels = [], []
    for seed in range(case.seeds):
        random.seed(seed)
        np.random.seed(seed)
        mixed = op(list(zip(inputs["batch"].copy(), inputs["batch_labels"].copy())))
        pictures.append(np.stack([picture for picture, _ in mixed]).astype(np.float32))
        soft = [
            np.eye(BATCH_CLASSES, dtype=np.float32)[label] if np.ndim(label) == 0 else label
            for _, label in mixed
        ]
        labels.append(np.stack(soft))
    return np.stack(pictures), np.stack(labels)


def main() -> None:
    """Record all cases."""
    sys.path.insert(0, sys.argv[1])
    from ppcls.data import preprocess
    from ppcls.utils import logger

    logger.init_logger()
    mend(preprocess)
    wide = draw_picture(45, 37, 1)
    inputs = {"wide": wide, "square": draw_picture(40, 40, 2), **encode_files(wide)}
    inputs["batch"] = np.random.RandomState(3).randint(0, 8, (4, 3, 6, 7)).astype(np.float32)
    inputs["batch_labels"] = np.array([0, 3, 1, 3])
    recorded = {f"in_{name}": array for name, array in inputs.items()}
    for case in CASES:
        for seed, result in enumerate(run_case(preprocess, inputs, case)):
            recorded[f"{case.key}_{seed}"] = result
    for case in BATCH_CASES:
        recorded[case.key], recorded[f"{case.key}_labels"] = run_batch_case(preprocess, inputs, case)
    np.savez_compressed(Path(__file__).with_name("ops.npz"), **pack(recorded))


def pack(recorded: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays with the results of a case stacked where their shapes agree, to save headers."""
    packed = dict(recorded)
    for case in CASES:
        results = [packed.pop(f"{case.key}_{seed}") for seed in range(case.seeds)]
        if len({result.shape for result in results}) == 1:
            packed[case.key] = np.stack(results)
        else:
            packed.update({f"{case.key}_{seed}": result for seed, result in enumerate(results)})
    return packed


if __name__ == "__main__":
    main()
