"""One usable parameter set per op, small enough for pictures of 24 pixels."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ppghost.vision import OPS, Pipeline

SMALL: dict[str, dict[str, Any]] = {
    "CenterCrop": {"size": [20, 16]},
    "CropImage": {"size": [20, 16]},
    "CropImageAtRatio": {"size": 20, "pad": 4},
    "CropWithPadding": {"padding_num": 3},
    "Cutout": {"length": 9, "n_holes": 2},
    "GridMask": {"d1": 6, "d2": 14, "rotate": 20},
    "ColorJitter": {"brightness": 0.4, "contrast": [0.5, 1.5], "saturation": 0.4, "hue": 0.2},
    "Normalize": {"mean": 127.5, "std": [127.5, 127.5, 100.0], "data_format": "HWC"},
    "NormalizeImage": {"scale": "1.0/255.0", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "order": ""},
    "Pad": {"padding": 3, "fill": 9},
    "Pad_paddle_vision": {"padding": [1, 2, 3, 4], "padding_mode": "edge"},
    "RandCropImage": {"size": [20, 16], "scale": [0.2, 0.9], "ratio": [0.5, 2.0]},
    "RandCropImageV2": {"size": [20, 16]},
    "RandomApply": {"p": 0.5, "transforms": [{"RandomGrayscale": {"p": 0.5}}, {"RandFlipImage": None}]},
    "RandomCropImage": {"size": [20, 16]},
    "RandomErasing": {"EPSILON": "3.0/4", "mode": "pixel"},
    "RandomInterpolationAugment": {"prob": 0.7},
    "RandomResizedCrop": {"size": [20, 16]},
    "RandomRotation": {"degrees": 30, "expand": True, "fill": [1, 2, 3]},
    "RawColorJitter": {"brightness": 0.4},
    "Resize": {"size": 20},
    "ResizeImage": {"resize_short": 20, "backend": "pil", "interpolation": "bicubic"},
}

# These take an Rng and draw nothing from it.
DRAW_NOTHING = {
    "CenterCrop",
    "CropImage",
    "CropImageAtRatio",
    "DecodeImage",
    "Normalize",
    "NormalizeImage",
    "Pad",
    "Pad_paddle_vision",
    "Padv2",
    "Resize",
    "ResizeImage",
    "ToCHWImage",
    "ToTensor",
}


def params_of(name: str) -> Optional[dict[str, Any]]:
    """Return parameters with which the op `name` works on a picture of 24 x 24 pixels."""
    return SMALL.get(name)


def pipeline_of(name: str) -> Pipeline:
    """Return a pipeline of the op `name` alone."""
    return Pipeline.from_list([{name: params_of(name)}])


def draw_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return uint8 [height, width, 3], read-only so that an op which writes into its input fails."""
    picture = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    picture.setflags(write=False)
    return picture


OP_NAMES = sorted(OPS)
