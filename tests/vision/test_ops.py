"""What holds for every op, and what each op promises beyond PaddleClas' numbers."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ppghost.errors import DataError
from ppghost.vision import OPS, REFUSED_OPS, Pipeline, Rng

from .samples import DRAW_NOTHING, OP_NAMES, draw_picture, params_of, pipeline_of

SIDES = st.integers(24, 60)
SEEDS = st.integers(0, 2**32 - 1)


def run(name: str, params: Any, image: Any, seed: int = 0) -> np.ndarray:
    return Pipeline.from_list([{name: params}])(image, Rng(seed))


@pytest.mark.parametrize("name", OP_NAMES)
@settings(max_examples=12, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_op_keeps_its_input_and_repeats_itself(name: str, height: int, width: int, seed: int) -> None:
    pipeline, picture = pipeline_of(name), draw_picture(height, width, seed)
    before = picture.copy()
    first = pipeline(picture, Rng(seed))
    np.testing.assert_array_equal(picture, before)
    np.testing.assert_array_equal(first, pipeline(picture, Rng(seed)))
    assert first.ndim == 3
    assert 3 in (first.shape[0], first.shape[2])
    assert first.dtype in (np.uint8, np.float32)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", OP_NAMES)
def test_yaml_form_and_pickle_come_back(name: str) -> None:
    pipeline = pipeline_of(name)
    assert pipeline.to_list() == [{name: params_of(name)}]
    assert Pipeline.from_list(pipeline.to_list()) == pipeline
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline


@pytest.mark.parametrize("name", OP_NAMES)
def test_only_random_ops_ask_for_an_rng(name: str) -> None:
    picture = draw_picture(30, 24)
    if name in DRAW_NOTHING:
        pipeline_of(name)(picture)
    else:
        with pytest.raises(ValueError, match=r"draws random numbers.*pass rng="):
            pipeline_of(name)(picture)


@pytest.mark.parametrize("name", [name for name in OP_NAMES if name not in ("ToCHWImage", "ToTensor")])
def test_op_takes_a_pillow_image(name: str) -> None:
    assert pipeline_of(name)(Image.fromarray(draw_picture(30, 24)), Rng(1)).ndim == 3


BAD = [
    ("DecodeImage", {"backend": "pillow"}, "'cv2', 'pil'"),
    ("ResizeImage", {}, "needs 'size' or 'resize_short'"),
    ("ResizeImage", {"size": 0}, "at least 1"),
    ("ResizeImage", {"size": [1, 2, 3]}, "a list of 2, each a whole number"),
    ("ResizeImage", {"size": 8, "interpolation": "cubic"}, "'bicubic'"),
    ("ResizeImage", {"size": 8, "interpolation": "box"}, "'area'"),
    ("CropImage", {"size": "224"}, "a whole number or a list"),
    ("CropImage", {"size": True}, "a whole number or a list"),
    ("RandCropImage", {"size": 8, "scale": [1.0, 0.1]}, "low end comes first"),
    ("RandCropImage", {"size": 8, "ratio": [0.5]}, "a list of 2, each a number"),
    ("RandFlipImage", {"flip_code": 2}, "-1, 0, 1"),
    ("NormalizeImage", {"scale": "__import__('os')"}, "quotient such as"),
    ("NormalizeImage", {"scale": "1.0/0"}, "quotient such as"),
    ("NormalizeImage", {"scale": 0}, "scale is 0.*usual"),
    ("NormalizeImage", {"scale": "0/255"}, "scale is 0.*usual"),
    ("NormalizeImage", {"scale": float("nan")}, "quotient such as"),
    ("NormalizeImage", {"scale": float("inf")}, "quotient such as"),
    ("NormalizeImage", {"mean": [0, float("nan"), 0]}, "mean is nan; accepted: a number"),
    ("NormalizeImage", {"std": [1, float("inf"), 1]}, "std is inf; accepted: a number"),
    ("NormalizeImage", {"mean": [0.5]}, "a list of 3, each a number"),
    ("NormalizeImage", {"std": [1, 0, 1]}, "divide by zero"),
    ("NormalizeImage", {"channel_num": 1}, "accepted: 3, 4"),
    ("Normalize", {"std": 0.0}, "divide by zero"),
    ("Normalize", {"mean": [1, 2]}, "a number or a list of 3"),
    ("ToTensor", {"data_format": "NCHW"}, "'CHW', 'HWC'"),
    ("Pad", {"padding": -1}, "at least 0"),
    ("Pad", {"padding": 1.5}, "a whole number"),
    ("Pad", {"padding": 1, "fill": 256}, "0 to 255"),
    ("Pad_paddle_vision", {"padding": [1, 2, 3]}, "1, 2 or 4 numbers"),
    ("Padv2", {"pad_mode": -1}, "offsets"),
    ("Padv2", {"pad_mode": 3}, "-1, 0, 1, 2"),
    ("RandomRotation", {"degrees": -5}, "at least 0"),
    ("RandomHorizontalFlip", {"prob": 1.5}, "0 to 1"),
    ("ColorJitter", {"hue": 0.7}, "-0.5 to 0.5|0 to 0.5"),
    ("ColorJitter", {"brightness": -1}, "at least 0"),
    ("RandAugment", {"num_layers": 1.5}, "whole number"),
    ("RandAugmentV3", {"interpolation": "lanczos"}, "'bilinear', 'bicubic'"),
    ("TimmAutoAugment", {"config_str": "rnd-m9"}, "'rand'"),
    ("TimmAutoAugment", {"config_str": "rand-x9"}, "none of m<number>"),
    ("TimmAutoAugment", {"config_str": "rand-m9.5"}, "holds no int"),
    ("TimmAutoAugment", {"config_str": "rand-w1"}, "accepted: '0'"),
    ("TimmAutoAugment", {"config_str": "v0-m9"}, "none of mstd<number>"),
    ("TimmAutoAugment", {"config_str": "rand-m"}, "none of"),
    ("TimmAutoAugment", {"config_str": "rand-w0-n14"}, "section n is 14; accepted: a number, 0 to 13"),
    ("TimmAutoAugment", {"config_str": "augmix-w0"}, "section w is 0"),
    ("TimmAutoAugment", {"config_str": "augmix-a0"}, "section a is 0"),
    ("TimmAutoAugment", {"config_str": "v0-mstd1e999"}, "section mstd is inf"),
    ("Cutout", {"fill_value": "grey"}, "'none'"),
    ("Cutout", {"n_holes": 0}, "at least 1"),
    ("RandomErasing", {"sl": 0.5, "sh": 0.4}, "low end comes first"),
    ("RandomErasing", {"EPSILON": "half"}, "quotient such as"),
    ("RandomErasing", {"mode": "black"}, "'const', 'rand', 'pixel'"),
    ("GridMask", {"d1": 9, "d2": 9}, "at least 10"),
    ("AugMix", {"mixture_width": 0}, "at least 1"),
    ("RandomApply", {"p": 0.5, "transforms": [{"RandFlip": None}]}, r"transforms\[0\].*RandFlipImage"),
    ("RandomApply", {"p": 0.5, "transforms": ["RandFlipImage"]}, r"transforms\[0\]"),
]


@pytest.mark.parametrize(("name", "params", "sentence"), BAD, ids=lambda value: str(value)[:40])
def test_bad_parameter_is_refused_with_a_sentence(name: str, params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Pipeline.from_list([{name: params}])


def test_unknown_and_refused_names_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"transform_ops\[1\].*'RandCropImge'.*RandCropImage"):
        Pipeline.from_list([{"DecodeImage": None}, {"RandCropImge": {"size": 8}}])
    with pytest.raises(ValueError, match=r"no parameter 'resize_shrt'.*resize_short"):
        Pipeline.from_list([{"ResizeImage": {"resize_shrt": 8}}])
    with pytest.raises(ValueError, match="CropImage needs the parameter 'size'"):
        Pipeline.from_list([{"CropImage": None}])
    with pytest.raises(ValueError, match="one op"):
        Pipeline.from_list([{"CropImage": {"size": 8}, "ToCHWImage": None}])
    for name in REFUSED_OPS:
        with pytest.raises(ValueError, match=f"'{name}' is not served here: .+"):
            Pipeline.from_list([{name: None}])


@pytest.mark.parametrize(
    "name", ["CropImage", "CenterCrop", "RandomCropImage", "RandCropImageV2"], ids=lambda name: name
)
def test_a_crop_larger_than_the_picture_is_an_error_of_the_picture(name: str) -> None:
    with pytest.raises(DataError, match="30 x 30 pixels .* 40 x\n? ?20.*ResizeImage"):
        run(name, {"size": 30}, draw_picture(20, 40))


@given(height=st.integers(1, 8), width=st.integers(1, 8), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_crops_survive_tiny_pictures(height: int, width: int, seed: int) -> None:
    picture = draw_picture(height, width)
    assert run("RandCropImage", {"size": [5, 7]}, picture, seed).shape == (7, 5, 3)
    assert run("RandomResizedCrop", {"size": [7, 5]}, picture, seed).shape == (7, 5, 3)
    narrow = {"size": [7, 5], "ratio": [0.1, 0.1]}
    assert run("RandomResizedCrop", narrow, picture, seed).shape == (7, 5, 3)
    assert run("CropImageAtRatio", {"size": 6, "pad": 6}, picture).shape == (6, 6, 3)


@pytest.mark.parametrize("seed", range(30))
def test_randcropimagev2_never_returns_less_than_it_promises(seed: int) -> None:
    assert run("RandCropImageV2", {"size": 23}, draw_picture(24, 24), seed).shape == (23, 23, 3)


def test_flipping_both_ways_turns_a_pillow_image() -> None:
    picture = draw_picture(9, 7)
    flipped = {
        run("RandFlipImage", {"flip_code": -1}, Image.fromarray(picture), seed).tobytes() for seed in range(8)
    }
    assert flipped == {picture.tobytes(), picture[::-1, ::-1].tobytes()}


@settings(max_examples=30, deadline=None)
@given(
    scale=st.sampled_from([None, "1.0/255.0", 1.0, 0.00392157]),
    mean=st.tuples(*[st.floats(-200, 200)] * 3),
    std=st.tuples(*[st.floats(0.01, 200)] * 3),
    seed=SEEDS,
)
def test_normalizing_by_table_equals_the_formula(scale: Any, mean: Any, std: Any, seed: int) -> None:
    picture = draw_picture(5, 9, seed)
    op = OPS["NormalizeImage"](scale=scale, mean=mean, std=std, order="")
    factor = np.float32(1 / 255 if scale in (None, "1.0/255.0") else scale)
    formula = (picture.astype(np.float32) * factor - np.float32(mean)) / np.float32(std)
    np.testing.assert_array_equal(op(picture, Rng(0)), formula)
    np.testing.assert_array_equal(op(picture.astype(np.float32), Rng(0)), formula)


def test_normalizing_leaves_nothing_to_copy_for_the_transpose() -> None:
    planes = OPS["NormalizeImage"](order="")(draw_picture(6, 5), Rng(0)).transpose(2, 0, 1)
    assert planes.flags.c_contiguous


def test_normalizing_names_the_order_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"order is 'chw' but the picture is \[6, 5, 3\]"):
        run("NormalizeImage", None, draw_picture(6, 5))
    with pytest.raises(ValueError, match="write HWC before the transpose"):
        run("Normalize", None, draw_picture(6, 5))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("Cutout", {"length": 9, "fill_value": [1, 2, 3]}),
        ("HideAndSeek", None),
        ("GridMask", {"d1": 6, "d2": 9}),
        ("RandomErasing", {"EPSILON": 1, "mode": "rand"}),
        ("PCALighting", None),
    ],
)
def test_covering_ops_find_the_channels_themselves(name: str, params: Any) -> None:
    picture = draw_picture(40, 30).astype(np.float32)
    for seed in range(6):
        rows_first = run(name, params, picture, seed)
        channels_first = run(name, params, np.ascontiguousarray(picture.transpose(2, 0, 1)), seed)
        np.testing.assert_array_equal(rows_first, channels_first.transpose(1, 2, 0))


def test_covering_a_normalised_picture_leaves_nothing_to_copy_either() -> None:
    ops = [{"NormalizeImage": {"order": ""}}, {"RandomErasing": {"EPSILON": 1}}]
    assert Pipeline.from_list(ops)(draw_picture(30, 30), Rng(0)).transpose(2, 0, 1).flags.c_contiguous


def test_gridmask_masks() -> None:
    covered = run("GridMask", {"d1": 8, "d2": 16}, np.full((32, 32, 3), 7, np.uint8))
    assert 0.5 < np.mean(covered == 0) < 0.95
    assert set(np.unique(covered)) == {0, 7}


def test_cutout_covers_with_its_colour_and_no_more_than_it_should() -> None:
    white = np.full((40, 40, 3), 255, np.uint8)
    for seed in range(10):
        covered = run("Cutout", {"length": 10, "fill_value": [1, 2, 3]}, white, seed)
        is_covered = (covered == (1, 2, 3)).all(axis=2)
        assert 36 <= is_covered.sum() <= 121
        assert (covered[~is_covered] == 255).all()


def test_one_fill_level_fills_all_channels() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    for name in ("Pad", "Pad_paddle_vision"):
        assert (run(name, {"padding": 1, "fill": 9}, picture)[0] == 9).all()
    assert (run("RandomRotation", {"degrees": [45, 45], "prob": 1, "fill": 9}, picture)[0, 0] == 9).all()


def test_pad_honours_its_mode() -> None:
    picture = draw_picture(4, 5)
    padded = run("Pad", {"padding": 2, "padding_mode": "symmetric"}, picture)
    np.testing.assert_array_equal(padded, np.pad(picture, ((2, 2), (2, 2), (0, 0)), "symmetric"))


def test_padv2_without_size_pads_to_the_multiple() -> None:
    assert run("Padv2", {"size_divisor": 16}, draw_picture(17, 32)).shape == (32, 32, 3)
    with pytest.raises(DataError, match="Padv2 wants"):
        run("Padv2", {"size": 16}, draw_picture(17, 8))


@pytest.mark.parametrize("text", ["v0", "auto-v0r", "original-mstd0.5", "originalr"])
def test_timm_policies_can_be_reached(text: str) -> None:
    picture = draw_picture(24, 30)
    results = {run("TimmAutoAugment", {"config_str": text}, picture, seed).tobytes() for seed in range(20)}
    assert len(results) > 5


def test_timm_switches_can_be_written_off() -> None:
    picture = draw_picture(24, 30)
    for seed in range(20):
        off = run("TimmAutoAugment", {"config_str": "rand-m9-inc0"}, picture, seed)
        np.testing.assert_array_equal(off, run("TimmAutoAugment", {"config_str": "rand-m9"}, picture, seed))


def test_augmix_takes_pictures_that_are_not_square() -> None:
    assert run("TimmAutoAugment", {"config_str": "augmix-m9"}, draw_picture(24, 31)).shape == (24, 31, 3)


@pytest.mark.parametrize("magnitude", [0, 10])
@pytest.mark.parametrize("name", ["RandAugment", "RandAugmentV2", "RandAugmentV3"])
def test_extreme_magnitudes_work(name: str, magnitude: int) -> None:
    for seed in range(30):
        assert (
            run(name, {"magnitude": magnitude, "num_layers": 2}, draw_picture(24, 24), seed).dtype == np.uint8
        )


def test_vision_runs_without_paddle() -> None:
    code = "import sys, ppghost.vision; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


JUNK = [
    None,
    "x",
    "",
    -1,
    0,
    1,
    2.5,
    float("nan"),
    float("inf"),
    [],
    [1],
    [1, 2],
    [3, 2, 1],
    {},
    {"a": 1},
    True,
    [[1]],
]


@pytest.mark.parametrize("name", OP_NAMES)
def test_any_value_is_refused_with_a_sentence_or_works(name: str) -> None:
    """Whatever a YAML file may hold: never another exception than the one that the user can read."""
    picture = draw_picture(30, 28)
    for field in dataclasses.fields(OPS[name]):
        for junk in JUNK:
            with suppress(ValueError, DataError):
                pipeline = Pipeline.from_list([{name: {**(params_of(name) or {}), field.name: junk}}])
                for seed in range(4):
                    pipeline(picture, Rng(seed))
