"""Classifying: order, batches, broken pictures, and the same answers whatever way a picture comes in."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
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
from ppghost.predict import (
    Classifier,
    Scored,
    count_pictures,
    find_pictures,
    list_pictures,
    score_pictures,
    sorted_in_portions,
)
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


class ClonableMeans(Means):
    """The same network for several threads: each clone notes who calls it."""

    def __init__(self, family: Optional[list[ClonableMeans]] = None) -> None:
        super().__init__()
        self.family = [] if family is None else family
        self.family.append(self)
        self.callers: set[int] = set()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.callers.add(threading.get_ident())
        return super().__call__(images)

    def clone(self) -> ClonableMeans:
        return ClonableMeans(self.family)


def working_threads() -> int:
    return sum(thread.name.startswith("ppghost") for thread in threading.enumerate())


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
@given(st.text("rgb0x", max_size=20), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_every_picture_has_its_own_answer(
    kinds: str, batch_size: int, workers: int, is_clonable: bool
) -> None:
    predictor = ClonableMeans() if is_clonable else Means()
    sources = (SOURCES[kind][0] for kind in kinds)
    with Classifier(predictor, PLAIN, topk=9) as classifier:
        answers = list(classifier.classify(sources, batch_size=batch_size, workers=workers))
    assert [answer.predictions[0].class_id if answer.predictions else None for answer in answers] == [
        SOURCES[kind][1] for kind in kinds
    ]
    assert all(bool(answer.failure) == (not answer.predictions) for answer in answers)
    assert all(len(answer.predictions) in (0, 3) for answer in answers)
    family = predictor.family if isinstance(predictor, ClonableMeans) else [predictor]
    batch_sizes = [size for member in family for size in member.batch_sizes]
    assert sum(batch_sizes) == sum(kind in "rgb" for kind in kinds)
    assert max(batch_sizes, default=0) <= batch_size
    assert not any(member.is_open for member in family)
    assert not working_threads()


def test_each_worker_has_a_predictor_of_its_own() -> None:
    predictor = ClonableMeans()
    assert len(list(score_pictures(predictor, PLAIN, [RED] * 200, workers=3))) == 200
    original, *clones = predictor.family
    assert not original.callers, "it may have other threads than the clones"
    assert len(clones) == 3
    assert all(len(clone.callers) <= 1 for clone in clones)
    assert original.is_open
    assert not any(clone.is_open for clone in clones)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kinds", ["r" * 100, "x" * 100, "rx" * 50])
def test_memory_does_not_grow_with_the_number_of_pictures(kinds: str, workers: int) -> None:
    taken = 0

    def count() -> Iterator[bytes]:
        nonlocal taken
        for kind in kinds:
            taken += 1
            yield SOURCES[kind][0]

    scored = score_pictures(Means(), PLAIN, count(), batch_size=4, workers=workers)
    for given_out, _ in enumerate(scored, start=1):
        assert taken - given_out <= 4 * 2 * workers


class Faulty(ClonableMeans):
    """Fails at the green picture."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if images[0, 1, 0, 0] > 0.5:
            raise GhostError("green")
        return super().__call__(images)

    def clone(self) -> Faulty:
        return Faulty(self.family)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failure_of_the_network_comes_in_its_place_and_ends_the_threads(workers: int) -> None:
    predictor = Faulty()
    given_out: list[Scored] = []
    with pytest.raises(GhostError, match="green"):
        given_out.extend(score_pictures(predictor, PLAIN, [RED] * 7 + [GREEN] + [BLUE] * 90, workers=workers))
    assert not working_threads()
    assert not any(clone.is_open for clone in predictor.family[1:])


@pytest.mark.parametrize("predictor", [Means(), ClonableMeans()], ids=["one", "clones"])
def test_a_generator_that_is_closed_ends_its_threads(predictor: Means) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield RED

    scored = score_pictures(predictor, PLAIN, endless(), workers=3)
    next(scored)
    assert working_threads()
    scored.close()
    assert not working_threads()
    assert taken <= 7
    if isinstance(predictor, ClonableMeans):
        assert not any(clone.is_open for clone in predictor.family[1:])


