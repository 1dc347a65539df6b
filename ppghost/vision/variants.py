"""The two ways from a picture to the input of an ImageNet network, told apart by their ops.

PaddleClas samples the resized picture at points (OpenCV), torchvision averages over areas (Pillow). The two
inputs differ by far more than rounding, so the accuracy of a network is that of one way only: whoever writes
or reads inputs names the way. Ground: never paddle.
"""

from __future__ import annotations

from typing import Union

from ppghost.errors import PipelineError, suggest
from ppghost.vision.checks import read_number
from ppghost.vision.decode import DecodeImage
from ppghost.vision.geometry import CropImage, ResizeImage
from ppghost.vision.normalize import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalize,
    NormalizeImage,
    ToCHWImage,
    ToTensor,
    Triple,
)
from ppghost.vision.op import Op
from ppghost.vision.paddle_geometry import CenterCrop, Resize
from ppghost.vision.pipeline import Pipeline

TORCHVISION = "torchvision"
PADDLECLAS = "paddleclas"
OTHER = "other"

VARIANTS: dict[str, Pipeline] = {
    TORCHVISION: Pipeline(
        (
            DecodeImage(to_np=False, backend="pil"),
            Resize(256),
            CenterCrop(224),
            ToTensor(),
            Normalize(IMAGENET_MEAN, IMAGENET_STD),
        )
    ),
    PADDLECLAS: Pipeline(
        (
            DecodeImage(),
            ResizeImage(resize_short=256),
            CropImage(224),
            NormalizeImage(1.0 / 255.0, IMAGENET_MEAN, IMAGENET_STD, order=""),
            ToCHWImage(),
        )
    ),
}
"""Name of a way -> how it treats ImageNet.

torchvision's is `Resize(256)`, `CenterCrop(224)`, `ToTensor()`, `Normalize(mean, std)` on a Pillow image that
was converted to RGB, equal to the last bit. Source: torchvision's reference for classification, and Ascend's
`imagenet_torch_preprocess.py`.
"""


def variant(name: str) -> Pipeline:
    """Return the pipeline of a way.

    Raises:
        PipelineError: there is no such way.
    """
    if name not in VARIANTS:
        raise PipelineError(f"Unknown preprocessing '{name}'. {suggest(name, VARIANTS)}")
    return VARIANTS[name]


def variant_of(pipeline: Pipeline) -> str:
    """Return which way a pipeline goes: "torchvision", "paddleclas", or "other".

    The sizes, the mean and the deviation may be any; the kinds of the ops, their order and who decodes and
    resizes must be those of the way.
    """
    bare = tuple(op for op in pipeline.ops if not isinstance(op, ToCHWImage))
    if [type(op) for op in bare] == [type(op) for op in VARIANTS[TORCHVISION].ops]:
        return TORCHVISION if _works_on_pillow(bare) else OTHER
    if [type(op) for op in bare] == [type(op) for op in VARIANTS[PADDLECLAS].ops[:-1]]:
        return PADDLECLAS if _works_on_opencv(bare) else OTHER
    return OTHER


def _works_on_pillow(ops: tuple[Op, ...]) -> bool:
    decode, resize, _, to_tensor, normalize = ops
    return (
        decode == DecodeImage(to_np=False, backend="pil")
        and isinstance(resize, Resize)
        and isinstance(resize.size, int)
        and resize.interpolation == "bilinear"
        and to_tensor == ToTensor()
        and isinstance(normalize, Normalize)
        and (normalize.data_format, normalize.to_rgb) == ("CHW", False)
    )


def _works_on_opencv(ops: tuple[Op, ...]) -> bool:
    decode, resize, _, _ = ops
    return (
        decode == DecodeImage()
        and isinstance(resize, ResizeImage)
        and bool(resize.resize_short)
        and resize.backend == "cv2"
        and resize.interpolation in (None, "bilinear", 1)
    )


def levels_of(pipeline: Pipeline) -> tuple[Triple, Triple]:
    """Return mean and deviation of the three channels, R, G, B, of levels from 0 to 1.

    Raises:
        PipelineError: the pipeline is neither of the two ways, or scales by another factor than 1/255.
    """
    for op in pipeline.ops:
        if isinstance(op, NormalizeImage) and _is_one_255th(op):
            return op.mean or IMAGENET_MEAN, op.std or IMAGENET_STD
        if isinstance(op, Normalize) and variant_of(pipeline) == TORCHVISION:
            return _triple(op.mean), _triple(op.std)
    raise PipelineError(
        "Mean and deviation of this preprocessing cannot be told; accepted: NormalizeImage with scale "
        "1/255, or ToTensor and Normalize."
    )


def without_normalisation(pipeline: Pipeline) -> Pipeline:
    """Return the ops before normalisation, which give uint8 [H, W, 3].

    Raises:
        PipelineError: there is no normalisation.
    """
    for position, op in enumerate(pipeline.ops):
        if isinstance(op, (ToTensor, NormalizeImage)):
            return Pipeline(pipeline.ops[:position])
    raise PipelineError(
        "This preprocessing does not normalise, so there is nothing that a device could take over."
    )


def _is_one_255th(op: NormalizeImage) -> bool:
    return op.scale is None or read_number("NormalizeImage.scale", op.scale) == 1.0 / 255.0


def _triple(value: Union[float, Triple]) -> Triple:
    return value if isinstance(value, tuple) else (value, value, value)
