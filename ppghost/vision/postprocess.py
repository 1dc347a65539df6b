"""From network output to predictions: softmax, top-k, labels. NumPy in, plain values out; never paddle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from ppghost.errors import DataError
from ppghost.registry import Registry
from ppghost.vision.checks import check_range, check_whole


@dataclass(frozen=True)
class Prediction:
    """One class of one picture.

    Attributes:
        class_id: 0 to C - 1.
        label: its name; None where no labels are known.
        score: its probability, 0 to 1.
    """

    class_id: int
    label: Optional[str]
    score: float


@dataclass(frozen=True)
class Labels:
    """The names of the classes.

    Attributes:
        names: class id -> name.
        source: where they were read, for messages.
    """

    names: Mapping[int, str]
    source: str = "the labels"

    @classmethod
    def read(cls, path: Union[str, Path], delimiter: Optional[str] = None) -> Labels:
        """Read a file of lines "id name", UTF-8 or else GBK; a name may contain spaces.

        Args:
            path: the file.
            delimiter: what parts id and name; None means one space.

        Raises:
            DataError: the file cannot be read, or a line does not begin with a number, or an id comes twice.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise DataError(f"Cannot read the label file '{path}': {error.strerror or error}.") from error
        names: dict[int, str] = {}
        for number, line in enumerate(_decode(data, path).splitlines(), start=1):
            if not line.strip():
                continue
            text, _, name = line.partition(delimiter or " ")
            if not text.strip().isdecimal() or int(text) in names:
                raise DataError(
                    f"{path}:{number}: {line!r} is no new label; accepted: a class id of its own, "
                    f"{delimiter or ' '!r} and a name on each line."
                )
            names[int(text)] = name.strip()
        return cls(names, str(path))

    def name_of(self, class_id: int) -> str:
        """Return the name of a class.

        Raises:
            DataError: there is none; the labels belong to another network.
        """
        if class_id not in self.names:
            raise DataError(
                f"{self.source} has no name for class {class_id} ({len(self.names)} names): "
                "give the label file that belongs to this network."
            )
        return self.names[class_id]

    def __len__(self) -> int:
        return len(self.names)


def _decode(data: bytes, path: Union[str, Path]) -> str:
    for encoding in ("utf-8-sig", "gbk"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"The label file '{path}' is neither UTF-8 nor GBK text.")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of the same shape and float dtype; the last axis sums to 1."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def top_k(probabilities: np.ndarray, k: int, labels: Optional[Labels] = None) -> list[list[Prediction]]:
    """Return the `k` most probable classes of each picture, most probable first.

    Of classes with equal probabilities the one with the higher id comes first: so PaddleClas answers, which
    turns an ascending sort round (`argsort()[-k:][::-1]`; its sort of many classes leaves the order of equals
    open, ours does not). Everything that names classes goes by this order; what counts hits goes by that of
    `ppghost.offline.scoring.best_classes`.

    Args:
        probabilities: float [N, C].
        k: at least 1; cut to C.
        labels: names of the classes; None leaves them out.

    Raises:
        ValueError: `k` is below 1, or the shape is not [N, C].
        DataError: a class has no name in `labels`.
    """
    check_whole("k", k, 1)
    if probabilities.ndim != 2:
        raise ValueError(f"The probabilities are {list(probabilities.shape)}; accepted: [N, C].")
    order = np.argsort(probabilities, axis=1, kind="stable")[:, ::-1][:, :k]
    return [
        [
            Prediction(int(index), labels.name_of(int(index)) if labels else None, float(row[index]))
            for index in indexes
        ]
        for row, indexes in zip(probabilities, order)
    ]


