"""What the verbs `infer`, `export` and `verify` do with pictures, labels and shipped folders.

Program: may print. Paddle is imported only when a network is built here; an artifact brings its own engine.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Callable, Optional

import cv2
from tqdm import tqdm

from ppghost.artifact import Artifact, read_artifact
from ppghost.config import Config, shipped_file
from ppghost.config.sections import Infer
from ppghost.errors import ConfigError, DataError
from ppghost.export.target import load_target
from ppghost.machine import usable_processors
from ppghost.predict import Classifier, count_pictures, find_pictures, score_pictures
from ppghost.results import json_line, printable, results_file
from ppghost.vision import Labels, Pipeline
from ppghost.vision.postprocess import Topk

_LOG = logging.getLogger(__name__)

# One answer: the picture's path, PaddleClas' result dict or None, and why there is none.
Answer = tuple[str, Optional[dict[str, Any]], Optional[str]]


@dataclass(frozen=True)
class Pictures:
    """The pictures that a command names.

    Attributes:
        paths: found while they are asked for, once.
        is_single: whether there is one and no more.
        total: how many there are; None where no progress bar would show it, since a folder may hold millions.
    """

    paths: Iterator[Path]
    is_single: bool
    total: Optional[int]

    def workers(self, threads: int) -> int:
        """Return how many threads read pictures: one alone leaves all of them to the network."""
        return 1 if self.is_single else threads


_TARGET_OPTIONS: Mapping[str, Sequence[str]] = {"onnx": ("opset", "batch", "input_name", "output_name")}
"""Target -> options of its export that the command line offers."""


def _target_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options given for the target of an export.

    Raises:
        ConfigError: one was given that is another target's.
    """
    for target, names in _TARGET_OPTIONS.items():
        for name in names:
            if target != options.target and getattr(options, name) is not None:
                raise ConfigError(f"--{name.replace('_', '-')} is for --target {target}.")
    names = _TARGET_OPTIONS.get(options.target, ())
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def exporter_of(options: argparse.Namespace) -> Callable[..., Artifact]:
    """Return what writes the artifact of a network; arguments as `ppghost.export.paddle.export_network`.

    Raises:
        ConfigError: an option of another target was given.
    """
    from ppghost.export.paddle import export_network

    given = _target_options(options)
    target = load_target(options.target)
    if target.consumes == "network":
        return lambda net, out, **facts: target.export(net, out, **facts)

    def export_in_two_steps(net: Any, out: Path, **facts: Any) -> Artifact:
        # An engine may run another graph fastest than Paddle does.
        facts["graph"] = facts.get("graph") or getattr(target, "graph", None)
        with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
            source = export_network(net, Path(folder) / "paddle", **facts)
            return target.export(source, out, **given)

    return export_in_two_steps


def export_config(
    config: Config, how: Infer, export_to: Callable[..., Artifact], graph: Optional[str]
) -> Artifact:
    """Export the trained network of a configuration to `Global.save_inference_dir`.

    Args:
        config: names network and folder.
        how: its section `Infer`.
        export_to: what `exporter_of` returned.
        graph: one of `ppghost.artifact.GRAPHS`; None for the default.

    Raises:
        GhostError: weights or labels cannot be used, or the export fails.
    """
    from paddle.utils import unique_name

    from ppghost.train.networks import build_finished_net
    from ppghost.train.run import prepare_device

    post_process = how.PostProcess or Topk(5)
    if not isinstance(post_process, Topk):
        name, post_process = type(post_process).__name__, Topk(5)
        _LOG.warning(
            "Infer.PostProcess is %s; an exported folder names the %d best classes instead.",
            name,
            post_process.topk,
        )
    labels = labels_of(config)
    prepare_device(config)
    with unique_name.guard():
        return export_to(
            build_finished_net(config),
            Path(config.Global.save_inference_dir).expanduser(),
            name=config.shipped.name,
            image_shape=config.Global.image_shape,
            pipeline=Pipeline(how.transforms),
            labels=labels,
            topk=post_process.topk,
            graph=graph,
        )