def test_a_failing_source_ends_the_threads() -> None:
    def sources() -> Iterator[bytes]:
        yield from [RED] * 5
        raise DataError("The folder is gone.")

    with pytest.raises(DataError, match="gone"):
        list(score_pictures(ClonableMeans(), PLAIN, sources(), workers=2))
    assert not working_threads()


def test_pictures_of_different_shapes_do_not_meet_in_silence() -> None:
    pipeline = Pipeline.from_list([{"DecodeImage": None}, {"NormalizeImage": {"order": ""}}])
    sources = [picture((1, 2, 3), 20), picture((1, 2, 3), 30)]
    with pytest.raises(DataError, match="different shapes.*CropImage"):
        list(score_pictures(Means(), pipeline, sources, batch_size=2))
    assert len(list(score_pictures(Means(), pipeline, sources, batch_size=1))) == 2
    with pytest.raises(ValueError, match="batch_size"):
        list(score_pictures(Means(), pipeline, sources, batch_size=0))
    with pytest.raises(ValueError, match="workers"):
        list(score_pictures(Means(), pipeline, sources, workers=0))


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


def test_names_are_found_sorted_whatever_the_portion(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "a.jpg").mkdir()  # a folder that is called like a picture
    (tree / "a.jpg" / "z.jpg").write_bytes(RED)
    (tree / "loop").symlink_to(tree)
    (tree / "link.jpg").symlink_to(tree / "deep")
    (tree / "seen.jpg").symlink_to(tree / "b.jpg")
    (tree / "self.jpg").symlink_to("self.jpg")
    os.close(os.open(os.path.join(os.fsencode(tree), b"my \xff.jpg"), os.O_CREAT))
    everything = [Path(root, name) for root, _, files in os.walk(tree) for name in files]
    expected = sorted(path for path in everything if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp"))
    assert len(expected) == 9
    assert list(find_pictures(tree)) == expected
    assert count_pictures(tree) == len(expected)
    monkeypatch.setattr("ppghost.predict.sorted_in_portions.__defaults__", (2,))
    assert list(find_pictures(tree)) == expected


@given(st.sets(st.integers()), st.integers(1, 9))
def test_portions_are_the_sorted_whole(items: set[int], size: int) -> None:
    reads = 0

    def read() -> Iterable[int]:
        nonlocal reads
        reads += 1
        return iter(items)

    assert list(sorted_in_portions(read, size)) == sorted(items)
    assert reads <= len(items) // size + 1


def test_a_list_may_name_a_picture_twice(tree: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"b.jpg 1\nb.jpg 2\nmy \xff.jpg\n")
    assert names(list_pictures(tree, listed), tree) == ["b.jpg", "b.jpg", os.fsdecode(b"my \xff.jpg")]
    assert count_pictures(tree, listed) == 3


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


class Echo(ClonableMeans):
    """Gives back what it gets."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1)

    def clone(self) -> Echo:
        return Echo(self.family)


def test_the_network_sees_what_the_pipeline_gives_to_the_last_bit(imagenet_samples: Any) -> None:
    pipeline = Pipeline.from_list(
        [
            {"DecodeImage": None},
            {"ResizeImage": {"resize_short": 256}},
            {"CropImage": {"size": 224}},
            {"NormalizeImage": {"order": ""}},
        ]
    )
    photographs = list_pictures(imagenet_samples.root)[:40]
    scored = score_pictures(Echo(), pipeline, photographs, batch_size=3, workers=3)
    for path, one in zip(photographs, scored):
        assert one.output is not None
        np.testing.assert_array_equal(one.output, pipeline.to_chw(path.read_bytes()).ravel())


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