def to_results(
    predictions: Sequence[Sequence[Prediction]], file_names: Optional[Sequence[str]] = None
) -> list[dict[str, Any]]:
    """Return PaddleClas' form: a dict per picture of class_ids, scores (5 decimals), file_name, label_names.

    Args:
        predictions: what `top_k` returns.
        file_names: one per picture; None leaves the key out.

    Raises:
        ValueError: there are not as many names as pictures.
    """
    return [
        {
            "class_ids": [prediction.class_id for prediction in row],
            "scores": np.around([prediction.score for prediction in row], decimals=5).tolist(),
            **named,
            "label_names": [prediction.label for prediction in row if prediction.label is not None],
        }
        for row, named in zip(predictions, _name_entries(len(predictions), file_names))
    ]


def _name_entries(count: int, file_names: Optional[Sequence[str]]) -> list[dict[str, str]]:
    """Return for each picture the entry `file_name`, or nothing where no names are given."""
    if file_names is None:
        return [{} for _ in range(count)]
    if len(file_names) != count:
        raise ValueError(f"There are {len(file_names)} file names for {count} pictures.")
    return [{"file_name": name} for name in file_names]


POSTPROCESS: Registry[type] = Registry("post-process")


@POSTPROCESS.add("Topk")
@dataclass(frozen=True)
class Topk:
    """Name the most probable classes.

    Attributes:
        topk: how many; cut to the number of classes.
        class_id_map_file: file of lines "id name"; the caller reads it with `Labels.read` and passes it on.
        delimiter: what parts id and name in that file; None means one space.
    """

    topk: int = 1
    class_id_map_file: Optional[str] = None
    delimiter: Optional[str] = None

    def __post_init__(self) -> None:
        check_whole("Topk.topk", self.topk, 1)

    def __call__(
        self, logits: np.ndarray, file_names: Optional[Sequence[str]] = None, labels: Optional[Labels] = None
    ) -> list[dict[str, Any]]:
        """Return one dict per row of `logits` [N, C], as `to_results` does."""
        return to_results(top_k(softmax(logits), self.topk, labels), file_names)


@POSTPROCESS.add("ThreshOutput")
@dataclass(frozen=True)
class ThreshOutput:
    """Decide between two classes by a threshold on the probability of the second.

    Attributes:
        threshold: from this probability on it is class 1.
        label_0: name of class 0.
        label_1: name of class 1.
    """

    threshold: float
    label_0: str = "0"
    label_1: str = "1"

    def __post_init__(self) -> None:
        check_range("ThreshOutput.threshold", self.threshold, 0, 1)

    def __call__(
        self, logits: np.ndarray, file_names: Optional[Sequence[str]] = None, labels: Optional[Labels] = None
    ) -> list[dict[str, Any]]:
        """Return one dict per row of `logits` [N, 2 or more]; `labels` are not asked.

        Raises:
            ValueError: there is only one class.
        """
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(f"ThreshOutput got logits {list(logits.shape)}; accepted: [N, 2].")
        results: list[dict[str, Any]] = []
        for score, named in zip(softmax(logits)[:, 1].tolist(), _name_entries(len(logits), file_names)):
            is_one = score >= self.threshold
            results.append(
                {
                    "class_ids": [int(is_one)],
                    "scores": [score if is_one else 1 - score],
                    "label_names": [self.label_1 if is_one else self.label_0],
                    **named,
                }
            )
        return results


@POSTPROCESS.add("ScoreOutput")
@dataclass(frozen=True)
class ScoreOutput:
    """Give the network's raw output, rounded; no softmax.

    Attributes:
        decimal_places: digits after the point.
    """

    decimal_places: int

    def __post_init__(self) -> None:
        check_whole("ScoreOutput.decimal_places", self.decimal_places, 0)

    def __call__(
        self, logits: np.ndarray, file_names: Optional[Sequence[str]] = None, labels: Optional[Labels] = None
    ) -> list[dict[str, Any]]:
        """Return one dict per row of `logits` [N, C] with `scores` as a list; `labels` are not asked."""
        scores = np.around(logits, self.decimal_places).tolist()
        return [
            {"scores": row, **named} for row, named in zip(scores, _name_entries(len(logits), file_names))
        ]