def convert_artifact(options: argparse.Namespace) -> Artifact:
    """Convert an exported folder for another target.

    Raises:
        GhostError: the target does not convert such a folder, or cannot convert this one.
    """
    source, given = read_artifact(Path(options.artifact)), _target_options(options)
    target = load_target(options.target)
    if target.consumes != source.facts.target:
        raise ConfigError(
            f"{options.artifact} was exported for '{source.facts.target}'; the target '{target.name}' takes "
            + (
                "a network: give -c CONFIG."
                if target.consumes == "network"
                else f"one for '{target.consumes}'."
            )
        )
    if options.output == "":
        raise ConfigError("--output is empty; give the folder to write, or leave it out.")
    folder = Path(options.artifact)
    if folder.name in ("", ".."):  # neither is a name that "_onnx" can be put behind
        folder = folder.resolve()
    out = Path(options.output or f"{folder}_{target.name}")
    return target.export(source, out, graph=options.graph, **given)


def labels_of(config: Config) -> Optional[Labels]:
    """Return the class names that a configuration points to; None where it points to none.

    Names that do not fit the number of classes are left out, and the log says so.

    Raises:
        DataError: as `read_labels`.
    """
    post_process = config.Infer.PostProcess if config.Infer else None
    if not isinstance(post_process, Topk) or post_process.class_id_map_file is None:
        return None
    path = Path(post_process.class_id_map_file)
    labels = read_labels(path, post_process.delimiter, "Infer.PostProcess.class_id_map_file")
    if len(labels) != config.shipped.class_num:
        _LOG.warning(
            "%s has %d names, but Arch.class_num is %d: classes are told by number. Give the right file with "
            "-o Infer.PostProcess.class_id_map_file=...",
            labels.source,
            len(labels),
            config.shipped.class_num,
        )
        return None
    return labels


def read_labels(path: Path, delimiter: Optional[str], key: str, own: Optional[Labels] = None) -> Labels:
    """Return the class names of a label file, or those that stand in for it; the log says so.

    PaddleClas' configurations name a file of PaddleClas' own tree. Where that is not there, the network's own
    names stand in, else the ImageNet names that come with ppghost if the file is called as theirs.

    Args:
        path: the file.
        delimiter: what parts id and name in it; None means one space.
        key: of the configuration that names the file, for messages.
        own: names that are known of the network.

    Raises:
        DataError: the file is missing and nothing stands in, or it is no label file.
    """
    if path.exists():
        return Labels.read(path, delimiter)
    if own is not None:
        _LOG.info("%s is not there; the exported network's own class names are used.", path)
        return own
    shipped = shipped_file(path.name)
    if shipped is None:
        raise DataError(
            f"{key} is '{path}', which does not exist. Give a file of lines 'id name', or none: -o {key}=null"
        )
    _LOG.info("%s is not there; the class names that come with ppghost are used: %s", path, shipped)
    return Labels.read(shipped, delimiter)


def pictures_of(options: argparse.Namespace, config: Optional[Config]) -> Pictures:
    """Return the pictures that the command line or the configuration names.

    Raises:
        DataError: there is none, or one is not there.
    """
    places: list[tuple[Any, Any]]  # a picture or folder, and the list of what is meant in it
    if options.inputs and options.list:
        raise DataError("Both PICTURE arguments and --list are given; give one of them.")
    if options.list:
        places = [(Path(options.list).parent, options.list)]
    elif options.inputs:
        places = [(source, None) for source in options.inputs]
    elif config is None or config.Infer is None or config.Infer.infer_imgs is None:
        raise DataError("No picture is given. Name files or folders, --list FILE, or -o Infer.infer_imgs=...")
    else:
        places = [(config.Infer.infer_imgs, config.Infer.infer_list)]
    return pictures_at(places)


