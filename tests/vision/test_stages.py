"""Progressive training: which stage an epoch belongs to, what ops do in it, what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppghost.vision import OPS, Pipeline, Rng
from ppghost.vision.stages import STAGES, at_stage, progress_of, stage_of

from .samples import draw_picture

CROP = {"RandCropImage": {"size": 9, "progress_size": [8, 12, 16, 20]}}
MOVES = {"RandAugmentV2": {"magnitude": 1, "progress_magnitude": [0.0, 5.0, 10.0, 20.0]}}


@given(epochs=st.integers(1, 1000), data=st.data())
def test_an_epoch_belongs_to_the_quarter_of_the_training_that_it_ends_in(
    epochs: int, data: st.DataObject
) -> None:
    epoch = data.draw(st.integers(1, epochs))
    assert stage_of(epoch, epochs) == math.ceil(STAGES * epoch / epochs) - 1


@pytest.mark.parametrize(
    ("epochs", "lengths"), [(350, [87, 88, 87, 88]), (8, [2, 2, 2, 2]), (2, [0, 1, 0, 1]), (1, [0, 0, 0, 1])]
)
def test_stages_are_as_long_as_in_paddleclas(epochs: int, lengths: list[int]) -> None:
    stages = [stage_of(epoch, epochs) for epoch in range(1, epochs + 1)]
    assert [stages.count(stage) for stage in range(STAGES)] == lengths
    assert stage_of(epochs + 5, epochs) == STAGES - 1


def test_an_op_has_the_size_or_strength_of_its_stage_and_nothing_else_changes() -> None:
    crop, moves = Pipeline.from_list([CROP, MOVES]).ops
    assert progress_of(crop) == {"progress_size": (8, 12, 16, 20)}
    for stage, (side, magnitude) in enumerate(zip((8, 12, 16, 20), (0.0, 5.0, 10.0, 20.0))):
        picture = draw_picture(40, 30)
        plain = OPS["RandCropImage"](side)
        np.testing.assert_array_equal(at_stage(crop, stage)(picture, Rng(3)), plain(picture, Rng(3)))
        plain = OPS["RandAugmentV2"](magnitude=magnitude)
        np.testing.assert_array_equal(at_stage(moves, stage)(picture, Rng(3)), plain(picture, Rng(3)))
    flip = OPS["RandFlipImage"]()
    assert at_stage(flip, 2) is flip


@pytest.mark.parametrize(
    ("op", "sentence"),
    [
        ({"RandCropImage": {"size": 8, "progress_size": [8, 9]}}, "progress_size has 2 values.* 4 stages"),
        ({"RandCropImage": {"size": 8, "progress_size": []}}, "progress_size has 0 values"),
        ({"RandCropImage": {"size": 8, "progress_size": [8, 9, 0, 9]}}, r"progress_size\[2\].*at least 1"),
        ({"RandCropImage": {"size": 8, "progress_size": 8}}, "progress_size is 8; accepted"),
        ({"RandAugmentV2": {"progress_magnitude": [1, 2, 3, 21]}}, r"progress_magnitude\[3\].*0 to 20"),
        ({"RandAugmentV2": {"progress_magnitude": ["a"] * 4}}, "progress_magnitude"),
        ({"RandApply": None}, "Unknown"),
        ({"RandomApply": {"p": 1.0, "transforms": [CROP]}}, "stands by itself"),
    ],
)
def test_what_no_stage_can_use_is_refused(op: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Pipeline.from_list([op])


# ------------------------------------------------------------------------------------------------- GridMask

GRIDS = st.fixed_dictionaries(
    {
        "d1": st.integers(2, 20),
        "ratio": st.floats(0, 1),
        "mode": st.sampled_from([0, 1]),
        "seed": st.integers(0, 2**32 - 1),
    }
)


@given(grid=GRIDS, rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_gridmask_zeroes_the_share_that_its_ratio_says(
    grid: dict[str, float], rows: int, columns: int
) -> None:
    """In whole periods, wherever they start, bars of width b cover 1 - (1 - b / d)^2."""
    period = int(grid["d1"])
    op = OPS["GridMask"](d1=period, d2=period + 1, ratio=grid["ratio"], mode=int(grid["mode"]))
    picture = np.full((rows * period, columns * period, 3), 9, np.uint8)
    bar = math.floor(period * grid["ratio"] + 0.5)
    free = (1 - bar / period) ** 2
    covered = op(picture, Rng(int(grid["seed"]))) == 0
    assert covered.mean() == pytest.approx(free if grid["mode"] else 1 - free)
    assert (covered == covered[..., :1]).all(), "a pixel is covered in all channels or in none"


@given(
    grid=GRIDS,
    span=st.integers(1, 30),
    height=st.integers(20, 50),
    width=st.integers(20, 50),
    chw=st.booleans(),
)
def test_gridmask_equals_its_definition_pixel_by_pixel(
    grid: dict[str, float], span: int, height: int, width: int, chw: bool
) -> None:
    seed, low, ratio = int(grid["seed"]), int(grid["d1"]), grid["ratio"]
    picture = np.random.RandomState(1).rand(height, width, 3).astype(np.float32) + 0.5
    op = OPS["GridMask"](d1=low, d2=low + span, ratio=ratio, mode=int(grid["mode"]))
    # By its definition: a pixel whose place in the period lies on a bar, in a canvas 1.5 times as large.
    draw = Rng(seed).np
    draw.random_sample()
    period = draw.randint(low, low + span)
    starts = draw.randint(period), draw.randint(period)
    bar = int(period * ratio + 0.5)
    places = (np.arange(side) + (int(1.5 * side) - side) // 2 for side in (height, width))
    on_row, on_column = ((place - start) % period < bar for place, start in zip(places, starts))
    covered = on_row[:, None] | on_column[None, :]
    expected = np.where((~covered if grid["mode"] else covered)[..., None], np.float32(0), picture)
    given_ = np.ascontiguousarray(picture.transpose(2, 0, 1)) if chw else picture
    found = op(given_, Rng(seed))
    np.testing.assert_array_equal(found.transpose(1, 2, 0) if chw else found, expected)


@given(prob=st.floats(0, 1), seed=st.integers(0, 1000))
def test_gridmask_masks_as_often_as_it_says(prob: float, seed: int) -> None:
    op = OPS["GridMask"](d1=4, d2=5, prob=prob)
    picture = np.full((16, 16, 3), 7, np.uint8)
    masked = sum(bool((op(picture, Rng(seed * 100 + each)) == 0).any()) for each in range(100))
    assert abs(masked - 100 * prob) <= 25
