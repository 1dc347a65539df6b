"""Pictures to predictions, whatever runs the network.

    with Classifier.from_artifact("inference", engine="native") as classifier:
        for result in classifier.classify(list_pictures(Path("photos")), batch_size=8):
            ...

A predictor is the network: `float32 [N, 3, H, W]` to `float32 [N, class_num]`. A classifier puts the pipeline
before it and the labels behind it.

A folder of pictures goes through `workers` threads: each reads, decodes and prepares a batch and runs it on a
predictor of its own, while the caller's thread gives batches out and takes the answers in, in order. Reading,
OpenCV and the engines work without Python's lock, so the threads share the processors and nothing else. At
most two batches a worker are under way, and the names of a folder are held in portions, so memory does not
grow with the number of pictures.

Ground: never paddle; an engine's own packages are imported by its target.
"""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from threading import local
from types import TracebackType
from typing import Any, Callable, Optional, Protocol, TypeVar, Union, runtime_checkable

import numpy as np

from ppghost.artifact import read_artifact
from ppghost.errors import DataError
from ppghost.vision import Labels, Pipeline, Prediction, softmax, to_results, top_k
from ppghost.vision.decode import read_picture

Source = Union[str, Path, bytes, np.ndarray]
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
# How many names of one folder are held at once: about 20 MB. A larger folder is read once for each portion.
NAMES_AT_ONCE = 1 << 17

Item = TypeVar("Item")
Given = TypeVar("Given")
Made = TypeVar("Made")


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


@runtime_checkable
class ClonablePredictor(Predictor, Protocol):
    """A predictor that can serve several threads, each with a clone."""

    def clone(self) -> Predictor:
        """Return another predictor of the same network, with one thread.

        It shares the weights, and is released by itself.
        """
        ...


@runtime_checkable
class NamedPredictor(Predictor, Protocol):
    """A predictor that tells what runs it.

    Attributes:
        engine: what users call it: "ghost", "onednn".
        precision: the numbers that it computes with: "fp32", "bf16".
    """

    engine: str
    precision: str


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


@dataclass(frozen=True, eq=False)
class _Batch:
    """Pictures that go through the network at once.

    Attributes:
        names: of all pictures, in order.
        failures: of all pictures, why one could not be read; None where it could.
        images: `float32 [N, 3, H, W]` of those that could; None where there is none.
    """

    names: list[str]
    failures: list[Optional[str]]
    images: Optional[np.ndarray]


def score_pictures(
    predictor: Predictor,
    pipeline: Pipeline,
    sources: Iterable[Source],
    *,
    batch_size: int = 1,
    workers: int = 1,
) -> Generator[Scored, None, None]:
    """Yield the network's output for each picture, in order.

    With several workers each runs its own clone of a `ClonablePredictor`; the clones are released at the end,
    the predictor itself is not used. A predictor that has no clones runs in the caller's thread, and the
    workers prepare pictures for it. Closing the generator, or an exception in it, ends the workers.

    Args:
        predictor: the network.
        pipeline: from picture to one row of its input.
        sources: paths of picture files, their bytes, or arrays `uint8 [H, W, 3] RGB`; taken one by one, in
            the caller's thread.
        batch_size: how many pictures go through the network at once, the broken ones counted in.
        workers: how many threads work; 1 means the caller's own and no other.

    Raises:
        DataError: the pipeline gives pictures of different shapes and they meet in one batch.
        ValueError: `batch_size` or `workers` is below 1.
    """
    for name, number in (("batch_size", batch_size), ("workers", workers)):
        if number < 1:
            raise ValueError(f"{name} is {number}; accepted: at least 1.")
    iterator = iter(sources)
    batches = iter(lambda: list(islice(iterator, batch_size)), [])
    if workers == 1:
        for batch in batches:
            yield from _score(predictor, _prepare(pipeline, batch))
    elif isinstance(predictor, ClonablePredictor):
        with _clones(predictor, workers) as own:
            for scored in in_order(lambda batch: _score(own(), _prepare(pipeline, batch)), batches, workers):
                yield from scored
    else:
        for prepared in in_order(lambda batch: _prepare(pipeline, batch), batches, workers):
            yield from _score(predictor, prepared)


def in_order(work: Callable[[Given], Made], items: Iterable[Given], workers: int) -> Iterator[Made]:
    """Yield `work(item)` of each item, in order, computed by `workers` threads.

    At most two items a worker are taken ahead. The first exception of `work`, in order, is raised here. When
    the generator is closed, what is waiting is dropped and what is running is waited for.
    """
    pending: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="ppghost") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) == 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def _clones(predictor: ClonablePredictor, count: int) -> Iterator[Callable[[], Predictor]]:
    """Yield a function that gives each of `count` threads its own predictor, always the same one."""
    with ExitStack() as stack:
        free: SimpleQueue[Predictor] = SimpleQueue()
        for _ in range(count):
            free.put(stack.enter_context(predictor.clone()))
        taken = local()

        def own() -> Predictor:
            if not hasattr(taken, "predictor"):
                taken.predictor = free.get_nowait()
            result: Predictor = taken.predictor
            return result

        yield own


