"""Unlabelled pictures: copies of validation pictures are found, what is odd is told, lists are right."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppghost.artifact import Artifact
from ppghost.data.lists import read_list
from ppghost.data.near import HashIndex, NearDuplicates, codes_of, thumbnail
from ppghost.data.unlabelled import most_confident
from tests.conftest import PictureSet
from tools.make_unlabelled_list import main

Edit = Callable[[np.ndarray], np.ndarray]


def cropped(top: float, bottom: float, left: float, right: float) -> Edit:
    def edit(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return image[round(height * top) : round(height * bottom), round(width * left) : round(width * right)]

    return edit


def recompressed(image: np.ndarray) -> np.ndarray:
    decoded: np.ndarray = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], 1)
    return decoded


EDITS: dict[str, Edit] = {
    "resized": lambda image: cv2.resize(image, None, fx=0.4, fy=0.5),
    "recompressed": recompressed,
    "mirrored": lambda image: image[:, ::-1],
    "corner": cropped(0.0, 0.9, 0.0, 0.9),
    "middle": cropped(0.05, 0.95, 0.05, 0.95),
    "top cut": cropped(0.1, 1.0, 0.0, 1.0),
    "all at once": lambda image: recompressed(cropped(0.03, 0.97, 0.02, 0.96)(image[:, ::-1])),
}


def noise(seed: int, side: int = 96) -> np.ndarray:
    """Return a picture of soft blots, `uint8 [side, side, 3]`."""
    random = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    blots: np.ndarray = cv2.resize(random, (side, side), interpolation=cv2.INTER_CUBIC)
    return blots


def put(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


@pytest.mark.parametrize("name", EDITS)
def test_copies_are_found(name: str) -> None:
    originals = [noise(seed) for seed in range(30)]
    finder = NearDuplicates(np.stack([thumbnail(image) for image in originals]))
    for index, image in enumerate(originals):
        match = finder.find(thumbnail(np.ascontiguousarray(EDITS[name](image))))
        assert match is not None
        assert match.index == index
        assert match.is_mirrored == (name in ("mirrored", "all at once"))


@pytest.mark.parametrize("name", EDITS)
def test_originals_of_copies_are_found(name: str) -> None:
    """The validation picture may be the one that was edited."""
    copies = np.stack([thumbnail(np.ascontiguousarray(EDITS[name](noise(seed)))) for seed in range(20)])
    matches = [NearDuplicates(copies).find(thumbnail(noise(seed))) for seed in range(20)]
    assert [match and match.index for match in matches] == list(range(20))


def test_other_pictures_are_not_taken_for_copies() -> None:
    finder = NearDuplicates(np.stack([thumbnail(noise(seed)) for seed in range(60)]))
    assert not any(finder.find(thumbnail(noise(seed))) for seed in range(100, 160))


def test_pictures_of_one_colour_are_copies_of_each_other_alone() -> None:
    grey = np.full((64, 64), 90, np.uint8)
    assert NearDuplicates(grey[None]).find(grey) is not None
    assert NearDuplicates(grey[None]).find(thumbnail(noise(1))) is None
    assert NearDuplicates(np.empty((0, 64, 64), np.uint8)).find(grey) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 15), st.integers(0, 2**32), st.integers(1, 200))
def test_the_index_finds_what_a_plain_search_finds(threshold: int, seed: int, count: int) -> None:
    chance = np.random.default_rng(seed)
    codes = chance.integers(0, 2**64, count, np.uint64)
    flips = np.array(
        [sum(1 << int(bit) for bit in chance.choice(64, n, False)) for n in range(20)], np.uint64
    )
    queries = np.append(codes[chance.integers(0, count, 20)] ^ flips, codes[:1])
    plain = [
        (q, c, bits)
        for q, query in enumerate(queries.tolist())
        for c, code in enumerate(codes.tolist())
        if (bits := bin(query ^ code).count("1")) <= threshold
    ]
    found = HashIndex(codes, threshold).find(queries)
    assert list(zip(*(part.tolist() for part in found))) == plain


def test_codes_do_not_depend_on_brightness() -> None:
    thumb = thumbnail(noise(3))
    assert codes_of(thumb) == codes_of((thumb * 0.5 + 20).astype(np.uint8)) or (
        bin(int(codes_of(thumb)[0] ^ codes_of((thumb * 0.5 + 20).astype(np.uint8))[0])).count("1") <= 2
    )


@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.1, 0.5, 0.9])), max_size=40), st.integers(1, 5)
)
def test_the_most_confident_of_each_class(answers: list[tuple[int, float]], per_class: int) -> None:
    expected = [
        index
        for index, (label, score) in enumerate(answers)
        if sum(
            other == label and (better > score or (better == score and place < index))
            for place, (other, better) in enumerate(answers)
        )
        < per_class
    ]
    classes, scores = (np.array([answer[part] for answer in answers]) for part in (0, 1))
    assert most_confident(classes, scores, per_class).tolist() == expected


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two labelled pictures, three of validation, and an `extra` folder with eight that are new."""
    for name, seeds in (
        ("train", range(10, 12)),
        ("val", range(3)),
        ("extra/b", range(20, 24)),
        ("extra/a", range(24, 28)),
    ):
        for seed in seeds:
            put(tmp_path / name / f"{seed}.png", noise(seed))
    # no end to the last line, as editors leave it
    (tmp_path / "train_list.txt").write_text("train/10.png 0\ntrain/11.png 1")
    (tmp_path / "val_list.txt").write_text("val/0.png 0\nval/1.png 1\nval/2.png 2\n")
    return tmp_path


