"""The pipeline: from the bytes of a file to a row of a batch, and files that are no pictures."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ppghost.errors import ConfigError, DataError, PipelineError
from ppghost.vision import Pipeline, Rng

from .samples import draw_picture

NORMALIZE = {"NormalizeImage": {"scale": "1.0/255.0", "order": ""}}


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


@pytest.mark.parametrize(
    "ops",
    [
        [{"DecodeImage": None}, NORMALIZE],
        [{"DecodeImage": None}, NORMALIZE, {"ToCHWImage": None}],
        [{"DecodeImage": {"channel_first": True}}, {"NormalizeImage": {"scale": "1.0/255.0"}}],
        [{"DecodeImage": {"backend": "pil", "to_np": False}}, NORMALIZE],
    ],
)
def test_to_chw_gives_the_same_row_however_the_list_transposes(ops: list[Any]) -> None:
    picture = draw_picture(12, 9)
    row = Pipeline.from_list(ops).to_chw(png(picture))
    assert row.dtype == np.float32
    assert row.shape == (3, 12, 9)
    assert row.flags.c_contiguous
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(row, ((picture / 255 - mean) / std).transpose(2, 0, 1), atol=1e-5)


def test_to_tensor_transposes_only_if_it_says_so() -> None:
    picture = draw_picture(12, 9)
    for data_format in ("CHW", "HWC"):
        row = Pipeline.from_list([{"ToTensor": {"data_format": data_format}}]).to_chw(picture)
        np.testing.assert_allclose(row, picture.transpose(2, 0, 1) / 255, atol=1e-6)


def test_half_floats_are_widened_in_a_row() -> None:
    pipeline = Pipeline.from_list([{"NormalizeImage": {"order": "", "output_fp16": True}}])
    assert pipeline(draw_picture(4, 4)).dtype == np.float16
    assert pipeline.to_chw(draw_picture(4, 4)).dtype == np.float32


def test_bytes_an_array_and_a_pillow_image_give_the_same() -> None:
    pipeline = Pipeline.from_list([{"DecodeImage": None}, {"CropImage": {"size": 8}}])
    picture = draw_picture(12, 9)
    for given_form in (png(picture), picture, Image.fromarray(picture), memoryview(png(picture))):
        np.testing.assert_array_equal(pipeline(given_form), picture[2:10, 0:8])


@pytest.mark.parametrize("backend", ["cv2", "pil"])
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"no picture at all", "is no picture"),
        (b"\xff\xd8\xff\xe0", "truncated"),
    ],
)
def test_what_is_no_picture_is_an_error_with_the_reason(backend: str, data: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Pipeline.from_list([{"DecodeImage": {"backend": backend}}])(data)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), backend=st.sampled_from(["cv2", "pil"]))
def test_bytes_decode_or_raise_a_data_error(data: bytes, backend: str) -> None:
    header = png(draw_picture(3, 3))[:33]
    for candidate in (data, header + data):
        with suppress(DataError):
            assert Pipeline.from_list([{"DecodeImage": {"backend": backend}}])(candidate).ndim == 3


@pytest.mark.parametrize(
    ("ops", "sentence"),
    [
        ([{"NormalizeImage": None}], "NormalizeImage, at position 0 .* order: '' before ToCHWImage"),
        ([NORMALIZE, {"AutoAugment": None}], r"AutoAugment, at position 1 .* float32 \[12, 9, 3\]; accepted"),
        (
            [{"ToCHWImage": None}, {"RandomGrayscale": {"p": 1}}],
            r"position 1 .* uint8 \[3, 12, 9\]; accepted",
        ),
    ],
)
def test_an_op_in_the_wrong_place_is_an_error_of_the_configuration(ops: list[Any], sentence: str) -> None:
    with pytest.raises(PipelineError, match=sentence) as caught:
        Pipeline.from_list(ops)(draw_picture(12, 9), Rng(0))
    assert isinstance(caught.value, ConfigError)


def test_what_opencv_refuses_is_an_error_of_the_picture() -> None:
    with pytest.raises(DataError, match="ResizeImage: OpenCV cannot"):
        Pipeline.from_list([{"ResizeImage": {"size": 4}}])(np.zeros((0, 5, 3), np.uint8))


@pytest.mark.parametrize("decode", [{}, {"to_np": False, "backend": "pil"}])
@pytest.mark.parametrize("op", [{"ResizeImage": {"resize_short": 256}}, {"Resize": {"size": 256}}])
@pytest.mark.parametrize("shape", [(1, 20000, 3), (20000, 1, 3)])
def test_a_picture_may_not_grow_beyond_the_limit_when_it_is_resized(
    op: dict[str, Any], decode: dict[str, Any], shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a hundred bytes with one row of pixels would take gigabytes."""
    pipeline = Pipeline.from_list([{"DecodeImage": decode}, op])
    data = png(np.zeros(shape, np.uint8))
    monkeypatch.setenv("PPGHOST_MAX_PIXELS", str(256 * 256 * 20000 - 1))
    with pytest.raises(DataError, match=r"20000.* = 1310720000 pixels; accepted: .*PPGHOST_MAX_PIXELS="):
        pipeline(data)


def test_a_picture_with_one_channel_is_named_as_such() -> None:
    with pytest.raises(DataError, match=r"\[4, 5\]; accepted: \[H, W, 3\]"):
        Pipeline.from_list([{"DecodeImage": None}])(np.zeros((4, 5), np.uint8))


def test_exif_turns_a_picture_with_opencv_only() -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(draw_picture(16, 8)).save(stream, "JPEG", exif=exif)
    shapes = [
        Pipeline.from_list([{"DecodeImage": {"backend": backend}}])(stream.getvalue()).shape
        for backend in ("cv2", "pil")
    ]
    assert shapes == [(8, 16, 3), (16, 8, 3)]


def test_an_opencv_that_knows_only_bgr_decodes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = draw_picture(12, 9)
    monkeypatch.delattr(cv2, "IMREAD_COLOR_RGB", raising=False)
    np.testing.assert_array_equal(Pipeline.from_list([{"DecodeImage": None}])(png(picture)), picture)


def test_rng_gives_the_numbers_of_the_global_generators() -> None:
    import random

    random.seed(7)
    rng = Rng(7)
    assert [rng.py.random() for _ in range(3)] == [random.random() for _ in range(3)]
    np.testing.assert_array_equal(rng.np.rand(3), np.random.RandomState(7).rand(3))


def test_derived_seeds_depend_on_every_part_and_nothing_else() -> None:
    places = [(seed, epoch, index) for seed in range(3) for epoch in range(3) for index in range(50)]
    seeds = {Rng.derive(*place).seed for place in places}
    assert len(seeds) == len(places)
    assert Rng.derive(0, np.int64(0), np.uint8(0)).seed == Rng.derive(0, 0, 0).seed == 2706114589
