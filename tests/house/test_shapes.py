"""The drawn picture set: only the form tells the class, and the folder is what it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import RandomState
from numpy.typing import NDArray

from ppghost.errors import DataError, OutputError
from ppghost.vision.shapes import CLASSES, draw
from tests.conftest import PictureSet
from tools.make_shapes_dataset import Recipe, main, make_set

TRAIN, VAL, SIZE = 60, 40, 48
CHANCE = 1 / len(CLASSES)


@pytest.fixture(scope="module")
def drawn() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pictures [classes, TRAIN + VAL, SIZE, SIZE, 3] of every class."""
    pictures = [
        [draw(name, SIZE, RandomState([label, index])) for index in range(TRAIN + VAL)]
        for label, name in enumerate(CLASSES)
    ]
    return np.asarray(pictures, np.float32), np.arange(len(CLASSES))


def accuracy_of_nearest_mean(features: NDArray[np.float64]) -> float:
    """Return the accuracy of a nearest-mean classifier on features [classes, pictures, D]."""
    means = features[:, :TRAIN].mean(1)
    distances = np.linalg.norm(features[:, TRAIN:, None] - means, axis=-1)
    return float((distances.argmin(-1) == np.arange(len(CLASSES))[:, None]).mean())


def accuracy_of_neighbours(features: NDArray[np.float64], k: int = 5) -> float:
    """Return the accuracy of a vote of the k nearest training pictures."""
    train = features[:, :TRAIN].reshape(-1, features.shape[-1])
    labels = np.repeat(np.arange(len(CLASSES)), TRAIN)
    distances = np.linalg.norm(features[:, TRAIN:, None] - train, axis=-1)
    votes = labels[distances.argsort(-1)[..., :k]]
    counts = (votes[..., None] == np.arange(len(CLASSES))).sum(-2)
    return float((counts.argmax(-1) == np.arange(len(CLASSES))[:, None]).mean())


def mean_colours(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(pictures.mean((2, 3)), np.float64)


def centroids(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return where the picture differs from its median colour: mean x and y, weighted by the difference."""
    difference = np.abs(pictures - np.median(pictures, axis=(2, 3), keepdims=True)).sum(-1).astype(np.float64)
    weights = difference / difference.sum((2, 3), keepdims=True)
    line = np.arange(SIZE)
    return np.stack([(weights.sum(2) * line).sum(-1), (weights.sum(3) * line).sum(-1)], -1)


@pytest.mark.parametrize("feature", [mean_colours, centroids])
@pytest.mark.parametrize("accuracy", [accuracy_of_nearest_mean, accuracy_of_neighbours])
def test_colour_and_position_do_not_tell_the_class(drawn, feature, accuracy) -> None:
    assert len(CLASSES) >= 10
    assert accuracy(feature(drawn[0])) < 2.5 * CHANCE


def test_a_picture_depends_on_its_generator_alone() -> None:
    first, second = (draw("spiral", 64, RandomState(3)) for _ in range(2))
    assert first.dtype == np.uint8
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, draw("spiral", 64, RandomState(4)))


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(DataError, match="disc"):
        draw("disk", 64, RandomState(0))
    with pytest.raises(DataError, match="31"):
        draw("disc", 31, RandomState(0))


def recipe(**changes: object) -> Recipe:
    options = {"classes": ("ring", "dots"), "train_per_class": 3, "val_per_class": 2, "size": 32}
    return Recipe(**{**options, "seed": 1, "quality": 90, **changes})  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_set_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    assert make_set(recipe(), tmp_path / "one", workers=1)
    assert make_set(recipe(), tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert make_set(recipe(seed=2), tmp_path / "other")
    assert content(tmp_path / "other") != content(tmp_path / "one")


def test_lists_and_labels_are_paddleclas_format(tiny_shapes: PictureSet) -> None:
    for path, count in ((tiny_shapes.train_list, 8), (tiny_shapes.val_list, 3)):
        lines = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
        assert len(lines) == count * len(tiny_shapes.class_names)
        for name, label in lines:
            assert tiny_shapes.class_names[int(label)] == Path(name).parent.name
            assert cv2.imread(str(tiny_shapes.root / name)).shape == (32, 32, 3)
    labels = tiny_shapes.labels.read_text(encoding="utf-8").splitlines()
    assert labels == [f"{i} {name}" for i, name in enumerate(tiny_shapes.class_names)]


def test_training_and_validation_pictures_differ(tiny_shapes: PictureSet) -> None:
    pictures = [p.read_bytes() for p in tiny_shapes.root.rglob("*.jpg")]
    assert len(set(pictures)) == len(pictures)


def test_the_same_set_is_drawn_once(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    assert make_set(recipe(), folder)
    picture = folder / "train" / "ring" / "00000.jpg"
    written = picture.stat().st_mtime_ns
    assert not make_set(recipe(), folder)
    assert picture.stat().st_mtime_ns == written
    picture.unlink()
    with pytest.raises(OutputError, match="--replace"):
        make_set(recipe(), folder)
    assert make_set(recipe(), folder, replace=True)
    assert picture.is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_foreign_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    code = main(["--output", str(tmp_path), "--train-per-class", "1", "--val-per-class", "1", "--replace"])
    assert code == 2
    assert "left alone" in capsys.readouterr().err
    assert mine.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--classes", "stars"], "star"),
        (["--classes", "star", "star"], "twice"),
        (["--size", "8"], "--size"),
        (["--train-per-class", "0"], "--train-per-class"),
        (["--quality", "101"], "--quality"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    assert main(["--output", str(tmp_path / "set"), *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
