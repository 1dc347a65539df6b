"""What `ppghost eval --artifact` does: a shipped folder measured over a list of pictures, with any engine.

Program: may print. Imports no Paddle; the artifact's target brings its engine.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from tqdm import tqdm

from ppghost import __version__
from ppghost.accuracy.counting import Accuracy, Agreement, Answer, ClassAccuracy, answer_of
from ppghost.accuracy.journal import Journal, appending, begin, read_journal, resume
from ppghost.artifact import FACTS_FILE, Artifact, digest_of, read_artifact
from ppghost.cli.console import logging_to
from ppghost.cli.ship import threads_of
from ppghost.data.lists import PictureList, check_distinct, check_labels, check_presence, read_list
from ppghost.errors import ConfigError, DataError, OutputError
from ppghost.export.target import load_target
from ppghost.files import replaced_file, sha256_of
from ppghost.offline.scoring import MOST
from ppghost.predict import NamedPredictor, Predictor, score_pictures
from ppghost.results import printable
from ppghost.train.log import epoch_line
from ppghost.vision import Labels

_LOG = logging.getLogger(__name__)

WORST = 10
"""How many classes the table of the worst ones has."""

_OPTIONS = (
    "data",
    "image_root",
    "delimiter",
    "engine",
    "precision",
    "threads",
    "batch_size",
    "output",
    "resume",
    "csv",
    "json",
    "against",
)


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `--artifact` needs besides the engine."""
    parser.add_argument("--artifact", metavar="FOLDER", help="an exported folder, instead of -c")
    parser.add_argument("--data", metavar="LIST", help="a file of lines 'path label' (with --artifact)")
    parser.add_argument(
        "--image-root", metavar="FOLDER", help="where the paths start (default: the folder of LIST)"
    )
    parser.add_argument(
        "--delimiter",
        type=_delimiter,
        metavar="TEXT",
        help="what parts path and label, such as '\\t' (default: the last blank)",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="write every prediction as a JSON line, as the predictions come"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where a run with the same --output was stopped or killed; the figures equal those of a "
        "run without the stop",
    )
    parser.add_argument("--csv", metavar="FILE", help="write every prediction as a line of a table")
    parser.add_argument(
        "--json", metavar="FILE", help="write the figures, those of every class, and what was measured how"
    )
    parser.add_argument(
        "--against",
        metavar="FILE",
        help="the --output of another run over the same list: tell on how many pictures both name one class",
    )


