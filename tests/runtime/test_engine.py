"""The engine computes what a program says: against definitions in float64, by every instruction set."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppghost.errors import ArtifactError, GhostError, ToolMissingError
from ppghost.native import find_compiler
from ppghost.runtime import GhostPredictor
from ppghost.runtime.library import load_engine
from tests.runtime.programs import Sketch, bottleneck


def has_compiler() -> bool:
    try:
        find_compiler()
    except ToolMissingError:
        return False
    return True


pytestmark = pytest.mark.skipif(
    not has_compiler(), reason="no C compiler to build the engine: install gcc, or set CC"
)
FEW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEEDS = st.integers(0, 999)
SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))
ACTIVATIONS = st.sampled_from(["none", "relu"])


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def instructions(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    sketch = Sketch(0)
    sketch.dense(sketch.mean(sketch.conv("stem", 0, 2, 3, 2, "relu")), 2, "none")
    try:
        with GhostPredictor(*sketch.write(tmp_path), instructions=request.param) as predictor:
            used = predictor.facts.instructions.decode()
    except ArtifactError:
        used = ""
    if used != request.param:
        pytest.skip(f"this processor has no {request.param}")
    return str(request.param)


def draw_images(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).randn(*shape).astype("float32")


def check(sketch: Sketch, images: np.ndarray, folder: Path, **options: Any) -> np.ndarray:
    """Run a program, compare with its definition, return what came."""
    with GhostPredictor(*sketch.write(folder), **options) as predictor:
        found = predictor(images)
    expected = sketch.expected(images)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max() + 1e-7
    return found


@FEW
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)),
    channels=st.integers(1, 40),
    activation=ACTIVATIONS,
)
def test_stem(
    seed: int, shape: tuple[int, ...], channels: int, activation: str, instructions: str, tmp_path: Path
) -> None:
    sketch = Sketch(seed, shape[1], cut=seed % 2 == 0)
    value = sketch.conv("stem", 0, channels, 3, 2, activation)
    sketch.dense(sketch.mean(value), 3, "none")
    check(sketch, draw_images(seed, *shape), tmp_path, instructions=instructions)


@FEW
@given(
    seed=SEEDS,
    sides=SIDES,
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    channels=st.integers(1, 40),
    activation=ACTIVATIONS,
)
def test_depthwise(
    seed: int,
    sides: tuple[int, int],
    kernel: int,
    stride: int,
    channels: int,
    activation: str,
    instructions: str,
    tmp_path: Path,
) -> None:
    sketch = Sketch(seed, cut=seed % 2 == 0)
    value = sketch.conv("stem", 0, channels, 3, 2, "none")
    value = sketch.conv("depthwise", value, channels, kernel, stride, activation)
    # A second one, as the mean alone would not notice pixels in a wrong place.
    value = sketch.conv("depthwise", value, channels, 3, 1, "relu")
    sketch.dense(sketch.mean(value), 5, "none")
    check(sketch, draw_images(seed, 1, 3, *sides), tmp_path, instructions=instructions)


@FEW
@given(
    seed=SEEDS,
    sides=SIDES,
    channels=st.integers(1, 70),
    out=st.integers(1, 70),
    activation=ACTIVATIONS,
)
def test_pointwise(
    seed: int,
    sides: tuple[int, int],
    channels: int,
    out: int,
    activation: str,
    instructions: str,
    tmp_path: Path,
) -> None:
    sketch = Sketch(seed, cut=seed % 2 == 0)
    value = sketch.conv("stem", 0, channels, 3, 2, "relu")
    value = sketch.conv("pointwise", value, out, 1, 1, activation)
    value = sketch.conv("depthwise", value, out, 3, 2, "relu")
    sketch.softmax(sketch.dense(sketch.mean(value), 4, "none", order="io"))
    check(sketch, draw_images(seed, 2, 3, *sides), tmp_path, instructions=instructions)


@FEW
@given(
    seed=SEEDS,
    sides=SIDES,
    half=st.integers(1, 20),
    blocks=st.lists(
        st.tuples(
            st.integers(1, 40),
            st.integers(1, 20),
            st.sampled_from([3, 5]),
            st.sampled_from([1, 2]),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_bottlenecks(
    seed: int,
    sides: tuple[int, int],
    half: int,
    blocks: list[tuple[int, int, int, int, bool]],
    instructions: str,
    tmp_path: Path,
) -> None:
    sketch = Sketch(seed, cut=seed % 2 == 0)
    value = bottleneck(sketch, sketch.conv("stem", 0, 2 * half, 3, 2, "relu"), half, half, 3, 1, False)
    for hidden, out, kernel, stride, has_gate in blocks:
        value = bottleneck(sketch, value, hidden, out, kernel, stride, has_gate)
    sketch.dense(sketch.dense(sketch.mean(value), 33, "relu"), 7, "none")
    images = draw_images(seed, 1 + seed % 3, 3, *sides)
    one = check(sketch, images, tmp_path, instructions=instructions)
    many = check(sketch, images, tmp_path, instructions=instructions, threads=1 + seed % 4)
    np.testing.assert_array_equal(one, many)


def large_sketch() -> Sketch:
    """A program whose first maps are so large that they are made row by row, by every number of threads."""
    sketch = Sketch(5)
    value = bottleneck(sketch, sketch.conv("stem", 0, 12, 3, 2, "relu"), 6, 6, 3, 1, False)
    value = bottleneck(sketch, value, 20, 10, 3, 2, False)
    value = bottleneck(sketch, value, 40, 12, 5, 2, True)
    sketch.dense(sketch.mean(value), 10, "none")
    return sketch


@pytest.mark.parametrize("sides", [(230, 221), (500, 33), (33, 501)])
def test_rows_at_the_seams_are_made_right_by_any_number_of_threads(
    sides: tuple[int, int], tmp_path: Path
) -> None:
    images = draw_images(1, 2, 3, *sides)
    results = [check(large_sketch(), images, tmp_path, threads=threads) for threads in (1, 2, 3, 5)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_a_batch_gives_what_its_pictures_give(tmp_path: Path) -> None:
    images = draw_images(2, 37, 3, 40, 33)
    sketch = large_sketch()
    for threads in (1, 2, 3):
        with GhostPredictor(*sketch.write(tmp_path), threads=threads) as predictor:
            together = predictor(images)
            singly = np.concatenate([predictor(image[None]) for image in images])
            np.testing.assert_array_equal(together, singly)
            assert predictor(images[:0]).shape == (0, 10)


def test_another_size_needs_no_new_predictor(tmp_path: Path) -> None:
    sketch = large_sketch()
    with GhostPredictor(*sketch.write(tmp_path), threads=2) as predictor:
        for sides in [(64, 64), (250, 31), (1, 1), (64, 64)]:
            images = draw_images(3, 1, 3, *sides)
            np.testing.assert_allclose(predictor(images), sketch.expected(images), rtol=1e-4, atol=1e-5)


def test_a_view_that_is_not_contiguous_is_read_right(tmp_path: Path) -> None:
    images = draw_images(4, 2, 40, 30, 3).transpose(0, 3, 1, 2)
    check(large_sketch(), images, tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_the_scores_of_its_picture_alone(value: float, tmp_path: Path) -> None:
    images = draw_images(6, 3, 3, 40, 40)
    images[1, 1, 20, 20] = value
    with GhostPredictor(*large_sketch().write(tmp_path)) as predictor:
        scores = predictor(images)
    assert np.isfinite(scores[[0, 2]]).all()
    assert not np.isfinite(scores[1]).all()


def test_clones_work_side_by_side_and_outlive_the_first(tmp_path: Path) -> None:
    images = draw_images(7, 4, 3, 90, 90)
    sketch = large_sketch()
    first = GhostPredictor(*sketch.write(tmp_path))
    expected = first(images)
    clones = [first.clone(threads) for threads in (1, 2, 1, 3)]
    first.__exit__()
    found: list[list[np.ndarray]] = [[] for _ in clones]

    def run(number: int) -> None:
        for _ in range(5):
            found[number].append(clones[number](images))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(clones))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, expected) for results in found for result in results)
    assert [len(results) for results in found] == [5] * len(clones)
    for clone in clones:
        clone.__exit__()
    with pytest.raises(GhostError, match="released"):
        clones[0](images)


def has_bf16() -> bool:
    return has_compiler() and bool(load_engine().ghost_has_bf16())


needs_bf16 = pytest.mark.skipif(
    not has_bf16(),
    reason="no AMX tiles in this processor or system: a Xeon from 2023 on and Linux 5.16 or later",
)


def rounded(array: np.ndarray) -> np.ndarray:
    """Return float32 values rounded to bfloat16, as float32."""
    bits = array.astype("float32").view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@needs_bf16
@FEW
@given(seed=SEEDS, sides=SIDES, half=st.integers(17, 70), out=st.integers(1, 40), has_gate=st.booleans())
def test_bf16_rounds_weights_and_inputs_of_products_and_nothing_else(
    seed: int, sides: tuple[int, int], half: int, out: int, has_gate: bool, tmp_path: Path
) -> None:
    sketch = Sketch(seed, cut=seed % 2 == 0)
    value = sketch.ghost(sketch.conv("stem", 0, 6, 3, 2, "relu"), half, 3, "relu")
    gate = sketch.gate(value, 9) if has_gate else None
    value = sketch.ghost(value, out, 3, "none", gate, sketch.conv("pointwise", value, 2 * out, 1, 1, "none"))
    sketch.dense(sketch.mean(value), 5, "none")
    images = draw_images(seed, 1 + seed % 2, 3, *sides)
    files = sketch.write(tmp_path)
    with GhostPredictor(*files, precision="bf16") as one, one.clone(3) as many:
        found = one(images)
        np.testing.assert_array_equal(found, many(images))
    expected = sketch.expected(images)
    # A product's factors have 8 bits; the errors of so many of them do not add up in one direction.
    assert np.abs(found - expected).max() <= 2e-2 * np.abs(expected).max() + 1e-3


@needs_bf16
def test_bf16_sums_exactly_what_it_has_rounded(tmp_path: Path) -> None:
    sketch = Sketch(8)
    images = draw_images(8, 3, 3, 1, 1)
    sketch.dense(sketch.dense(sketch.mean(sketch.conv("stem", 0, 40, 3, 2, "relu")), 70, "relu"), 33, "none")
    stem, first, last = sketch.computes[0], sketch.arrays[2], sketch.arrays[4]
    with GhostPredictor(*sketch.write(tmp_path), precision="bf16") as predictor:
        found = predictor(images)
    features = stem([images.astype("float64")]).mean((2, 3))
    hidden = np.maximum(features @ rounded(first).T.astype("float64") + sketch.arrays[3], 0)
    expected = hidden @ rounded(last).T.astype("float64") + sketch.arrays[5]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_bf16_is_refused_where_it_is_not_to_be_had(tmp_path: Path) -> None:
    files = large_sketch().write(tmp_path)
    with pytest.raises((ArtifactError, ToolMissingError), match="AMX"):
        GhostPredictor(*files, precision="bf16", instructions="avx2")


def test_what_is_not_accepted_is_said(tmp_path: Path) -> None:
    files = large_sketch().write(tmp_path)
    with pytest.raises(GhostError, match=r"0 threads.*1 to 256"):
        GhostPredictor(*files, threads=0)
    with pytest.raises(GhostError, match="fp32, bf16"):
        GhostPredictor(*files, precision="fp8")
    with pytest.raises(ArtifactError, match="avx512, avx2, baseline"):
        GhostPredictor(*files, instructions="mmx")
    with pytest.raises(ArtifactError, match=r"nowhere\.ghost cannot be read"):
        GhostPredictor(tmp_path / "nowhere.ghost", files[1])
    with GhostPredictor(*files) as predictor:
        for images in (
            np.zeros((3, 8, 8), "float32"),
            np.zeros((1, 4, 8, 8), "float32"),
            np.zeros((1, 3, 8, 8)),
        ):
            with pytest.raises(GhostError, match=r"float32 \[N, 3, H, W\]"):
                predictor(images)
        with pytest.raises(GhostError, match=r"1 to 16384"):
            predictor(np.zeros((1, 3, 0, 8), "float32"))


def test_a_machine_without_compiler_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ToolMissingError, match="no-such-compiler.*gcc"):
        load_engine(tmp_path)
    assert shutil.which("no-such-compiler") is None
