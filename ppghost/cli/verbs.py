"""The verbs: what `train`, `eval`, `infer`, `export`, `verify` and `models` do, each in one function.

Program: may print. Heavy rooms are imported inside the verb that needs them, so that help starts fast.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ppghost.cli import ship
from ppghost.cli.console import (
    EXIT_INTERRUPTED,
    Console,
    StopSignal,
    logging_to,
    this_rank,
    visualdl_writer,
)
from ppghost.cli.evaluation import check_has_no_list_options, evaluate_artifact
from ppghost.config import Config, load_from_arguments
from ppghost.errors import ConfigError
from ppghost.zoo import get_card, list_models

if TYPE_CHECKING:
    from ppghost.zoo.card import Card

_LOG = logging.getLogger(__name__)


@contextmanager
def _console(config: Config, log_name: str, *, curves: bool = False) -> Iterator[Console]:
    """Log into `Global.output_dir/log_name`, first of all the configuration, as PaddleClas does."""
    folder = Path(config.Global.output_dir).expanduser()
    with logging_to(folder / log_name, config.Global.log_ranks):
        console = Console(visualdl_writer(folder) if curves and this_rank() == 0 else None)
        for line in config.describe():
            console.line(line)
        try:
            yield console
        finally:
            console.close()


def _warn_of_random_weights(config: Config, consequence: str) -> None:
    if config.Global.pretrained_model or config.shipped.pretrained:
        return
    _LOG.warning(
        "Neither Global.pretrained_model nor Arch.pretrained is given%s: random weights %s. "
        "Usual: -o Global.pretrained_model=output/best_model",
        " (Global.checkpoints serves training alone)" if config.Global.checkpoints else "",
        consequence,
    )


def _load(options: argparse.Namespace) -> Config:
    if options.profiler_options is not None and options.run is not train:
        _LOG.warning("-p records a training; it has no effect on `ppghost %s`.", options.verb)
    return load_from_arguments(
        options.config, options.override, options.profiler_options, arch_names=list_models()
    )


def train(options: argparse.Namespace) -> int:
    """Train a network as a PaddleClas configuration says. Checkpoints and train.log go to Global.output_dir.

    Ctrl-C saves and says how to go on.
    """
    config = _load(options)
    if options.resume and (options.check or options.estimate):
        raise ConfigError("--resume goes with a training, not with --check or --estimate.")
    if options.check:
        return _check(config)
    if options.estimate:
        return _estimate(config, options)
    if (options.devices, options.throughput) != (None, None):
        raise ConfigError("--devices and --throughput go with --estimate.")
    from ppghost.plugin import find_theirs
    from ppghost.train.run import train as run_training

    with _console(config, "train.log", curves=config.Global.use_visualdl) as console, StopSignal() as stop:
        result = run_training(
            config, reporter=console, should_stop=stop, other_zoo=find_theirs, resume=options.resume
        )
        prefix = result.output_dir / "latest"
        if result.interrupted:
            more = "" if options.resume else f" with -o Global.checkpoints={prefix}"
            console.line(f"Stopped; everything up to here is in {prefix}. To go on, repeat the command{more}")
            # A run that its profiler ended has done what it was asked for.
            return EXIT_INTERRUPTED if stop() else 0
        if result.position.best_epoch:
            console.line(
                f"Best metric {result.position.best_metric:.5f} at epoch {result.position.best_epoch}: "
                f"{result.output_dir / 'best_model'}.pdparams"
            )
    return 0


def _check(config: Config) -> int:
    """Print what a run would do, after opening its data."""
    from ppghost.plugin import find_theirs
    from ppghost.train.run import plan

    for line in [*config.describe(), *plan(config, find_theirs)]:
        print(line)
    return 0


def _estimate(config: Config, options: argparse.Namespace) -> int:
    """Print what a run would cost, after some of its steps."""
    if (options.devices is None) != (options.throughput is None):
        raise ConfigError("--devices and --throughput go together: how many, and what one of them does.")
    for name in ("devices", "throughput"):
        given = getattr(options, name)
        if given is not None and not 0 < given < float("inf"):
            raise ConfigError(f"--{name} is {given}; accepted: more than 0.")
    from ppghost.plugin import find_theirs
    from ppghost.train.estimate import Devices
    from ppghost.train.run import estimate

    devices = None if options.devices is None else Devices(options.devices, options.throughput)
    with logging_to(None, terminal=sys.stderr):
        for line in estimate(config, other_zoo=find_theirs).lines(devices):
            print(line)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Measure training weights (-c) on their Eval data, or an exported folder (--artifact) on a list.

    -c measures Global.pretrained_model as PaddleClas does. --artifact runs any engine that reads the folder,
    and tells top-1, top-5, pictures per second and the worst classes. Pictures that cannot be read are
    reported and not counted; the exit code is then 1. Of classes with equal scores the one with the lower
    number comes first.
    """
    if (options.artifact is None) == (options.config is None):
        raise ConfigError("Give either --artifact FOLDER --data LIST or -c CONFIG.")
    if options.artifact is not None:
        return evaluate_artifact(options)
    check_has_no_list_options(options)
    config = _load(options)
    from ppghost.train.run import evaluate_config

    with _console(config, "eval.log") as console:
        _warn_of_random_weights(config, "are measured")
        evaluate_config(config, reporter=console)
    return 0


