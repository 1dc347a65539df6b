"""What the verbs `infer`, `export` and `verify` do with pictures, labels and shipped folders.

Program: may print. Paddle is imported only when a network is built here; an artifact brings its own engine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.config import Config, shipped_file
from ppghost.errors import ConfigError, DataError
from ppghost.predict import Classifier, list_pictures, score_pictures
from ppghost.results import results_file
from ppghost.vision import Labels, Pipeline
from ppghost.vision.postprocess import Topk

_LOG = logging.getLogger(__name__)

# One answer: the picture's path, PaddleClas' result dict or None, and why there is none.
Answer = tuple[str, Optional[dict[str, Any]], Optional[str]]


def labels_of(config: Config) -> Optional[Labels]:
    """Return the class names that a configuration points to; None where it points to none.

    PaddleClas' recipes name a file of PaddleClas' own tree; where that is not there, the ImageNet names
    that come with ppghost stand in, and the log says so. Names that do not fit the number of classes are
    left out, and the log says that too.

    Raises:
        DataError: the file is missing or is no label file.
    """
    post_process = config.Infer.PostProcess if config.Infer else None
    if not isinstance(post_process, Topk) or post_process.class_id_map_file is None:
        return None
    path = Path(post_process.class_id_map_file)
    if not path.exists():
        shipped = shipped_file(path.name)
        if shipped is None:
            raise DataError(
                f"Infer.PostProcess.class_id_map_file is '{path}', which does not exist. Give a file of "
                "lines 'id name', or none: -o Infer.PostProcess.class_id_map_file=null"
            )
        _LOG.info("%s is not there; the class names that come with ppghost are used: %s", path, shipped)
        path = shipped
    labels = Labels.read(path, post_process.delimiter)
    if len(labels) != config.Arch.class_num:
        _LOG.warning(
            "%s has %d names, but Arch.class_num is %d: classes are told by number. Give the right file with "
            "-o Infer.PostProcess.class_id_map_file=...",
            path,
            len(labels),
            config.Arch.class_num,
        )
        return None
    return labels


def pictures_of(options: argparse.Namespace, config: Optional[Config]) -> list[Path]:
    """Return the pictures that the command line or the configuration names.

    Raises:
        DataError: there is none, or one is not there.
    """
    if options.inputs and options.list:
        raise DataError("Both PICTURE arguments and --list are given; give one of them.")
    if options.list:
        return list_pictures(Path(options.list).parent, options.list)
    if options.inputs:
        return [picture for source in options.inputs for picture in list_pictures(source)]
    if config is None or config.Infer is None or config.Infer.infer_imgs is None:
        raise DataError("No picture is given. Name files or folders, --list FILE, or -o Infer.infer_imgs=...")
    return list_pictures(config.Infer.infer_imgs, config.Infer.infer_list)


@contextlib.contextmanager
def writing(
    path: Optional[str], show: Callable[[dict[str, Any]], None]
) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Yield what takes a result: a file at `path`, or `show` without one."""
    if path is None:
        yield show
        return
    with results_file(path) as write:
        yield write


def tell(
    answers: Iterator[Answer],
    pictures: Sequence[Path],
    path: Optional[str],
    show: Callable[[dict[str, Any]], None],
) -> int:
    """Write every answer and return the exit code: 1 when a picture could not be read.

    Raises:
        DataError: the only picture cannot be read.
    """
    from tqdm import tqdm

    failures = 0
    with writing(path, show) as write:
        for source, result, failure in tqdm(
            answers, total=len(pictures), unit="picture", disable=None if len(pictures) > 1 else True
        ):
            if result is None:
                if len(pictures) == 1:
                    raise DataError(f"{source}: {failure}")
                failures += 1
                _LOG.error("%s: %s", source, failure)
            else:
                write(result)
    if failures:
        _LOG.error("%d of %d pictures could not be read.", failures, len(pictures))
    return 1 if failures else 0


def answers_of_config(
    config: Config, pictures: Sequence[Path], *, topk: Optional[int], batch_size: Optional[int]
) -> Iterator[Answer]:
    """Build the network of a configuration and yield its answer for each picture.

    Raises:
        GhostError: the weights or the labels cannot be used.
    """
    from paddle.utils import unique_name

    from ppghost.export.paddle import NetworkPredictor
    from ppghost.train.run import build_finished_net, prepare_device

    if config.Infer is None:
        raise ConfigError(
            f"{config.source}: the Infer section is missing; infer takes its transforms from there."
        )
    post_process = config.Infer.PostProcess or Topk()
    if topk is not None:
        post_process = Topk(topk)
    labels = labels_of(config)
    prepare_device(config)
    with unique_name.guard():
        predictor = NetworkPredictor(build_finished_net(config))
    scored = score_pictures(
        predictor,
        Pipeline(config.Infer.transforms),
        pictures,
        batch_size=batch_size or config.Infer.batch_size,
    )
    for one in scored:
        if one.output is None:
            yield one.source, None, one.failure
        else:
            [result] = post_process(one.output[None], [one.source], labels)
            yield one.source, result, None


def answers_of_artifact(
    folder: str,
    pictures: Sequence[Path],
    *,
    topk: Optional[int],
    batch_size: Optional[int],
    engine: Optional[str],
) -> Iterator[Answer]:
    """Open a shipped folder and yield its answer for each picture.

    Raises:
        GhostError: the folder or the engine cannot be used.
    """
    options = {} if engine is None else {"engine": engine}
    with ExitStack() as stack:
        classifier = stack.enter_context(Classifier.from_artifact(folder, topk=topk, **options))
        for answer in classifier.classify(pictures, batch_size=batch_size or 1):
            yield answer.source, None if answer.failure else answer.to_dict(), answer.failure


def show_json(result: dict[str, Any]) -> None:
    """Print a result as one JSON line."""
    print(json.dumps(result, ensure_ascii=False))