def _delimiter(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an empty text parts nothing")
    return text.replace("\\t", "\t")


def check_has_no_list_options(options: argparse.Namespace) -> None:
    """Make sure that nothing is given that only `--artifact` honours.

    Raises:
        ConfigError: something is.
    """
    given = [
        f"--{name.replace('_', '-')}" for name in _OPTIONS if getattr(options, name) not in (None, False)
    ]
    if given:
        raise ConfigError(
            f"For an exported folder only, so together with --artifact: {', '.join(given)}. The data of -c "
            "stand in the configuration: -o DataLoader.Eval.dataset.cls_label_path=..."
        )


@dataclass(frozen=True)
class _Job:
    """What is measured.

    Attributes:
        artifact: the network.
        pictures: on what.
        options: the engine's, as `Target.open` takes them.
        run: everything on which the answers depend, for the journal.
    """

    artifact: Artifact
    pictures: PictureList
    options: Mapping[str, Any]
    run: Mapping[str, Any]


@dataclass
class _Result:
    """What came out.

    Attributes:
        accuracy: the figures.
        agreement: with the run of `--against`; None without.
        pictures: how many this process measured; the others were in the journal.
        seconds: how long that took, without opening the network.
    """

    accuracy: Accuracy
    agreement: Optional[Agreement]
    pictures: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> Optional[float]:
        """Pictures per second; None where nothing was measured."""
        return self.pictures / self.seconds if self.pictures and self.seconds else None


def evaluate_artifact(options: argparse.Namespace) -> int:
    """Measure an exported folder on a list, and return the exit code: 1 when a picture could not be read.

    Raises:
        GhostError: an argument, the list, the folder or the engine cannot be used.
    """
    _check(options)
    with logging_to(None), _opened_early(options.json) as figures:
        artifact = read_artifact(Path(options.artifact))
        pictures = _read_pictures(options, artifact)
        engine_options = {
            "engine": options.engine,
            "precision": options.precision,
            "threads": threads_of(options.threads),
            "batch_size": options.batch_size or 1,
        }
        with load_target(artifact.facts.target).open(artifact, **engine_options) as predictor:
            run = _run_of(artifact, pictures, predictor, engine_options, Path(options.data))
            job = _Job(artifact, pictures, engine_options, run)
            _LOG.info("%s", _about(run))
            try:
                result = _measure(job, predictor, options)
            except KeyboardInterrupt:
                if options.output is not None:
                    _LOG.info("Stopped; to go on, repeat the command with --resume.")
                raise
        return _report(job, result, options, figures)


@contextlib.contextmanager
def _opened_early(path: Optional[str]) -> Iterator[Optional[Path]]:
    """Yield where to write what becomes `path`; whether that can be written is known before the work."""
    if path is None:
        yield None
        return
    with replaced_file(Path(path)) as part:
        part.touch()
        yield part


def _check(options: argparse.Namespace) -> None:
    if options.override or options.profiler_options:
        raise ConfigError("-o and -p change a configuration; an exported folder (--artifact) has none.")
    if options.data is None:
        raise ConfigError("--artifact needs --data LIST, a file of lines 'path label'.")
    if options.resume and options.output is None:
        raise ConfigError("--resume goes on in the file of --output; give that too.")
    files = [os.path.realpath(path) for path in _files(options)]
    if len(set(files)) < len(files):
        raise ConfigError(
            "Two of --data, --output, --csv, --json and --against are one file; give each its own."
        )
    for path in (options.output, options.csv, options.json):
        if path is not None and os.path.isdir(path):
            raise OutputError(f"Cannot write {path}: it is a folder; choose a file name.")


def _files(options: argparse.Namespace) -> list[str]:
    named = (options.data, options.output, options.csv, options.json, options.against)
    return [path for path in named if path is not None]


def _read_pictures(options: argparse.Namespace, artifact: Artifact) -> PictureList:
    root = options.image_root or str(Path(options.data).parent)
    pictures = read_list(options.data, root, delimiter=options.delimiter)
    name, class_num = artifact.facts.name, artifact.facts.class_num
    check_labels(
        pictures, class_num, f"{name} has {class_num} classes; give the list of the data it was trained on."
    )
    check_distinct(pictures)
    check_presence(pictures, training=False)
    return pictures


def _run_of(
    artifact: Artifact, pictures: PictureList, predictor: Predictor, options: Mapping[str, Any], source: Path
) -> dict[str, Any]:
    """Return everything on which the answers depend, as JSON values."""
    facts = artifact.facts
    if isinstance(predictor, NamedPredictor):
        engine, precision = predictor.engine, predictor.precision
    else:
        engine, precision = options["engine"] or "the usual one", options["precision"] or "the usual one"
    return {
        "model": facts.name,
        "version": facts.version,
        "target": facts.target,
        "graph": facts.graph,
        "class_num": facts.class_num,
        "preprocessing": artifact.preprocessing,
        # It holds the hashes of all the other files, which were checked when the artifact was opened.
        "artifact_sha256": digest_of(artifact.path_of(FACTS_FILE)).sha256,
        "ppghost": __version__,
        "engine": engine,
        "precision": precision,
        "threads": options["threads"],
        "batch_size": options["batch_size"],
        "list_sha256": sha256_of(source),
        "image_root": os.path.abspath(pictures.root),
        "pictures": len(pictures),
    }


def _about(run: Mapping[str, Any]) -> str:
    return "{model} {version}, graph {graph}: engine {engine}, {precision}, threads: {threads}".format(**run)


def _measure(job: _Job, predictor: Predictor, options: argparse.Namespace) -> _Result:
    """Take the answers of the journal, and the others from the network, and count all of them."""
    journal = _journal_of(job, options)
    result = _Result(Accuracy(), None)
    with contextlib.ExitStack() as stack:
        takers: list[Callable[[Answer], Any]] = [result.accuracy.add]
        if options.against is not None:
            result.agreement = Agreement()
            takers.append(_comparing(job, read_journal(Path(options.against)), result.agreement))
        if options.csv is not None:
            takers.append(stack.enter_context(_table(Path(options.csv), job.artifact.labels)))
        if journal is not None:
            for answer in _recorded(job, journal):
                _give(answer, takers)
            if options.resume:
                _LOG.info("%s holds %d of %d pictures.", journal.path, journal.count, len(job.pictures))
            takers.append(stack.enter_context(appending(journal, job.artifact.labels)))
        _run(job, predictor, result, takers)
    return result


def _journal_of(job: _Job, options: argparse.Namespace) -> Optional[Journal]:
    if options.output is None:
        return None
    path = Path(options.output)
    return resume(path, job.run, job.options["batch_size"]) if options.resume else begin(path, job.run)


def _give(answer: Answer, takers: list[Callable[[Answer], Any]]) -> None:
    for take in takers:
        take(answer)


def _run(job: _Job, predictor: Predictor, result: _Result, takers: list[Callable[[Answer], Any]]) -> None:
    """Run the network on the pictures that are not counted yet."""
    done, total, batch_size = result.accuracy.pictures, len(job.pictures), job.options["batch_size"]
    started = time.monotonic()

    def paths() -> Iterator[Path]:
        # The first one is asked for when every worker has its network; opening those is not measured.
        nonlocal started
        started = time.monotonic()
        yield from map(job.pictures.path, range(done, total))

    scored = score_pictures(
        predictor,
        job.artifact.pipeline,
        paths(),
        batch_size=batch_size,
        # A worker may be a process with the network in it: none for whom no batch is left.
        workers=max(1, min(job.options["threads"], math.ceil((total - done) / batch_size))),
    )
    gives_logits = job.artifact.facts.output == "logits"
    # tqdm shows no bar where standard error is no terminal.
    bar = tqdm(total=total, initial=done, unit="picture", disable=None if done < total else True)
    with contextlib.closing(scored), bar:
        for index, one in enumerate(scored, start=done):
            name, label = job.pictures.name(index), int(job.pictures.labels[index])
            answer = answer_of(name, label, one, gives_logits=gives_logits)
            if answer.failure is not None:
                _LOG.error("%s: %s", printable(one.source), answer.failure)
            _give(answer, takers)
            bar.set_postfix_str(f"top1: {result.accuracy.top1:.5f}", refresh=False)
            bar.update()
    result.seconds = time.monotonic() - started
    result.pictures = total - done


def _recorded(job: _Job, journal: Journal) -> Iterator[Answer]:
    """Yield the answers of a journal, each of them checked to be of the picture that the list has there."""
    for index, answer in enumerate(journal.answers()):
        expected = job.pictures.name(index), int(job.pictures.labels[index])
        if (answer.name, answer.label) != expected:
            raise DataError(
                f"{journal.path}:{index + 2} is about {(answer.name, answer.label)}, but "
                f"{job.pictures.place(index)} is {expected}. The lists differ, or the file was edited."
            )
        if any(not 0 <= class_id < job.artifact.facts.class_num for class_id in answer.class_ids):
            raise DataError(
                f"{journal.path}:{index + 2} names a class that {job.artifact.facts.name} does not have."
            )
        yield answer


def _comparing(job: _Job, other: Journal, agreement: Agreement) -> Callable[[Answer], None]:
    """Return what compares the answers, one after the other, with those of another run.

    Raises:
        DataError: the other run is not finished or has another number of pictures; later: other pictures.
    """
    if other.count != len(job.pictures):
        raise DataError(
            f"{other.path} holds predictions for {other.count} pictures, but the list names "
            f"{len(job.pictures)}. Finish that run with --resume, or give one over this list."
        )
    answers = _recorded(job, other)
    return lambda answer: agreement.add(answer, next(answers))


@contextlib.contextmanager
def _table(path: Path, labels: Optional[Labels]) -> Iterator[Callable[[Answer], Any]]:
    """Yield what writes an answer into a CSV file, which appears when the block ends well."""

    def name_of(class_id: int) -> str:
        return "" if labels is None else labels.name_of(class_id)

    with replaced_file(path) as part:
        with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            head = ("file_name", "label", "label_name", "class_id", "class_name", "score", "rank", "best")
            writer.writerow((*head, "failure"))

            def write(answer: Answer) -> None:
                about = (answer.name, answer.label, name_of(answer.label))
                if answer.failure is not None:
                    writer.writerow((*about, "", "", "", "", "", answer.failure))
                    return
                best, rank = answer.class_ids[0], answer.rank
                told = (best, name_of(best), answer.scores[0], "" if rank is None else rank + 1)
                writer.writerow((*about, *told, " ".join(map(str, answer.class_ids)), ""))

            yield write


def _report(job: _Job, result: _Result, options: argparse.Namespace, figures: Optional[Path]) -> int:
    """Tell the figures, write them to the file `figures`, and return the exit code."""
    accuracy, total = result.accuracy, len(job.pictures)
    if not accuracy.tally.total:
        raise DataError(f"None of the {total} pictures of {options.data} could be read; see the lines above.")
    top = accuracy.tally.top_n()
    shares = f"top1: {top.accuracy(1):.5f}, top5: {top.accuracy(MOST):.5f}"
    _LOG.info("%s", epoch_line("Eval", "0", shares))
    if result.rate is not None:
        _LOG.info("%d pictures in %.1f s: %.1f pictures/s", result.pictures, result.seconds, result.rate)
    for line in _worst_lines(accuracy.classes(), job.artifact.labels):
        print(line)
    if result.agreement is not None:
        _LOG.info("%s", _agreement_line(result.agreement, options.against))
    if figures is not None:
        text = json.dumps(_to_dict(job, result, options), ensure_ascii=False, indent=2)
        figures.write_bytes((printable(text) + "\n").encode())
    if accuracy.broken:
        _LOG.error("%d of %d pictures could not be read; they are not counted.", accuracy.broken, total)
    sys.stdout.flush()
    return 1 if accuracy.broken else 0


def _worst_lines(classes: list[ClassAccuracy], labels: Optional[Labels]) -> list[str]:
    """Return a table of the classes with the lowest top-1; none where every picture is told right."""
    worst = [one for one in classes if one.score.hits[0] < one.score.total]
    if not worst:
        return []

    def named(class_id: int) -> str:
        return str(class_id) if labels is None else f"{class_id} {labels.name_of(class_id)}"

    rows = [("class", "pictures", "top1", "top5", "taken for")]
    rows += [
        (
            named(one.class_id),
            str(one.score.total),
            f"{one.score.accuracy(1):.5f}",
            f"{one.score.accuracy(MOST):.5f}",
            "; ".join(f"{named(class_id)}: {count}" for class_id, count in one.confusions),
        )
        for one in worst[:WORST]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(map(str.ljust, row, widths)), row[-1]]) for row in rows]
    title = f"The worst {len(rows) - 1} of {len(classes)} classes, {len(worst)} of which have errors:"
    return [title, *map(printable, lines)]