def infer(options: argparse.Namespace) -> int:
    """Classify pictures with an exported folder (--artifact) or with training weights (-c, as in PaddleClas).

    Results go to standard output or to --output; broken pictures are reported and skipped, and the exit code
    is then 1. A picture of more than 150 million pixels counts as broken; PPGHOST_MAX_PIXELS sets the limit.
    """
    if (options.artifact is None) == (options.config is None):
        raise ConfigError("Give either --artifact FOLDER or -c CONFIG.")
    if options.artifact is not None:
        if options.override or options.profiler_options:
            raise ConfigError("-o and -p change a configuration; an exported folder (--artifact) has none.")
        with logging_to(None, terminal=sys.stderr):
            pictures = ship.pictures_of(options, None)
            answers = ship.answers_of_artifact(
                options.artifact,
                pictures,
                topk=options.topk,
                batch_size=options.batch_size,
                engine=options.engine,
                precision=options.precision,
                threads=ship.threads_of(options.threads),
            )
            return ship.tell(answers, pictures, options.output, ship.show_json)
    if options.engine is not None or options.precision is not None:
        raise ConfigError("--engine and --precision are for an exported folder; give them with --artifact.")
    config = _load(options)
    with _console(config, "infer.log") as console:
        _warn_of_random_weights(config, "answer")
        pictures = ship.pictures_of(options, config)
        answers = ship.answers_of_config(
            config,
            pictures,
            topk=options.topk,
            batch_size=options.batch_size,
            threads=ship.threads_of(options.threads),
        )
        path = options.output or (config.Infer.save_dir if config.Infer else None)
        return ship.tell(answers, pictures, path, lambda result: console.line(str([result])))


def export(options: argparse.Namespace) -> int:
    """Write the folder to ship into Global.save_inference_dir: graph, weights, preprocessing, labels, proof.

    Its files are verified against the network before they appear there. With --artifact a folder that was
    exported for Paddle is converted for another target.
    """
    if (options.artifact is None) == (options.config is None):
        raise ConfigError("Give either -c CONFIG or --artifact FOLDER.")
    if options.artifact is not None:
        return _convert(options)
    if options.output is not None:
        raise ConfigError("--output goes with --artifact; with -c it is -o Global.save_inference_dir=FOLDER.")
    config = _load(options)
    if config.Infer is None:
        raise ConfigError(
            f"{config.source}: the Infer section is missing; it says how pictures are prepared."
        )
    export_to = ship.exporter_of(options)
    with _console(config, "export.log") as console:
        _warn_of_random_weights(config, "are exported")
        artifact = ship.export_config(config, config.Infer, export_to, options.graph)
        console.line(
            f"Verified: the forms of {artifact.facts.name} give the network's numbers, see verify.json "
            f"(graph: {artifact.facts.graph})"
        )
        place = artifact.folder / "inference"
        console.line(f'Export succeeded! The inference model exported has been saved in "{place}".')
    return 0


def _convert(options: argparse.Namespace) -> int:
    """Convert an exported folder for another target."""
    if options.override or options.profiler_options:
        raise ConfigError("-o and -p change a configuration; an exported folder (--artifact) has none.")
    with logging_to(None, terminal=sys.stderr):
        artifact = ship.convert_artifact(options)
        print(
            f"Verified: {artifact.facts.name} for {artifact.facts.target} gives the network's numbers, see "
            f"{artifact.folder / 'verify.json'} (graph: {artifact.facts.graph})"
        )
    return 0


def verify(options: argparse.Namespace) -> int:
    """Replay the golden inputs of an exported folder on this machine and compare with the trained network."""
    from ppghost.export.verify import verify_folder

    report = verify_folder(Path(options.artifact))
    for check in report.checks:
        print(f"ok  {check}")
    print(f"{report.name} {report.version}: {len(report.checks)} checks passed")
    return 0


def models(options: argparse.Namespace) -> int:
    """List the networks: size, cost and published accuracy."""
    names = list_models(options.pattern)
    rows = [("name", "params (M)", "MACs (M)", "top-1", "top-5")] + [_row(get_card(name)) for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0 if names else 1


def _row(card: Card) -> tuple[str, str, str, str, str]:
    return (
        card.name,
        f"{card.params / 1e6:.2f}",
        f"{card.macs / 1e6:.1f}",
        f"{card.published.top1:.4f}",
        f"{card.published.top5:.4f}",
    )
