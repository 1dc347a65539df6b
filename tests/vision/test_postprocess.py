"""From network output to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppghost.errors import DataError
from ppghost.offline.scoring import best_classes
from ppghost.vision import POSTPROCESS, Labels, Prediction, softmax, to_results, top_k

LOGITS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-50, 50, width=32)
)


@settings(deadline=None)
@given(logits=LOGITS, shift=st.floats(-1000, 1000))
def test_softmax_is_a_distribution_and_ignores_a_shift(logits: np.ndarray, shift: float) -> None:
    probabilities = softmax(logits.astype(np.float64))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(softmax(logits.astype(np.float64) + shift), probabilities, atol=1e-9)
    assert softmax(logits).dtype == np.float32


@settings(deadline=None)
@given(logits=LOGITS, k=st.integers(1, 12))
def test_top_k_equals_sorting_by_hand(logits: np.ndarray, k: int) -> None:
    for row, found in zip(logits, top_k(logits, k)):
        by_hand = sorted(row.tolist(), reverse=True)[:k]
        assert [prediction.score for prediction in found] == by_hand
        assert all(row[prediction.class_id] == prediction.score for prediction in found)
        assert len({prediction.class_id for prediction in found}) == min(k, len(row))


def test_of_equal_classes_paddleclas_names_the_higher_one_and_scorers_count_the_lower_one() -> None:
    # PaddleClas' own line, and that of the scorers, with a sort that keeps the order of equals.
    for row in np.random.RandomState(0).randint(0, 3, (50, 12)).astype(np.float32):
        [named] = top_k(row[np.newaxis], 5)
        assert [one.class_id for one in named] == row.argsort(axis=0, kind="stable")[-5:][::-1].tolist()
        assert best_classes(row) == np.argsort(-row, kind="stable")[:5].tolist()


def test_results_have_the_form_of_paddleclas() -> None:
    rows = [[Prediction(2, "old cat", 0.7654321), Prediction(0, "dog", 0.2)]]
    assert to_results(rows, ["a.jpg"]) == [
        {
            "class_ids": [2, 0],
            "scores": [0.76543, 0.2],
            "file_name": "a.jpg",
            "label_names": ["old cat", "dog"],
        }
    ]
    assert to_results([[Prediction(1, None, 1.0)]]) == [
        {"class_ids": [1], "scores": [1.0], "label_names": []}
    ]
    with pytest.raises(ValueError, match="2 file names for 1 pictures"):
        to_results(rows, ["a", "b"])


def test_label_files_are_read_with_spaces_and_delimiters(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0 tench, Tinca tinca\n1 great white  shark\n\n7 x\n", encoding="utf-8")
    labels = Labels.read(path)
    assert [labels.name_of(index) for index in (0, 1, 7)] == ["tench, Tinca tinca", "great white  shark", "x"]
    assert len(labels) == 3
    path.write_text("0\tred fox\n", encoding="utf-8")
    assert Labels.read(path, "\t").name_of(0) == "red fox"
    path.write_bytes("0 狐狸\r\n1 猫".encode("gbk"))
    assert Labels.read(path).name_of(1) == "猫"


@pytest.mark.parametrize("text", ["cat 0\n", "0 a\n0 b\n", "-1 a\n"])
def test_a_line_that_is_no_label_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=r"labels.txt:[12]: .*accepted"):
        Labels.read(path)


def test_missing_labels_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the label file"):
        Labels.read(tmp_path / "absent.txt")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xff\xff")
    with pytest.raises(DataError, match="neither UTF-8 nor GBK"):
        Labels.read(binary)
    with pytest.raises(DataError, match="no name for class 3"):
        top_k(np.eye(4, dtype=np.float32), 1, Labels({0: "a", 1: "b", 2: "c"}))


def test_topk_reads_logits() -> None:
    logits = np.array([[1.0, 3.0, 2.0]], np.float32)
    [result] = POSTPROCESS["Topk"](topk=5)(logits, ["a"], Labels({0: "x", 1: "y", 2: "z"}))
    assert result["class_ids"] == [1, 2, 0]
    assert result["label_names"] == ["y", "z", "x"]
    assert result["scores"] == [0.66524, 0.24473, 0.09003]


@pytest.mark.parametrize(("logits", "class_id", "name"), [([0.0, 3.0], 1, "yes"), ([0.0, 0.1], 0, "no")])
def test_threshold_decides(logits: list[float], class_id: int, name: str) -> None:
    op = POSTPROCESS["ThreshOutput"](threshold=0.9, label_0="no", label_1="yes")
    [result] = op(np.array([logits], np.float32), ["a"])
    assert (result["class_ids"], result["label_names"], result["file_name"]) == ([class_id], [name], "a")
    assert result["scores"] == pytest.approx([softmax(np.array(logits))[class_id]], abs=1e-6)


def test_score_output_rounds() -> None:
    [result] = POSTPROCESS["ScoreOutput"](decimal_places=2)(np.array([[0.123, 5.678]]))
    assert result == {"scores": [0.12, 5.68]}


@pytest.mark.parametrize(
    ("name", "params"),
    [("Topk", {"topk": 0}), ("ThreshOutput", {"threshold": 2}), ("ScoreOutput", {"decimal_places": -1})],
)
def test_bad_parameter_is_refused(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        POSTPROCESS[name](**params)