def _agreement_line(agreement: Agreement, against: str) -> str:
    text = f"top-1 equal to {against} on {agreement.same} of {agreement.pictures} pictures"
    if not agreement.pictures:
        return text
    return f"{text} ({agreement.share:.2%}); top1 there: {agreement.other.top_n().accuracy(1):.5f}"


def _to_dict(job: _Job, result: _Result, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures with all that they depend on."""
    accuracy, names = result.accuracy, job.artifact.labels
    top = accuracy.tally.top_n()
    tree: dict[str, Any] = {
        **job.run,
        "artifact": os.path.abspath(job.artifact.folder),
        "list": os.path.abspath(options.data),
        "tools": dict(job.artifact.facts.tools),
        "counted": top.total,
        "broken": accuracy.broken,
        **{f"top{k}": top.accuracy(k) for k in range(1, MOST + 1)},
        "hits": list(top.hits),
        "measured_pictures": result.pictures,
        "seconds": result.seconds,
        "pictures_per_second": result.rate,
        "classes": [
            {**one.to_dict(), "name": None if names is None else names.name_of(one.class_id)}
            for one in accuracy.classes()
        ],
    }
    agreement = result.agreement
    if agreement is not None and agreement.pictures:
        tree["agreement"] = {
            "against": os.path.abspath(options.against),
            "pictures": agreement.pictures,
            "same_top1": agreement.same,
            "share": agreement.share,
            "other_top1": agreement.other.top_n().accuracy(1),
        }
    return tree