def run(root: Path, *options: str, folder: str = "extra") -> int:
    lists = [f"--{name}-list={root / name}_list.txt" for name in ("train", "val")]
    return main([str(root / folder), f"--image-root={root}", *lists, "--jobs=2", *options])


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


NEW = [f"extra/{name}.png 0" for name in ("a/24", "a/25", "a/26", "a/27", "b/20", "b/21", "b/22", "b/23")]


def test_lists_are_mixed_as_paddleclas_mixes_them(root: Path) -> None:
    assert run(root) == 0
    assert lines(root / "train_list_unlabel.txt") == NEW
    assert lines(root / "train_list_all.txt") == ["train/10.png 0", "train/11.png 1", *NEW]
    assert len(read_list(str(root / "train_list_all.txt"), str(root))) == 10
    assert not (root / "removed_pairs.jpg").exists()


def test_what_is_left_out_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = root / "extra"
    put(extra / "copy.jpg", EDITS["all at once"](noise(1)))
    put(extra / "with blank.png", noise(31))
    put(extra / "line\nbreak.png", noise(32))
    put(extra / "z山羊.png", noise(33))
    (extra / "z_again.png").write_bytes((extra / "a" / "24.png").read_bytes())
    (extra / "torn.jpg").write_bytes((extra / "copy.jpg").read_bytes()[:200])
    (extra / "none.png").write_bytes(b"")
    (extra / "read.me").write_text("notes")
    (extra / "z_link.png").symlink_to(root / "extra" / "b" / "20.png")
    (extra / "lost.png").symlink_to(root / "nowhere.png")
    (extra / "loop").symlink_to(extra)
    assert run(root) == 0
    assert lines(root / "train_list_unlabel.txt") == [*NEW, "extra/z山羊.png 0"]
    report = json.loads((root / "unlabelled.json").read_text(encoding="utf-8"))
    assert report["counts"] == {
        "pictures": 17,
        "labelled_already": 0,
        "names_no_list_can_hold": 2,
        "broken": 3,
        "near_duplicates_of_validation": 1,
        "repeated_files": 2,
        "not_among_the_best_of_their_class": 0,
        "unlabelled": 9,
        "labelled": 2,
        "other_files": 1,
        "links_to_folders": 1,
    }
    (near,) = report["near_duplicates_of_validation"]
    assert (near["name"], near["shows"], near["mirrored"]) == ("extra/copy.jpg", "val/1.png", True)
    assert {one["name"]: one["same_as"] for one in report["repeated_files"]} == {
        "extra/z_again.png": "extra/a/24.png",
        "extra/z_link.png": "extra/b/20.png",
    }
    assert [one["name"] for one in report["broken"]] == ["extra/lost.png", "extra/none.png", "extra/torn.jpg"]
    assert cv2.imread(str(root / "removed_pairs.jpg")).shape[2] == 3
    told = capsys.readouterr().out
    assert (root / "unlabelled.txt").read_text(encoding="utf-8") in told + "\n"
    assert "extra/none.png: The picture file is empty" in told