def pictures_at(places: Sequence[tuple[Any, Any]]) -> Pictures:
    """Return the pictures at places: each a picture or a folder, and None or the list of what is meant in it.

    Raises:
        DataError: there is none, or one is not there.
    """
    # A list, so that a place where nothing is is told now and not after hours.
    paths = chain.from_iterable([find_pictures(*place) for place in places])
    first = list(islice(paths, 2))
    is_counted = len(first) > 1 and sys.stderr.isatty()
    total = sum(count_pictures(*place) for place in places) if is_counted else None
    return Pictures(chain(first, paths), len(first) == 1, total)


def threads_of(wished: Optional[int]) -> int:
    """Return how many threads work: as many as are wished for, or one for each processor.

    Side effect: OpenCV's own threads, which would get in the way of ours, are switched off for the process.
    """
    cv2.setNumThreads(1)
    return wished or usable_processors()


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
    answers: Generator[Answer, None, None],
    pictures: Pictures,
    path: Optional[str],
    show: Callable[[dict[str, Any]], None],
) -> int:
    """Write every answer and return the exit code: 1 when a picture could not be read.

    Raises:
        DataError: the only picture cannot be read.
    """
    done = failures = 0
    # tqdm shows no bar where standard error is no terminal.
    bar = tqdm(total=pictures.total, unit="picture", disable=True if pictures.is_single else None)
    started = time.monotonic()
    with contextlib.closing(answers), writing(path, show) as write, bar:
        for source, result, failure in answers:
            if result is not None:
                write(result)
            elif pictures.is_single:
                raise DataError(f"{source}: {failure}")
            else:
                failures += 1
                _LOG.error("%s: %s", printable(source), failure)
            done += 1
            bar.update()
    seconds = time.monotonic() - started
    if not pictures.is_single:
        _LOG.info("%d pictures in %.1f s: %.0f pictures/s", done, seconds, done / seconds)
    if failures:
        _LOG.error("%d of %d pictures could not be read.", failures, done)
    return 1 if failures else 0


def answers_of_config(
    config: Config, pictures: Pictures, *, topk: Optional[int], batch_size: Optional[int], threads: int
) -> Generator[Answer, None, None]:
    """Build the network of a configuration and return an iterator over its answers, one for each picture.

    Raises:
        GhostError: the weights or the labels cannot be used.
    """
    from paddle.utils import unique_name

    from ppghost.export.paddle import NetworkPredictor
    from ppghost.train.networks import build_finished_net
    from ppghost.train.run import prepare_device

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
        pictures.paths,
        batch_size=batch_size or config.Infer.batch_size,
        workers=pictures.workers(threads),
    )
    return (
        (one.source, None, one.failure)
        if one.output is None
        else (one.source, post_process(one.output[None], [one.source], labels)[0], None)
        for one in scored
    )


def answers_of_artifact(
    folder: str,
    pictures: Pictures,
    *,
    topk: Optional[int],
    batch_size: Optional[int],
    engine: Optional[str],
    precision: Optional[str],
    threads: int,
) -> Generator[Answer, None, None]:
    """Open a shipped folder and return an iterator over its answers, one for each picture.

    Raises:
        GhostError: the folder or the engine cannot be used.
    """
    classifier = Classifier.from_artifact(
        folder, topk=topk, engine=engine, precision=precision, threads=threads, batch_size=batch_size or 1
    )
    return answers_of(classifier, pictures, batch_size or 1, threads)


def answers_of(
    classifier: Classifier, pictures: Pictures, batch_size: int, threads: int
) -> Generator[Answer, None, None]:
    """Yield the answer for each picture, and release the classifier at the end."""
    with classifier:
        workers = pictures.workers(threads)
        for answer in classifier.classify(pictures.paths, batch_size=batch_size, workers=workers):
            yield answer.source, None if answer.failure else answer.to_dict(), answer.failure


def show_json(result: dict[str, Any]) -> None:
    """Print a result as one JSON line, above a progress bar where there is one."""
    tqdm.write(json_line(result))
