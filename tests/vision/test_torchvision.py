"""The way of torchvision gives torchvision's numbers, to the last bit; no other way passes for it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ppghost.errors import PipelineError
from ppghost.vision import Pipeline
from ppghost.vision.variants import VARIANTS, levels_of, variant, variant_of

RECORDED = np.load(Path(__file__).resolve().parents[1] / "reference" / "torchvision.npz")
PICTURES = sorted(name for name in RECORDED.files if name.startswith("png_"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def by_pillow_and_numpy(image: Image.Image) -> np.ndarray:
    """Return what torchvision documents, written with Pillow and NumPy alone: float32 [3, 224, 224]."""
    short, long = sorted(image.size)
    size = (256, int(256 * long / short)) if image.width <= image.height else (int(256 * long / short), 256)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (int(round((side - 224) / 2.0)) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32).transpose(2, 0, 1)
    mean, std = (np.array(levels, np.float32)[:, None, None] for levels in (MEAN, STD))
    return (pixels / np.float32(255) - mean) / std


def as_png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("name", PICTURES)
def test_equals_torchvision_to_the_last_bit(name: str) -> None:
    theirs = RECORDED[name.replace("png", "tensor")]
    ours = variant("torchvision").to_chw(RECORDED[name].tobytes())
    assert ours.shape == (3, 224, 224)
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous
    assert np.array_equal(ours[:, ::8, ::8], theirs)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 420), st.integers(1, 420), st.integers(0, 2**32 - 1))
def test_equals_the_documented_arithmetic_at_every_size(width: int, height: int, seed: int) -> None:
    rows = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    image = Image.fromarray(rows)
    ours = variant("torchvision").to_chw(as_png(image))
    assert np.array_equal(ours, by_pillow_and_numpy(image))


def test_every_level_is_divided_as_torchvision_divides() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    [to_tensor, _] = VARIANTS["torchvision"].ops[-2:]
    unit = Pipeline((to_tensor,)).to_chw(levels)
    assert np.array_equal(unit[0].ravel(), np.arange(256, dtype=np.float32) / np.float32(255))


def test_each_way_survives_its_written_form() -> None:
    for name, pipeline in VARIANTS.items():
        assert Pipeline.from_list(pipeline.to_list()) == pipeline
        assert variant_of(pipeline) == name
        assert levels_of(pipeline) == (MEAN, STD)


def test_the_two_ways_differ_by_more_than_rounding() -> None:
    rows = np.random.RandomState(0).randint(0, 256, (480, 640, 3)).astype(np.uint8)
    data = as_png(Image.fromarray(rows))
    both = [variant(name).to_chw(data) for name in ("torchvision", "paddleclas")]
    assert np.abs(both[0] - both[1]).max() > 0.5


@pytest.mark.parametrize(
    ("position", "op"),
    [
        (0, {"DecodeImage": None}),
        (0, {"DecodeImage": {"backend": "pil"}}),
        (1, {"Resize": {"size": [256, 256]}}),
        (1, {"Resize": {"size": 256, "interpolation": "bicubic"}}),
        (2, {"CropImage": {"size": 224}}),
        (4, {"Normalize": {"mean": 0.5, "std": 0.5, "to_rgb": True}}),
        (4, {"NormalizeImage": {"order": "chw"}}),
    ],
)
def test_a_changed_op_is_another_way(position: int, op: dict) -> None:
    entries = VARIANTS["torchvision"].to_list()
    entries[position] = op
    assert variant_of(Pipeline.from_list(entries)) == "other"


def test_other_sizes_and_levels_are_the_same_way() -> None:
    entries = VARIANTS["torchvision"].to_list()
    entries[1:3] = [{"Resize": {"size": 36}}, {"CenterCrop": {"size": 32}}]
    entries[4] = {"Normalize": {"mean": 0.5, "std": 0.25}}
    pipeline = Pipeline.from_list(entries)
    assert variant_of(pipeline) == "torchvision"
    assert levels_of(pipeline) == ((0.5,) * 3, (0.25,) * 3)


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(PipelineError, match="torchvision"):
        variant("torchvison")
    unscaled = [{"DecodeImage": None}, {"NormalizeImage": {"scale": 1.0, "order": ""}}]
    for entries in (unscaled, [{"DecodeImage": None}, {"Normalize": {"mean": 0.5}}]):
        with pytest.raises(PipelineError, match="Mean and deviation .* cannot be told"):
            levels_of(Pipeline.from_list(entries))
