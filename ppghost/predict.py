"""Pictures to predictions, whatever runs the network.

    with Classifier.from_artifact("inference", engine="native") as classifier:
        for result in classifier.classify(list_pictures(Path("photos")), batch_size=8):
            ...

A predictor is the network: `float32 [N, 3, H, W]` to `float32 [N, class_num]`. A classifier puts the pipeline
before it and the labels behind it. Ground: never paddle; an engine's own packages are imported by its target.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Protocol, Union

import numpy as np

from ppghost.artifact import read_artifact
from ppghost.errors import DataError
from ppghost.vision import Labels, Pipeline, Prediction, softmax, to_results, top_k

Source = Union[str, Path, bytes, np.ndarray]
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class Predictor(Protocol):
    """A network that is ready to run; a context manager that releases it.

    One predictor serves one thread at a time.
    """

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, class_num]` for `float32 [N, 3, H, W]`, RGB, normalised."""
        ...

    def __enter__(self) -> Predictor:
        """Return itself."""
        ...

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """Release the network."""
        ...


@dataclass(frozen=True, eq=False)
class Scored:
    """The network's output for one picture, or the reason why there is none.

    Attributes:
        source: the path as it was given; "" for bytes and arrays.
        output: `float32 [class_num]`; None for a broken picture.
        failure: why the picture could not be read; None if it could.
    """

    source: str
    output: Optional[np.ndarray]
    failure: Optional[str] = None


@dataclass(frozen=True)
class Classified:
    """The answer for one picture, or the reason why there is none.

    Attributes:
        source: the path as it was given; "" for bytes and arrays.
        predictions: best first; empty for a broken picture.
        failure: why the picture could not be read; None if it could.
    """

    source: str
    predictions: tuple[Prediction, ...]
    failure: Optional[str] = None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer in PaddleClas' form: class_ids, scores (5 decimals), file_name, label_names."""
        return to_results([self.predictions], [self.source])[0]


