"""What VastStream's vision processor (vdsp) does to a picture, in the three forms that programs read.

    sdk1.0     numbers only; sample_cls.py of the first generation
    vamp       names, with a type for each property; vamp of the first generation
    build_in   one fused operator; vamp and classification.py of the second generation

The processor resizes as OpenCV does, cuts out the centre, divides by 255 and normalises; mean and deviation
are half-precision numbers. The first two forms name them by the integers of their 16 bits. The third knows no
shorter side: it resizes both sides to one length, so a picture loses its proportion there.

Source: the published descriptions of ghostnet_100 in Vastai/VastModelZOO, in its first and second edition.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Union

from ppghost.errors import ConfigError, PipelineError
from ppghost.vision import Pipeline
from ppghost.vision.geometry import CropImage, ResizeImage
from ppghost.vision.normalize import NormalizeImage, ToCHWImage
from ppghost.vision.paddle_geometry import CenterCrop, Resize
from ppghost.vision.variants import OTHER, levels_of, variant_of

SDK, VAMP, BUILD_IN = "sdk1.0", "vamp", "build_in"

CROPPED = "-cropped"
"""In the name of a description: pictures come resized and cropped, and are only normalised."""

Bits = tuple[int, int, int]

# Codes of the first generation's library.
_RGB_CROP_NORMALIZE, _RGB_PLANAR = 300, 5000
_BILINEAR_CV, _COLOR_NO_CHANGE, _BT709, _DIV255_MINUSMEAN_DIVSTD = 1, 2, 0, 4
_VAMP_OPERATOR = "RGB_RESIZE_CVTCOLOR_CROP_NORMALIZATION_TENSORIZATION_U8"
_FUSED_OPERATOR = "FUSION_OP_RGB_RESIZE_CVTCOLOR_CROP_NORM_TENSOR"
_VAMP_TYPES = {
    "iimage_format": "UINT_32",
    "iimage_width": "INT",
    "iimage_height": "INT",
    "iimage_width_pitch": "UINT_32",
    "iimage_height_pitch": "UINT_32",
    "short_edge_threshold": "INT",
    "crop_size": "UINT_32",
    "meanr": "UINT_16",
    "meang": "UINT_16",
    "meanb": "UINT_16",
    "stdr": "UINT_16",
    "stdg": "UINT_16",
    "stdb": "UINT_16",
    "norma_type": "INT",
    "resize_type": "INT",
    "color_cvt_code": "UINT_16",
    "color_space": "UINT_16",
}


@dataclass(frozen=True)
class Vdsp:
    """What happens to a picture.

    Attributes:
        resize: length of the shorter side after resizing, in pixels; of both sides in the form "build_in".
        crop: side of the centre that is cut out.
        mean: of the three channels R, G, B of levels from 0 to 1, as the bits of half-precision numbers.
        std: the deviation, likewise.
    """

    resize: int
    crop: int
    mean: Bits
    std: Bits

    def __post_init__(self) -> None:
        sides = (self.resize, self.crop)
        if not all(type(side) is int and side > 0 for side in sides) or self.crop > self.resize:
            raise ConfigError(
                f"The picture is resized to {self.resize!r} and cut to {self.crop!r}; accepted: whole "
                "numbers above 0, the second not larger than the first."
            )

    def cropped(self) -> Vdsp:
        """Return what is left to do for pictures that are resized and cut out already."""
        return dataclasses.replace(self, resize=self.crop)


def half_bits(value: float) -> int:
    """Return the 16 bits of the half-precision number that is nearest to `value`, as an integer.

    Raises:
        ConfigError: it is not finite, or beyond 65504.
    """
    try:
        [bits] = struct.unpack("<H", struct.pack("<e", value))
    except OverflowError:
        bits = 0x7C00
    if bits & 0x7C00 == 0x7C00:
        raise ConfigError(f"{value} is no finite number of half precision; accepted: -65504 to 65504.")
    return int(bits)


def half_value(bits: int) -> float:
    """Return the half-precision number of 16 bits.

    Raises:
        ConfigError: there are no such bits, or they mean no finite number.
    """
    if type(bits) is not int or not 0 <= bits <= 0xFFFF or bits & 0x7C00 == 0x7C00:
        raise ConfigError(f"{bits!r} are no bits of a finite half-precision number; accepted: 0 to 31743.")
    [value] = struct.unpack("<e", struct.pack("<H", bits))
    return float(value)


def vdsp_of(pipeline: Pipeline) -> Vdsp:
    """Return what the processor has to do to prepare pictures as `pipeline` does.

    Raises:
        PipelineError: the processor cannot: there are other steps, or the sides are not square.
        ConfigError: a mean or deviation is no half-precision number, or a deviation becomes 0.
    """
    resize, crop = 0, 0
    for op in pipeline.ops:
        if isinstance(op, ResizeImage):
            resize = op.resize_short or 0
        elif isinstance(op, Resize):
            resize = op.size if isinstance(op.size, int) else 0
        elif isinstance(op, (CropImage, CenterCrop)):
            width, height = (op.size, op.size) if isinstance(op.size, int) else op.size
            crop = width if width == height else 0
    if variant_of(pipeline) == OTHER or not resize or not crop:
        raise PipelineError(
            "VastStream's processor cannot prepare pictures so; accepted: the shorter side resized, a square "
            f"cut out of the centre, mean and deviation. Given: {pipeline.to_list()}"
        )
    mean, std = (tuple(map(half_bits, levels)) for levels in levels_of(pipeline))
    if not all(bits & 0x7FFF for bits in std):
        raise ConfigError(f"The deviation {levels_of(pipeline)[1]} is 0 in half precision.")
    return Vdsp(resize, crop, mean, std)  # type: ignore[arg-type] # three channels each


def pipeline_of(vdsp: Vdsp, form: str) -> Pipeline:
    """Return what the processor does, for decoded pictures [H, W, 3], as our own pipeline.

    Mean and deviation have half precision; the arithmetic itself is float32.
    """
    keeps_proportion = form != BUILD_IN
    mean, std = (tuple(map(half_value, bits)) for bits in (vdsp.mean, vdsp.std))
    return Pipeline(
        (
            ResizeImage(resize_short=vdsp.resize) if keeps_proportion else ResizeImage(size=vdsp.resize),
            CropImage(vdsp.crop),
            NormalizeImage(1.0 / 255.0, mean, std, order=""),  # type: ignore[arg-type] # as above
            ToCHWImage(),
        )
    )


def _sdk(vdsp: Vdsp) -> dict[str, Any]:
    return {
        "vdsp_op_type": _RGB_CROP_NORMALIZE,
        "iimage_format": _RGB_PLANAR,
        "iimage_width": vdsp.resize,
        "iimage_height": vdsp.resize,
        "iimage_width_pitch": vdsp.resize,
        "iimage_height_pitch": vdsp.resize,
        "short_edge_threshold": vdsp.resize,
        "resize_type": _BILINEAR_CV,
        "color_cvt_code": _COLOR_NO_CHANGE,
        "color_space": _BT709,
        "crop_size": vdsp.crop,
        **{f"mean{channel}": bits for channel, bits in zip("rgb", vdsp.mean)},
        **{f"std{channel}": bits for channel, bits in zip("rgb", vdsp.std)},
        "norma_type": _DIV255_MINUSMEAN_DIVSTD,
    }


def _vamp(vdsp: Vdsp) -> dict[str, Any]:
    values = {
        **_sdk(vdsp),
        "iimage_format": "RGB_PLANAR",
        "norma_type": "DIV255_MINUSMEAN_DIVSTD",
        "resize_type": "BILINEAR_CV",
        "color_cvt_code": "COLOR_NO_CHANGE",
        "color_space": "COLOR_SPACE_BT709",
    }
    config = [
        {"Property": name, "DType": kind, "ParamType": "ELEMENT", "Value": values[name]}
        for name, kind in _VAMP_TYPES.items()
    ]
    return {"vdsp_op_type": _VAMP_OPERATOR, "config": config}


def _build_in(vdsp: Vdsp) -> dict[str, Any]:
    corner = (vdsp.resize - vdsp.crop) // 2
    config = {
        "IimageFormat": "RGB_PLANAR",
        "IimageWidth": vdsp.resize,
        "IimageHeight": vdsp.resize,
        "OimageWidth": vdsp.crop,
        "OimageHeight": vdsp.crop,
        "CropX": corner,
        "CropY": corner,
        "ResizeWidth": vdsp.resize,
        "ResizeHeight": vdsp.resize,
        "IimageWidthPitch": vdsp.resize,
        "IimageHeightPitch": vdsp.resize,
        "Mean": list(map(half_value, vdsp.mean)),
        "Std": list(map(half_value, vdsp.std)),
        "NormaType": "DIV255_MINUSMEAN_DIVSTD",
        "ColorCvtCode": "NO_CHANGE",
        "ResizeType": "BILINEAR_CV",
    }
    return {"OpType": _FUSED_OPERATOR, "OpConfig": config}


FORMS: Mapping[str, Callable[[Vdsp], dict[str, Any]]] = {SDK: _sdk, VAMP: _vamp, BUILD_IN: _build_in}
"""Name of a form -> the content of its file."""


def vdsp_text(vdsp: Vdsp, form: str) -> str:
    """Return the file of a description, as published: JSON, four blanks a level, no line end at the end."""
    return json.dumps(FORMS[form](vdsp), indent=4)


def file_name(network: str, *, is_cropped: bool) -> str:
    """Return the name of a description's file."""
    return f"{network}{CROPPED * is_cropped}-vdsp_params.json"


