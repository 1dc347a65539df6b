"""List files for folders of pictures: every picture once, labels by sorted names, broken ones reported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.make_list_files import main

PICTURE = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()


def put(root: Path, *names: str, content: bytes = PICTURE) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def entries(path: Path) -> list[tuple[str, int]]:
    lines = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    return [(name, int(label)) for name, label in lines]


def test_folder_per_class_is_split_class_by_class(tmp_path: Path) -> None:
    every = [f"{name}/{i}.png" for name, count in (("b", 20), ("a", 10), ("c", 2)) for i in range(count)]
    root = tmp_path / "set"
    put(root, *every, "a/notes.txt")
    assert main([str(root), "--val-ratio", "0.2", "--seed", "3"]) == 0
    train, val = entries(root / "train_list.txt"), entries(root / "val_list.txt")
    assert sorted(name for name, _ in train + val) == sorted(every)
    assert Counter(label for _, label in val) == {0: 2, 1: 4, 2: 1}
    assert {name[0]: label for name, label in train + val} == {"a": 0, "b": 1, "c": 2}
    assert (root / "labels.txt").read_text(encoding="utf-8") == "0 a\n1 b\n2 c\n"
    assert main([str(root), "--val-ratio", "0.2", "--seed", "3", "--output", str(tmp_path / "x")]) == 0
    assert entries(tmp_path / "x" / "val_list.txt") == val
    assert main([str(root), "--val-ratio", "0.2", "--seed", "4", "--output", str(tmp_path / "y")]) == 0
    assert entries(tmp_path / "y" / "val_list.txt") != val


def test_train_and_val_folders_keep_their_split(tmp_path: Path) -> None:
    put(tmp_path, "train/n02/x.JPEG", "train/n01/y.JPEG", "train/n03/z.JPEG", "val/n03/v.JPEG")
    assert main([str(tmp_path)]) == 0
    assert entries(tmp_path / "train_list.txt") == [
        ("train/n01/y.JPEG", 0),
        ("train/n02/x.JPEG", 1),
        ("train/n03/z.JPEG", 2),
    ]
    assert entries(tmp_path / "val_list.txt") == [("val/n03/v.JPEG", 2)]


@pytest.mark.parametrize(
    ("truth", "synsets", "expected"),
    [
        ("2\n1\n", None, [1, 0]),
        ("2\n1\n", "n02\nn01\n", [0, 1]),
        ("1.JPEG 1\n0.JPEG 0\n", None, [1, 0]),
    ],
)
def test_flat_validation_with_ground_truth(
    tmp_path: Path, truth: str, synsets: str | None, expected: list[int]
) -> None:
    put(tmp_path, "train/n02/x.JPEG", "train/n01/y.JPEG", "val/0.JPEG", "val/1.JPEG")
    (tmp_path / "truth.txt").write_text(truth)
    arguments = [str(tmp_path), "--val-truth", str(tmp_path / "truth.txt")]
    if synsets is not None:
        (tmp_path / "synsets.txt").write_text(synsets)
        arguments += ["--truth-synsets", str(tmp_path / "synsets.txt")]
    assert main(arguments) == 0
    assert [label for _, label in entries(tmp_path / "val_list.txt")] == expected


def test_broken_pictures_are_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png")
    put(tmp_path, "b/broken.png", content=PICTURE[:20])
    assert main([str(tmp_path)]) == 2
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "train_list.txt").exists()
    assert main([str(tmp_path), "--drop-broken"]) == 0
    named = entries(tmp_path / "train_list.txt") + entries(tmp_path / "val_list.txt")
    assert len(named) == 5
    assert "b/broken.png" not in dict(named)


@pytest.mark.parametrize(
    ("files", "arguments", "complaint"),
    [
        ((), (), "no folder"),
        (("a/0.png", "b/x.txt"), (), "holds no picture"),
        (("a/0.png", "a/1.png", "b/0.png"), (), "only picture"),
        (("a/my cat.png", "a/1.png"), (), "blank"),
        (("train/a/0.png",), (), "no val/"),
        (("train/a/0.png", "val/0.png"), (), "--val-truth"),
        (("train/a/0.png", "val/b/0.png"), (), "not among the training classes"),
        (("train/a/0.png", "val/0.png", "truth.txt"), ("--val-truth", "truth.txt"), "truth.txt"),
    ],
)
def test_unfit_folders_are_explained(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    files: tuple[str, ...],
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    put(tmp_path, *files)
    monkeypatch.chdir(tmp_path)
    assert main([".", *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.glob("*_list.txt"))


def test_truth_out_of_step_with_the_pictures_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "train/a/0.png", "val/0.png", "val/1.png")
    truth = tmp_path / "truth.txt"
    for text, complaint in (
        ("1\n", "1 lines"),
        ("1\n2\n", "1 to 1"),
        ("0.png 1\n", "0 to 0"),
        ("9.png 0\n", "9.png"),
    ):
        truth.write_text(text)
        assert main([str(tmp_path), "--val-truth", str(truth)]) == 2
        assert complaint in capsys.readouterr().err