def score_pictures(
    predictor: Predictor, pipeline: Pipeline, sources: Iterable[Source], *, batch_size: int = 1
) -> Iterator[Scored]:
    """Yield the network's output for each picture, in order; memory holds one batch, however many there are.

    Args:
        predictor: the network.
        pipeline: from picture to one row of its input.
        sources: paths of picture files, their bytes, or arrays `uint8 [H, W, 3] RGB`.
        batch_size: how many pictures go through the network at once.

    Raises:
        DataError: the pipeline gives pictures of different shapes and they meet in one batch.
        ValueError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; accepted: at least 1.")
    names: list[str] = []
    rows: list[Union[np.ndarray, str]] = []  # a picture's tensor, or why there is none
    for source in sources:
        names.append("" if isinstance(source, (bytes, np.ndarray)) else str(source))
        try:
            rows.append(pipeline.to_chw(_load(source)))
        except DataError as error:
            rows.append(str(error))
        if sum(isinstance(row, np.ndarray) for row in rows) == batch_size or len(rows) == 4 * batch_size:
            yield from _score_batch(predictor, names, rows)
            names, rows = [], []
    yield from _score_batch(predictor, names, rows)


def _score_batch(
    predictor: Predictor, names: list[str], rows: list[Union[np.ndarray, str]]
) -> Iterator[Scored]:
    images = [row for row in rows if isinstance(row, np.ndarray)]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise DataError(
            f"Pictures of one batch have different shapes after the pipeline: {sorted(shapes)}. "
            "Put a CropImage at the pipeline's end, or use batch_size 1."
        )
    outputs = iter(predictor(np.stack(images)) if images else ())
    for name, row in zip(names, rows):
        yield Scored(name, None, row) if isinstance(row, str) else Scored(name, next(outputs))


def _load(source: Source) -> Union[bytes, np.ndarray]:
    if isinstance(source, (bytes, np.ndarray)):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"The picture cannot be read: {error.strerror or error}.") from error


class Classifier:
    """Names what is on a picture. A context manager that releases its predictor.

    Args:
        predictor: the network.
        pipeline: from picture to one row of its input.
        labels: names of the classes; None if they have none.
        topk: how many classes an answer names; cut to the number of classes.
        gives_logits: whether the predictor gives logits, so that softmax is computed here.
    """

    def __init__(
        self,
        predictor: Predictor,
        pipeline: Pipeline,
        labels: Optional[Labels] = None,
        topk: int = 5,
        *,
        gives_logits: bool = False,
    ) -> None:
        self.predictor = predictor
        self.pipeline = pipeline
        self.labels = labels
        self.topk = topk
        self._gives_logits = gives_logits

    @classmethod
    def from_artifact(
        cls, folder: Union[str, Path], *, topk: Optional[int] = None, **options: Any
    ) -> Classifier:
        """Return the classifier that an exported folder holds.

        Args:
            folder: the artifact.
            topk: how many classes an answer names; None takes the artifact's number.
            options: of the target's `open`, such as `engine` and `threads`.

        Raises:
            ArtifactError: the folder is no artifact, or a file of it is missing or was changed.
            ToolMissingError: the engine is not installed.
            GhostError: an option is not accepted.
        """
        # Not at the top: targets stand above this floor, and only an artifact says which one it needs.
        from ppghost.export.target import load_target

        artifact = read_artifact(Path(folder))
        predictor = load_target(artifact.facts.target).open(artifact, **options)
        return cls(
            predictor,
            artifact.pipeline,
            artifact.labels,
            artifact.topk if topk is None else topk,
            gives_logits=artifact.facts.output == "logits",
        )

    def classify(self, sources: Iterable[Source], *, batch_size: int = 1) -> Iterator[Classified]:
        """Yield the answer for each picture, in order; a broken picture's answer says what is wrong with it.

        Args and raises as in `score_pictures`.
        """
        for scored in score_pictures(self.predictor, self.pipeline, sources, batch_size=batch_size):
            if scored.output is None:
                yield Classified(scored.source, (), scored.failure)
            else:
                yield Classified(scored.source, self._predictions(scored.output))

    def classify_one(self, source: Source) -> tuple[Prediction, ...]:
        """Return the predictions for one picture, best first.

        Raises:
            DataError: the picture cannot be read.
        """
        [answer] = self.classify([source])
        if answer.failure is not None:
            raise DataError(f"{answer.source or 'The picture'}: {answer.failure}")
        return answer.predictions

    def __enter__(self) -> Classifier:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        """Release the network."""
        self.predictor.__exit__(kind, error, traceback)

    def _predictions(self, output: np.ndarray) -> tuple[Prediction, ...]:
        probabilities = softmax(output) if self._gives_logits else output
        return tuple(top_k(probabilities[np.newaxis], self.topk, self.labels)[0])


def list_pictures(source: Union[str, Path], list_file: Optional[Union[str, Path]] = None) -> list[Path]:
    """Return the sorted paths of the pictures that a user means, as PaddleClas finds them.

    Args:
        source: a picture file; or a folder, searched to its depths for .jpg, .jpeg, .png and .bmp in any
            case; or the folder that the paths of `list_file` are relative to.
        list_file: a file with one path a line; a label behind the path is left out.

    Raises:
        DataError: `source` or `list_file` is missing, a folder cannot be read, or there is no picture.
    """
    source = Path(source)
    if list_file is not None:
        pictures = [source / name for name in _listed_names(Path(list_file))]
    elif os.path.isdir(source):
        found = (Path(root, name) for root, _, names in os.walk(source, onerror=_refuse) for name in names)
        pictures = [path for path in found if path.suffix.lower() in PICTURE_SUFFIXES]
    elif os.path.exists(source):
        pictures = [source]
    else:
        raise DataError(f"There is no picture or folder '{source}'. Give the path of either.")
    if not pictures:
        accepted = ", ".join(PICTURE_SUFFIXES)
        raise DataError(f"There is no picture in '{list_file or source}'. Accepted in a folder: {accepted}.")
    return sorted(pictures)


def _refuse(error: OSError) -> None:
    raise DataError(f"The folder '{error.filename}' cannot be read: {error.strerror}.") from error


def _listed_names(list_file: Path) -> Iterator[str]:
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list '{list_file}' cannot be read: {error}.") from error
    for line in filter(None, map(str.strip, lines)):
        name, _, label = line.rpartition(" ")
        yield name.strip() if name and label.isdecimal() else line