def is_for_cropped(path: Path) -> bool:
    """Say whether a description is for cropped pictures, by its name: its content has no place for that."""
    return path.name.endswith(file_name("", is_cropped=True))


def read_vdsp(path: Union[str, Path]) -> tuple[str, Vdsp]:
    """Return the form of a description, and what it says.

    Raises:
        ConfigError: it cannot be read, or asks for anything else than `Vdsp` describes.
    """
    try:
        tree = json.loads(Path(path).read_bytes())
        form, given = _flat(tree)
        vdsp = _parse(form, given)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"The description '{path}' cannot be read: {error}.") from error
    except (KeyError, TypeError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else "a value is of another kind"
        raise ConfigError(
            f"'{path}' is no description of what the vision processor does: {why}. Write one: "
            "vaststream.py bundle"
        ) from error
    expected = _flat(FORMS[form](vdsp))[1]
    for name in (*expected, *given):
        if given.get(name) != expected.get(name):
            raise ConfigError(
                f"'{path}': {name} is {given.get(name)!r}; here only {expected.get(name)!r} is understood."
            )
    return form, vdsp


def _flat(tree: Any) -> tuple[str, dict[str, Any]]:
    """Return the form of a description and its properties; what stands for a half is rounded to one."""
    if "OpConfig" in tree:
        levels = {
            name: [half_value(half_bits(level)) for level in tree["OpConfig"][name]]
            for name in ("Mean", "Std")
        }
        return BUILD_IN, {"OpType": tree["OpType"], **tree["OpConfig"], **levels}
    if "config" in tree:
        rows = {row["Property"]: row["Value"] for row in tree["config"]}
        return VAMP, {"vdsp_op_type": tree["vdsp_op_type"], **rows}
    return SDK, {"vdsp_op_type": tree["vdsp_op_type"], **tree}


def _parse(form: str, given: Mapping[str, Any]) -> Vdsp:
    if form == BUILD_IN:
        mean, std = (tuple(map(half_bits, given[name])) for name in ("Mean", "Std"))
        if not len(mean) == len(std) == len("rgb"):
            raise ConfigError(f"Mean and Std have {len(mean)} and {len(std)} numbers; accepted: 3 each.")
        return Vdsp(given["ResizeWidth"], given["OimageWidth"], mean, std)  # type: ignore[arg-type]
    mean, std = (tuple(given[f"{name}{channel}"] for channel in "rgb") for name in ("mean", "std"))
    for bits in (*mean, *std):
        half_value(bits)
    return Vdsp(given["short_edge_threshold"], given["crop_size"], mean, std)  # type: ignore[arg-type]
