"""The cases in which our ops are compared with PaddleClas': read by the recorder and by the tests.

Plain data, so that PaddleClas' interpreter can read it too: imports nothing but the standard library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


class Case(NamedTuple):
    """One list of transform ops, run with several seeds.

    Attributes:
        key: name of the case; its arrays are `key` (results, stacked) in the archive.
        ops: the transform ops.
        picture: key of the input in the archive.
        form: what the ops are given: "array" [H, W, 3], "pil", "chw", "float" (array / 255) or "bytes".
        seeds: how many seeds, from 0 on.
        step: every step-th row and column is kept, to save space.
        atol: largest difference, in levels; 0 where the libraries agree to the last bit.
        outliers: share of values that may differ by more.
    """

    key: str
    ops: list[dict[str, Any]]
    picture: str = "wide"
    form: str = "array"
    seeds: int = 3
    step: int = 1
    atol: float = 0.0
    outliers: float = 0.0


# The cubic and Lanczos filters of OpenCV round differently from version to version (recorded with 4.11).
CV2_ROUNDING = 1.0
# From Pillow 13 on the pass that makes the picture smallest comes first; levels are rounded in between.
PIL_ORDER = 1.0
# Where a turned pixel lies between two, the versions of OpenCV choose differently.
CV2_EDGES = 0.01

CASES = [
    Case("resize_short", [{"ResizeImage": {"resize_short": 24}}], seeds=1, atol=CV2_ROUNDING),
    Case("resize_size", [{"ResizeImage": {"size": [30, 20]}}], seeds=1, atol=CV2_ROUNDING),
    Case(
        "resize_bicubic",
        [{"ResizeImage": {"size": 50, "interpolation": "bicubic"}}],
        seeds=1,
        step=3,
        atol=CV2_ROUNDING,
    ),
    Case("resize_area", [{"ResizeImage": {"size": 17, "interpolation": "area"}}], seeds=1, atol=CV2_ROUNDING),
    Case("resize_nearest", [{"ResizeImage": {"size": 31, "interpolation": "nearest"}}], seeds=1),
    Case(
        "resize_lanczos",
        [{"ResizeImage": {"size": 31, "interpolation": "lanczos"}}],
        seeds=1,
        atol=CV2_ROUNDING,
    ),
    Case(
        "resize_random",
        [{"ResizeImage": {"size": 20, "interpolation": "random"}}],
        seeds=4,
        atol=CV2_ROUNDING,
    ),
    Case("resize_pil", [{"ResizeImage": {"resize_short": 24, "backend": "pil"}}], seeds=1),
    Case(
        "resize_pil_bicubic",
        [{"ResizeImage": {"size": 50, "interpolation": "bicubic", "backend": "pil"}}],
        seeds=1,
        step=3,
    ),
    Case(
        "resize_pil_form",
        [{"ResizeImage": {"size": 24, "backend": "pil", "return_numpy": False}}],
        form="pil",
        seeds=1,
    ),
    Case("crop", [{"CropImage": {"size": 20}}], seeds=1),
    Case("crop_pair", [{"CropImage": {"size": [21, 30]}}], seeds=1),
    Case("crop_at_ratio", [{"CropImageAtRatio": {"size": 24, "pad": 5}}], seeds=1, atol=CV2_ROUNDING),
    Case("rand_crop", [{"RandCropImage": {"size": 20}}], seeds=12, step=2, atol=CV2_ROUNDING),
    Case(
        "rand_crop_all",
        [
            {
                "RandCropImage": {
                    "size": [24, 16],
                    "scale": [0.3, 0.9],
                    "ratio": [0.5, 2],
                    "use_log_aspect": True,
                    "interpolation": "bilinear",
                    "backend": "pil",
                }
            }
        ],
        seeds=6,
        atol=PIL_ORDER,
    ),
    Case(
        "rand_crop_random",
        [{"RandCropImage": {"size": 20, "interpolation": "random"}}],
        seeds=6,
        step=2,
        atol=CV2_ROUNDING,
    ),
    Case("random_crop", [{"RandomCropImage": {"size": [20, 12]}}], seeds=4),
    Case("flip", [{"RandFlipImage": None}], seeds=2, step=2),
    Case("flip_vertical", [{"RandFlipImage": {"flip_code": 0}}], seeds=2, step=2),
    Case("flip_both", [{"RandFlipImage": {"flip_code": -1}}], seeds=2, step=2),
    Case("flip_pil", [{"RandFlipImage": {"flip_code": 0}}], form="pil", seeds=2, step=2),
    Case("rot90", [{"RandomRot90": None}], seeds=6, step=2),
    Case(
        "interpolation", [{"RandomInterpolationAugment": {"prob": 0.8}}], seeds=10, step=4, atol=CV2_ROUNDING
    ),
    Case("normalize", [{"NormalizeImage": {"scale": "1.0/255.0", **IMAGENET, "order": ""}}], seeds=1, step=2),
    Case("normalize_defaults_chw", [{"ToCHWImage": None}, {"NormalizeImage": None}], seeds=1, step=2),
    Case("normalize_fp16", [{"NormalizeImage": {"order": "hwc", "output_fp16": True}}], seeds=1, step=3),
    Case("normalize_pad", [{"NormalizeImage": {"order": "", "channel_num": 4}}], seeds=1, step=2),
    Case(
        "normalize_float",
        [{"NormalizeImage": {"scale": 1.0, "mean": [0.5, 0.4, 0.3], "order": ""}}],
        form="float",
        seeds=1,
        step=2,
    ),
    Case("to_tensor", [{"ToTensor": None}, {"Normalize": IMAGENET}], seeds=1, step=2),
    Case(
        "normalize_paddle",
        [{"Normalize": {"mean": 127.5, "std": [127.5, 100.0, 50.0], "data_format": "HWC"}}],
        seeds=1,
        step=3,
    ),
    Case(
        "normalize_paddle_bgr",
        [{"Normalize": {"mean": 127.5, "std": 2.0, "data_format": "HWC", "to_rgb": True}}],
        seeds=1,
        step=2,
    ),
    Case("pad", [{"Pad": {"padding": 4, "fill": 0}}], form="pil", seeds=1, step=2),
    Case("pad_cv2", [{"Pad": {"padding": 4, "fill": 7, "backend": "cv2"}}], seeds=1, step=2),
    Case("pad_paddle", [{"Pad_paddle_vision": {"padding": [3, 1, 5, 2], "fill": 0}}], seeds=1, step=2),
    Case(
        "pad_paddle_pil",
        [{"Pad_paddle_vision": {"padding": [3, 5], "fill": [9, 8, 7]}}],
        form="pil",
        seeds=1,
        step=2,
    ),
    Case(
        "pad_paddle_reflect",
        [{"Pad_paddle_vision": {"padding": 4, "padding_mode": "reflect"}}],
        seeds=1,
        step=2,
    ),
    Case(
        "pad_paddle_symmetric",
        [{"Pad_paddle_vision": {"padding": 4, "padding_mode": "symmetric"}}],
        form="pil",
        seeds=1,
        step=2,
    ),
    Case("pad_paddle_edge", [{"Pad_paddle_vision": {"padding": 4, "padding_mode": "edge"}}], seeds=1, step=2),
    Case("padv2", [{"Padv2": {"size": [60, 50]}}], seeds=1, step=3),
    Case(
        "padv2_centre",
        [{"Padv2": {"size": 50, "pad_mode": 1, "fill_value": [1.5, 2.5, 3.5]}}],
        seeds=1,
        step=3,
    ),
    Case("padv2_end", [{"Padv2": {"size": 50, "pad_mode": 2}}], seeds=1, step=3),
    Case("padv2_offsets", [{"Padv2": {"size": 60, "pad_mode": -1, "offsets": [3, 5]}}], seeds=1, step=3),
    Case("crop_with_padding", [{"CropWithPadding": {"prob": 0.7, "padding_num": 9}}], seeds=10, step=2),
    Case("paddle_resize", [{"Resize": {"size": 24}}], seeds=1, atol=CV2_ROUNDING),
    Case("paddle_resize_pair", [{"Resize": {"size": [20, 30]}}], form="pil", seeds=1, atol=PIL_ORDER),
    Case("center_crop", [{"CenterCrop": {"size": [20, 30]}}], seeds=1),
    Case("center_crop_pil", [{"CenterCrop": {"size": 20}}], form="pil", seeds=1),
    Case("resized_crop", [{"RandomResizedCrop": {"size": [16, 24]}}], seeds=10, step=2, atol=CV2_ROUNDING),
    Case(
        "resized_crop_pil",
        [{"RandomResizedCrop": {"size": 16, "interpolation": "bicubic"}}],
        form="pil",
        seeds=6,
    ),
    Case(
        "resized_crop_falls_back",
        [{"RandomResizedCrop": {"size": 16, "scale": [1, 1], "ratio": [2, 2.5]}}],
        seeds=2,
        atol=CV2_ROUNDING,
    ),
    Case("horizontal_flip", [{"RandomHorizontalFlip": None}], seeds=4, step=2),
    Case("horizontal_flip_pil", [{"RandomHorizontalFlip": {"prob": 0.9}}], form="pil", seeds=2, step=2),
    Case(
        "rotation", [{"RandomRotation": {"degrees": 30, "prob": 0.7}}], seeds=10, step=2, outliers=CV2_EDGES
    ),
    Case(
        "rotation_expand",
        [{"RandomRotation": {"degrees": [20, 20], "prob": 1, "expand": True, "interpolation": "bilinear"}}],
        seeds=1,
        step=2,
        atol=CV2_ROUNDING,
        outliers=0.1,
    ),
    Case(
        "rotation_pil",
        [{"RandomRotation": {"degrees": 45, "prob": 1, "fill": 77}}],
        form="pil",
        seeds=4,
        step=2,
    ),
    Case(
        "jitter",
        [{"ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}}],
        seeds=12,
        step=3,
    ),
    Case(
        "jitter_prob",
        [{"ColorJitter": {"prob": 0.5, "brightness": [0.5, 0.9], "hue": [-0.4, 0.2]}}],
        seeds=8,
        step=3,
    ),
    Case("grayscale", [{"RandomGrayscale": {"p": 0.5}}], form="pil", seeds=4, step=2),
    Case(
        "random_apply",
        [{"RandomApply": {"p": 0.6, "transforms": [{"RawColorJitter": {"brightness": 0.4, "hue": 0.2}}]}}],
        form="pil",
        seeds=8,
        step=3,
    ),
    Case("lighting", [{"PCALighting": None}], form="float", seeds=2, step=4, atol=1e-6),
    Case(
        "augmix",
        [{"AugMix": {"prob": 0.9, "aug_severity": 4, "mixture_depth": -1}}],
        seeds=30,
        step=4,
        atol=1.0,
    ),
    Case("augmix_defaults", [{"AugMix": None}], seeds=8, step=3, atol=1.0),
    Case("autoaugment", [{"AutoAugment": None}], seeds=60, step=4),
    Case("randaugment", [{"RandAugment": None}], seeds=40, step=4),
    Case("randaugment_strong", [{"RandAugment": {"num_layers": 3, "magnitude": 9}}], seeds=30, step=4),
    Case("randaugment_v2", [{"RandAugmentV2": None}], seeds=40, step=4),
    Case("randaugment_v3", [{"RandAugmentV3": None}], seeds=40, step=4),
    Case(
        "randaugment_v3_bilinear",
        [{"RandAugmentV3": {"magnitude": 7, "interpolation": "bilinear"}}],
        seeds=20,
        step=4,
    ),
    Case("randaugment_v4", [{"RandAugmentV4": None}], seeds=60, step=4),
    Case("timm_default", [{"TimmAutoAugment": None}], seeds=60, step=4),
    Case(
        "timm_plain",
        [{"TimmAutoAugment": {"config_str": "rand-m7-n3", "interpolation": "random", "img_size": 64}}],
        seeds=40,
        step=4,
    ),
    Case(
        "timm_weighted", [{"TimmAutoAugment": {"config_str": "rand-mstd1-w0", "prob": 0.8}}], seeds=20, step=4
    ),
    Case(
        "timm_augmix",
        [{"TimmAutoAugment": {"config_str": "augmix-m5-w4-d2"}}],
        picture="square",
        seeds=20,
        step=4,
        atol=1.0,
    ),
    Case(
        "timm_augmix_blended",
        [{"TimmAutoAugment": {"config_str": "augmix-m3-a0.5-b1-mstd0.5"}}],
        seeds=20,
        step=4,
        atol=1.0,
    ),
    *(
        Case(f"timm_{policy}", [{"TimmAutoAugment": {"config_str": f"{policy}-mstd0.5"}}], seeds=40, step=4)
        for policy in ("v0", "v0r", "original", "originalr")
    ),
    Case("cutout", [{"Cutout": {"length": 12, "n_holes": 2, "fill_value": "none"}}], seeds=6, step=2),
    Case("hide_and_seek", [{"HideAndSeek": None}], picture="square", form="chw", seeds=8, step=3),
    Case("erasing", [{"RandomErasing": {"EPSILON": 0.8}}], seeds=6, step=2),
    Case(
        "erasing_rand",
        [{"RandomErasing": {"EPSILON": "4.0/5", "mode": "rand", "r1": 0.2}}],
        form="float",
        seeds=4,
        step=4,
    ),
    Case(
        "erasing_pixel",
        [
            {
                "RandomErasing": {
                    "EPSILON": 1,
                    "sh": "1.0/3.0",
                    "mode": "pixel",
                    "use_log_aspect": True,
                    "attempt": 10,
                }
            }
        ],
        form="float",
        seeds=4,
        step=4,
    ),
    Case("gridmask", [{"GridMask": {"d1": 8, "d2": 20, "prob": 0.8}}], form="chw", seeds=10, step=2),
    Case(
        "gridmask_turned",
        [{"GridMask": {"d1": 8, "d2": 20, "rotate": 40, "mode": 1, "ratio": 0.4}}],
        form="chw",
        seeds=6,
        step=2,
    ),
    *(
        Case(f"decode_{name}", [{"DecodeImage": None}], picture=name, form="bytes", seeds=1, step=2, atol=1.0)
        for name in (
            "jpeg",
            "jpeg_grey",
            "jpeg_cmyk",
            "jpeg_exif",
            "png",
            "png_grey",
            "png_rgba",
            "png_16bit",
            "png_palette",
            "bmp",
            "webp",
        )
    ),
    *(
        Case(
            f"decode_pil_{name}",
            [{"DecodeImage": {"backend": "pil"}}],
            picture=name,
            form="bytes",
            seeds=1,
            step=2,
            atol=1.0,
        )
        for name in ("jpeg", "jpeg_grey", "jpeg_cmyk", "jpeg_exif", "png_rgba", "png_16bit")
    ),
    Case(
        "decode_bgr",
        [{"DecodeImage": {"to_rgb": False, "channel_first": True}}],
        picture="png",
        form="bytes",
        seeds=1,
    ),
    Case("decode_raw_cv2", [{"DecodeImage": {"to_np": False}}], picture="png", form="bytes", seeds=1),
    Case(
        "decode_raw_pil",
        [{"DecodeImage": {"to_np": False, "backend": "pil"}}],
        picture="png",
        form="bytes",
        seeds=1,
    ),
    Case(
        "train_recipe",
        [
            {"DecodeImage": {"to_rgb": True, "channel_first": False}},
            {"RandCropImage": {"size": 24}},
            {"RandFlipImage": {"flip_code": 1}},
            {"NormalizeImage": {"scale": "1.0/255.0", **IMAGENET, "order": ""}},
        ],
        picture="png",
        form="bytes",
        seeds=3,
        step=2,
        atol=0.02,
    ),
    Case(
        "eval_recipe",
        [
            {"DecodeImage": {"to_rgb": True, "channel_first": False}},
            {"ResizeImage": {"resize_short": 32}},
            {"CropImage": {"size": 28}},
            {"NormalizeImage": {"scale": "1.0/255.0", **IMAGENET, "order": ""}},
            {"ToCHWImage": None},
        ],
        picture="png",
        form="bytes",
        seeds=1,
        atol=0.02,
    ),
]


class BatchCase(NamedTuple):
    """One batch op, run with several seeds; results are `key` (pictures) and `key_labels`."""

    key: str
    name: str
    params: dict[str, Any]
    seeds: int = 2


BATCH_CLASSES = 5
BATCH_CASES = [
    BatchCase("mixup", "MixupOperator", {"alpha": 0.2}),
    BatchCase("cutmix", "CutmixOperator", {"alpha": 1.0}, seeds=3),
    BatchCase("fmix", "FmixOperator", {"alpha": 1, "max_soft": 0.1}, seeds=3),
    BatchCase("fmix_reformulate", "FmixOperator", {"alpha": 0.5, "decay_power": 2, "reformulate": True}),
    BatchCase(
        "sampler",
        "OpSampler",
        {"MixupOperator": {"alpha": 0.8, "prob": 0.4}, "CutmixOperator": {"alpha": 1.0, "prob": 0.4}},
        seeds=8,
    ),
    BatchCase("hybrid", "MixupCutmixHybrid", {"cutmix_alpha": 1.0, "num_classes": BATCH_CLASSES}, seeds=4),
    BatchCase(
        "hybrid_minmax",
        "MixupCutmixHybrid",
        {"mixup_alpha": 0.0, "cutmix_minmax": [0.2, 0.8], "num_classes": BATCH_CLASSES},
    ),
    BatchCase(
        "hybrid_pair",
        "MixupCutmixHybrid",
        {"mode": "pair", "cutmix_alpha": 1.0, "prob": 0.8, "num_classes": BATCH_CLASSES},
        seeds=4,
    ),
    BatchCase(
        "hybrid_elem",
        "MixupCutmixHybrid",
        {"mode": "elem", "cutmix_alpha": 1.0, "prob": 0.8, "num_classes": BATCH_CLASSES},
        seeds=4,
    ),
]