def test_links_to_themselves_and_pipes_are_told(root: Path) -> None:
    extra = root / "extra"
    (extra / "knot").symlink_to(extra / "knot")
    (extra / "knot.png").symlink_to("knot.png")
    os.mkfifo(extra / "pipe.png")
    put(extra / "dot.png", noise(41, side=1))
    lists = root / "train_list.txt"
    lists.write_bytes(lists.read_bytes().replace(b"\n", b"\r\n"))
    assert run(root) == 0
    report = json.loads((root / "unlabelled.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in report["broken"]] == ["extra/knot.png", "extra/pipe.png"]
    assert report["counts"]["other_files"] == 1
    assert lines(root / "train_list_unlabel.txt") == [*NEW, "extra/dot.png 0"]
    whole = read_list(str(root / "train_list_all.txt"), str(root))
    assert (len(whole), whole.name(2)) == (11, "extra/a/24.png")


def test_tabs_let_names_have_blanks(root: Path) -> None:
    for name in ("train", "val"):
        path = root / f"{name}_list.txt"
        path.write_text(path.read_text().replace(" ", "\t"))
    put(root / "extra" / "with blank.png", noise(31))
    assert run(root, "--delimiter=\\t") == 0
    pictures = read_list(str(root / "train_list_all.txt"), str(root), delimiter="\t")
    assert pictures.name(len(pictures) - 1) == "extra/with blank.png"


def test_labelled_pictures_are_not_listed_twice(root: Path) -> None:
    assert run(root, "--output", str(root / "lists"), folder=".") == 0
    names = [line.split(" ")[0] for line in lines(root / "lists" / "train_list_all.txt")]
    assert Counter(names) == Counter(["train/10.png", "train/11.png", *(line.split(" ")[0] for line in NEW)])
    report = json.loads((root / "lists" / "unlabelled.json").read_text())
    assert report["counts"]["labelled_already"] == 2
    assert report["counts"]["near_duplicates_of_validation"] == 3


def test_a_teacher_chooses(root: Path, tiny_teacher: Artifact) -> None:
    from ppghost.predict import Classifier

    with Classifier.from_artifact(tiny_teacher.folder, topk=1) as classifier:
        paths = [root / line.split(" ")[0] for line in NEW]
        answers = [answer.predictions[0] for answer in classifier.classify(paths)]
    best = most_confident(
        np.array([one.class_id for one in answers]), np.array([one.score for one in answers]), 1
    )
    assert run(root, f"--teacher={tiny_teacher.folder}", "--per-class=1") == 0
    assert lines(root / "train_list_unlabel.txt") == [NEW[index] for index in best]
    assert 0 < len(best) < len(NEW)
    report = json.loads((root / "unlabelled.json").read_text())
    assert report["per_class"] == {str(c): 1 for c in sorted({answers[i].class_id for i in best})}


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An exported toy network of three classes."""
    from tests.export.toys import export_toy, make_toy

    return export_toy(make_toy(1), tmp_path_factory.mktemp("teacher") / "inference")


def test_results_are_not_written_over(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root) == 0
    first = (root / "train_list_all.txt").read_bytes()
    put(root / "extra" / "one_more.png", noise(40))
    assert run(root) == 2
    assert "--replace" in capsys.readouterr().err
    assert (root / "train_list_all.txt").read_bytes() == first
    assert run(root, "--replace") == 0
    assert len(lines(root / "train_list_all.txt")) == 11


def spoil_nothing(root: Path) -> None:
    """Leave everything as it is."""


def empty_folder(root: Path) -> None:
    (root / "empty").mkdir()


def only_text(root: Path) -> None:
    (root / "empty").mkdir()
    (root / "empty" / "a.txt").write_text("x")


def listed_twice(root: Path) -> None:
    (root / "val_list.txt").write_text("val/0.png 0\nval/0.png 0\n")


def broken_validation(root: Path) -> None:
    (root / "val" / "1.png").write_bytes(b"no picture")


def only_copies(root: Path) -> None:
    put(root / "empty" / "copy.png", noise(0))


@pytest.mark.parametrize(
    ("spoil", "folder", "options", "words"),
    [
        (empty_folder, "empty", (), "no picture to use: 0 files"),
        (only_text, "empty", (), "no picture to use: 1 files"),
        (spoil_nothing, "missing", (), "is no folder"),
        (spoil_nothing, "..", (), "outside of"),
        (listed_twice, "extra", (), "stands in line 1"),
        (broken_validation, "extra", (), "val/1.png"),
        (only_copies, "empty", (), "Not one picture"),
        (spoil_nothing, "extra", ("--per-class=3",), "go together"),
        (spoil_nothing, "extra", ("--output=/dev/null/lists",), "/dev/null/lists"),
        (spoil_nothing, "extra", ("--train-list=nowhere.txt",), "'nowhere.txt' does not exist"),
        (spoil_nothing, "extra", ("--image-root=/nowhere",), "does not exist"),
        (spoil_nothing, "extra", ("--teacher=.", "--per-class=3"), "."),
    ],
)
def test_bad_input_is_told(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    folder: str,
    options: tuple[str, ...],
    words: str,
) -> None:
    spoil(root)
    assert run(root, *options, folder=folder) == 2
    assert words in capsys.readouterr().err
    assert not (root / "train_list_unlabel.txt").exists()


@pytest.mark.parametrize(
    "option", ["--per-class=0", "--per-class=-1", "--jobs=0", "--similarity=2", "--bits=16"]
)
def test_numbers_out_of_range_are_refused(
    option: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(root, option)
    assert ended.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_a_list_that_is_read_is_not_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train_list_all.txt").write_text("train/10.png 0\n")
    arguments = [str(root / "extra"), f"--image-root={root}", f"--train-list={root / 'train_list_all.txt'}"]
    assert main([*arguments, "--replace"]) == 2
    assert "both read and written" in capsys.readouterr().err


def test_a_teacher_of_other_classes(
    root: Path, tiny_teacher: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "train_list.txt").write_text("train/10.png 999\n")
    assert run(root, f"--teacher={tiny_teacher.folder}", "--per-class=1") == 2
    assert "it is of other data" in capsys.readouterr().err


def test_photographs(imagenet_samples: PictureSet) -> None:
    """Of fifty photographs every copy is found, and no other photograph is taken for one."""
    paths = sorted((imagenet_samples.root / "images").iterdir())[:100]
    images = [cv2.imread(os.fspath(path))[..., ::-1] for path in paths]
    finder = NearDuplicates(np.stack([thumbnail(image) for image in images[:50]]))
    for edit in EDITS.values():
        found = [finder.find(thumbnail(np.ascontiguousarray(edit(image)))) for image in images[:50]]
        assert [match and match.index for match in found] == list(range(50))
    assert not any(finder.find(thumbnail(image)) for image in images[50:])
