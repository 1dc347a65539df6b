"""Classifying: order, batches, broken pictures, and the same answers whatever way a picture comes in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np
import paddle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paddle import nn
from toys import CLASS_NUM, LABELS, PIPELINE, export_toy

from ppghost.artifact import Artifact
from ppghost.errors import ArtifactError, DataError, GhostError
from ppghost.export.paddle import NetworkPredictor
from ppghost.predict import Classifier, list_pictures, score_pictures
from ppghost.vision import Labels, Pipeline, softmax


class Means:
    """A network of three classes: the mean of each channel. Remembers how many pictures came at once."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []
        self.is_open = True

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.float32
        assert images.flags.c_contiguous
        self.batch_sizes.append(len(images))
        return images.mean(axis=(2, 3))

    def __enter__(self) -> Means:
        return self

    def __exit__(self, *exception: object) -> None:
        self.is_open = False


PLAIN = Pipeline.from_list(
    [
        {"DecodeImage": None},
        {"ResizeImage": {"size": 8}},
        {"NormalizeImage": {"mean": [0, 0, 0], "std": [1, 1, 1], "order": ""}},
    ]
)


def picture(colour: tuple[int, int, int], size: int = 20) -> bytes:
    image = np.full((size, size + 4, 3), colour[::-1], np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


RED, GREEN, BLUE = (picture(colour) for colour in ((250, 0, 9), (0, 250, 9), (9, 0, 250)))
SOURCES = {"r": (RED, 0), "g": (GREEN, 1), "b": (BLUE, 2), "0": (b"", None), "x": (b"no picture", None)}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("rgb0x", max_size=20), st.integers(1, 6))
def test_every_picture_has_its_own_answer(kinds: str, batch_size: int) -> None:
    predictor = Means()
    with Classifier(predictor, PLAIN, topk=9) as classifier:
        answers = list(classifier.classify((SOURCES[kind][0] for kind in kinds), batch_size=batch_size))
    assert [answer.predictions[0].class_id if answer.predictions else None for answer in answers] == [
        SOURCES[kind][1] for kind in kinds
    ]
    assert all(bool(answer.failure) == (not answer.predictions) for answer in answers)
    assert all(len(answer.predictions) in (0, 3) for answer in answers)
    assert sum(predictor.batch_sizes) == sum(kind in "rgb" for kind in kinds)
    assert max(predictor.batch_sizes, default=0) <= batch_size
    assert not predictor.is_open


@pytest.mark.parametrize("kinds", ["r" * 100, "x" * 100, "rx" * 50])
def test_memory_does_not_grow_with_the_number_of_pictures(kinds: str) -> None:
    taken = 0

    def count() -> Iterator[bytes]:
        nonlocal taken
        for kind in kinds:
            taken += 1
            yield SOURCES[kind][0]

    for given_out, _ in enumerate(score_pictures(Means(), PLAIN, count(), batch_size=4), start=1):
        assert taken - given_out <= 16


def test_pictures_of_different_shapes_do_not_meet_in_silence() -> None:
    pipeline = Pipeline.from_list([{"DecodeImage": None}, {"NormalizeImage": {"order": ""}}])
    sources = [picture((1, 2, 3), 20), picture((1, 2, 3), 30)]
    with pytest.raises(DataError, match="different shapes.*CropImage"):
        list(score_pictures(Means(), pipeline, sources, batch_size=2))
    assert len(list(score_pictures(Means(), pipeline, sources, batch_size=1))) == 2
    with pytest.raises(ValueError, match="batch_size"):
        list(score_pictures(Means(), pipeline, sources, batch_size=0))


def test_paths_bytes_and_arrays_give_the_same(shipped: Artifact, tmp_path: Path) -> None:
    data = picture((10, 200, 30), 50)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    array = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    with Classifier.from_artifact(shipped.folder, engine="native", threads=1) as classifier:
        answers = [classifier.classify_one(source) for source in (path, str(path), data, array)]
        [answer] = classifier.classify([path])
    assert answers[0] == answers[1] == answers[2] == answers[3] == answer.predictions
    assert [prediction.label for prediction in answers[0]] == [
        LABELS.names[prediction.class_id] for prediction in answers[0]
    ]
    result = answer.to_dict()
    assert result["file_name"] == str(path)
    assert list(result) == ["class_ids", "scores", "file_name", "label_names"]
    assert result["scores"] == sorted(result["scores"], reverse=True)