def _prepare(pipeline: Pipeline, sources: list[Source]) -> _Batch:
    """Return the pictures as rows of one array; a broken one is left out, and why is noted."""
    names = ["" if isinstance(source, (bytes, np.ndarray)) else str(source) for source in sources]
    failures: list[Optional[str]] = []
    rows: list[np.ndarray] = []
    for source in sources:
        try:
            picture = source if isinstance(source, (bytes, np.ndarray)) else read_picture(source)
            rows.append(pipeline.to_chw(picture))
            failures.append(None)
        except DataError as error:
            failures.append(str(error))
    shapes = {row.shape for row in rows}
    if len(shapes) > 1:
        raise DataError(
            f"Pictures of one batch have different shapes after the pipeline: {sorted(shapes)}. "
            "Put a CropImage at the pipeline's end, or use batch_size 1."
        )
    images = np.stack(rows) if len(rows) > 1 else rows[0][np.newaxis] if rows else None
    return _Batch(names, failures, images)


def _score(predictor: Predictor, batch: _Batch) -> list[Scored]:
    outputs = iter(() if batch.images is None else predictor(batch.images))
    return [
        Scored(name, next(outputs) if failure is None else None, failure)
        for name, failure in zip(batch.names, batch.failures)
    ]


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

    def classify(
        self, sources: Iterable[Source], *, batch_size: int = 1, workers: int = 1
    ) -> Iterator[Classified]:
        """Yield the answer for each picture, in order; a broken picture's answer says what is wrong with it.

        Args and raises as in `score_pictures`.
        """
        for scored in score_pictures(
            self.predictor, self.pipeline, sources, batch_size=batch_size, workers=workers
        ):
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
    """Return the paths that `find_pictures` yields. For a folder of millions take that one."""
    return list(find_pictures(source, list_file))


def find_pictures(source: Union[str, Path], list_file: Optional[Union[str, Path]] = None) -> Iterator[Path]:
    """Return an iterator over the sorted paths of the pictures that a user means, as PaddleClas finds them.

    Folders are read while it goes on; of the names in one folder, or of the lines in a list, a bounded number
    is held, however many there are.

    Args:
        source: a picture file; or a folder, searched to its depths for .jpg, .jpeg, .png and .bmp in any
            case; or the folder that the paths of `list_file` are relative to.
        list_file: a file with one path a line; a label behind the path is left out.

    Raises:
        DataError: `source` or `list_file` is missing, or there is no picture, all told at once; a folder
            cannot be read, told when it is reached.
    """
    source = Path(source)
    if list_file is not None:
        numbered = sorted_in_portions(lambda: _listed_names(Path(list_file)))
        found: Iterator[Path] = (source.joinpath(*parts) for parts, _ in numbered)
    elif os.path.isdir(source):
        found = _walk(source)
    elif os.path.exists(source):
        return iter([source])
    else:
        raise DataError(f"There is no picture or folder '{source}'. Give the path of either.")
    first = next(found, None)
    if first is None:
        accepted = ", ".join(PICTURE_SUFFIXES)
        raise DataError(f"There is no picture in '{list_file or source}'. Accepted in a folder: {accepted}.")
    return chain([first], found)


def count_pictures(source: Union[str, Path], list_file: Optional[Union[str, Path]] = None) -> int:
    """Return how many paths `find_pictures` yields, in less time than it takes; args and raises as there."""
    if list_file is not None:
        return sum(1 for _ in _listed_names(Path(list_file)))
    if not os.path.isdir(source):
        return 1
    return sum(
        count_pictures(os.path.join(source, name)) if is_folder else 1 for name, is_folder in _entries(source)
    )


def sorted_in_portions(read: Callable[[], Iterable[Item]], size: int = NAMES_AT_ONCE) -> Iterator[Item]:
    """Yield what `read` gives, sorted, holding at most `size` items at once.

    Args:
        read: gives all items, no two of them equal; called once for each portion.
        size: the length of a portion, at least 1.
    """
    portion: list[Any] = heapq.nsmallest(size, read())
    while portion:
        yield from portion
        last = portion[-1]
        is_last = len(portion) < size
        portion = [] if is_last else heapq.nsmallest(size, (item for item in read() if item > last))


def _walk(folder: Path) -> Iterator[Path]:
    for name, is_folder in sorted_in_portions(lambda: _entries(folder)):
        if is_folder:
            yield from _walk(folder / name)
        else:
            yield folder / name


def _entries(folder: Union[str, Path]) -> Iterator[tuple[str, bool]]:
    """Yield the names of pictures and folders in a folder, and whether each is a folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, True
                elif _is_named_like_picture(entry.name) and not _leads_to_folder(entry):
                    yield entry.name, False
    except OSError as error:
        raise DataError(f"The folder '{folder}' cannot be read: {error.strerror}.") from error


def _is_named_like_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES


def _leads_to_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:  # a link to itself: whoever reads it says so of the link, not of the folder
        return False


def _listed_names(list_file: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the path of each line, as its parts so that it sorts as paths do, and the line's number."""
    try:
        with list_file.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                line = os.fsdecode(raw).strip()
                name, _, label = line.rpartition(" ")
                if line:
                    yield Path(name.strip() if name and label.isdecimal() else line).parts, number
    except OSError as error:
        raise DataError(f"The list '{list_file}' cannot be read: {error.strerror or error}.") from error