@pytest.mark.parametrize("has_softmax", [True, False])
def test_the_answer_is_that_of_the_network(toy: nn.Layer, tmp_path: Path, has_softmax: bool) -> None:
    data = picture((200, 100, 30), 50)
    export_toy(toy, tmp_path / "inference", softmax=has_softmax)
    with paddle.no_grad(), NetworkPredictor(toy) as network:
        expected = softmax(network(PIPELINE.to_chw(data)[None]))[0]
        in_memory = Classifier(network, PIPELINE, LABELS, gives_logits=True).classify_one(data)
    with Classifier.from_artifact(tmp_path / "inference", topk=99) as classifier:
        predictions = classifier.classify_one(data)
    assert [prediction.class_id for prediction in predictions] == np.argsort(-expected).tolist()
    assert [prediction.score for prediction in predictions] == pytest.approx(sorted(expected)[::-1], abs=1e-6)
    assert [p.class_id for p in in_memory] == [p.class_id for p in predictions[:5]]


def test_one_broken_picture_is_an_error(shipped: Artifact, tmp_path: Path) -> None:
    with Classifier.from_artifact(shipped.folder, threads=1) as classifier:
        with pytest.raises(DataError, match=r"missing\.jpg: .*No such file"):
            classifier.classify_one(tmp_path / "missing.jpg")
        with pytest.raises(DataError, match="The picture: "):
            classifier.classify_one(b"no picture")
        with pytest.raises(DataError, match="directory"):
            classifier.classify_one(tmp_path)


def test_what_from_artifact_refuses(shipped: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no folder"):
        Classifier.from_artifact(tmp_path / "nowhere")
    with pytest.raises(GhostError, match="Did you mean 'native'"):
        Classifier.from_artifact(shipped.folder, engine="nativ")


def test_labels_of_another_network_are_an_error() -> None:
    with pytest.raises(DataError, match="no name for class"):
        Classifier(Means(), PLAIN, Labels({0: "only"})).classify_one(BLUE)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder as PaddleClas would search it."""
    for name in ("b.jpg", "a.JPEG", "deep/er/c.Png", "deep/d.bmp", "e.txt", "jpg", "deep/f.webp", ".g.jpg"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(RED)
    return tmp_path / "tree"


def names(paths: list[Path], root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


def test_a_folder_is_searched_to_its_depths(tree: Path) -> None:
    assert names(list_pictures(tree), tree) == [".g.jpg", "a.JPEG", "b.jpg", "deep/d.bmp", "deep/er/c.Png"]
    assert list_pictures(str(tree / "b.jpg")) == [tree / "b.jpg"]
    assert list_pictures(tree / "e.txt") == [tree / "e.txt"]  # named on purpose: decoding decides


def test_a_folder_that_cannot_be_read_is_not_passed_over(tree: Path) -> None:
    closed = tree / "deep" / "er"
    closed.chmod(0)
    if os.access(closed, os.R_OK):
        pytest.skip("this user may read every folder: run the tests as another one than root")
    with pytest.raises(DataError, match="er' cannot be read"):
        list_pictures(tree)


def test_a_list_names_pictures_with_or_without_labels(tree: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("b.jpg 3\n\ndeep/d.bmp\nmy cat.jpg 12\nmy dog.jpg\n  a.JPEG  7 \n山羊.jpg 1\n")
    expected = ["a.JPEG", "b.jpg", "deep/d.bmp", "my cat.jpg", "my dog.jpg", "山羊.jpg"]
    assert names(list_pictures(tree, listed), tree) == expected


@pytest.mark.parametrize(
    ("source", "listed", "sentence"),
    [
        ("nowhere", None, "no picture or folder"),
        ("x" * 300, None, "no picture or folder"),
        ("tree/jpg/..", "nowhere.txt", "cannot be read"),
        ("empty", None, r"no picture in .*\.jpg, \.jpeg"),
        ("empty", "empty.txt", r"no picture in .*empty\.txt"),
    ],
)
def test_nothing_to_classify_is_an_error(
    tmp_path: Path, source: str, listed: Optional[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match=sentence):
        list_pictures(tmp_path / source, None if listed is None else tmp_path / listed)


def test_real_photographs(imagenet_samples: Any, toy: nn.Layer, shipped: Artifact) -> None:
    """Fifty photographs, in batches through both forms, against the network one by one."""
    photographs = list_pictures(imagenet_samples.root)[:50]
    with NetworkPredictor(toy) as network:
        expected = [softmax(network(PIPELINE.to_chw(path.read_bytes())[None]))[0] for path in photographs]
    for form in ("json", "pdmodel"):
        options = {"model_format": form, "threads": 1, "topk": CLASS_NUM}
        with Classifier.from_artifact(shipped.folder, **options) as classifier:
            answers = list(classifier.classify(photographs, batch_size=8))
        assert [answer.source for answer in answers] == [str(path) for path in photographs]
        for answer, row in zip(answers, expected):
            scores = {prediction.class_id: prediction.score for prediction in answer.predictions}
            assert [scores[index] for index in range(CLASS_NUM)] == pytest.approx(row.tolist(), abs=1e-6)
