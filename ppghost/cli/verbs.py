"""The verbs: what `train`, `eval`, `infer`, `export`, `verify` and `models` do, each in one function.

Program: may print. Heavy rooms are imported inside the verb that needs them, so that help starts fast.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ppghost.cli import ship
from ppghost.cli.console import Console, StopSignal, logging_to, visualdl_writer
from ppghost.config import Config, load_from_arguments
from ppghost.errors import ConfigError
from ppghost.vision import Pipeline
from ppghost.zoo import get_card, list_models

if TYPE_CHECKING:
    from ppghost.zoo.card import Card

EXIT_INTERRUPTED = 130


@contextmanager
def _console(config: Config, log_name: str, *, curves: bool = False) -> Iterator[Console]:
    """Log into `Global.output_dir/log_name`, first of all the configuration, as PaddleClas does."""
    folder = Path(config.Global.output_dir)
    with logging_to(folder / log_name, config.Global.log_ranks):
        console = Console(visualdl_writer(folder / "vdl") if curves else None)
        for line in config.describe():
            console.line(line)
        try:
            yield console
        finally:
            console.close()


def _load(options: argparse.Namespace) -> Config:
    return load_from_arguments(
        options.config, options.override, options.profiler_options, arch_names=list_models()
    )


def train(options: argparse.Namespace) -> int:
    """Train a network as a PaddleClas configuration says. Checkpoints and train.log go to Global.output_dir.

    Ctrl-C saves and says how to go on.
    """
    config = _load(options)
    if options.check:
        return _check(config)
    from ppghost.train.run import train as run_training

    with _console(config, "train.log", curves=config.Global.use_visualdl) as console, StopSignal() as stop:
        result = run_training(config, reporter=console, should_stop=stop)
        prefix = result.output_dir / "latest"
        if result.interrupted:
            console.line(
                f"Stopped; everything up to here is in {prefix}. To go on, repeat the command with "
                f"-o Global.checkpoints={prefix}"
            )
            return EXIT_INTERRUPTED
        if result.position.best_epoch:
            console.line(
                f"Best metric {result.position.best_metric:.5f} at epoch {result.position.best_epoch}: "
                f"{result.output_dir / 'best_model'}.pdparams"
            )
    return 0


def _check(config: Config) -> int:
    """Print what a run would do, after opening its data."""
    from ppghost.train.run import plan

    for line in [*config.describe(), *plan(config)]:
        print(line)
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Measure the weights Global.pretrained_model on the Eval data of a configuration."""
    config = _load(options)
    from ppghost.train.run import evaluate_config

    with _console(config, "eval.log") as console:
        evaluate_config(config, reporter=console)
    return 0


def infer(options: argparse.Namespace) -> int:
    """Classify pictures with an exported folder (--artifact) or with training weights (-c, as in PaddleClas).

    Results go to standard output or to --output; broken pictures are reported, and the exit code is then 1.
    """
    if (options.artifact is None) == (options.config is None):
        raise ConfigError("Give either --artifact FOLDER or -c CONFIG.")
    if options.artifact is not None:
        with logging_to(None):
            pictures = ship.pictures_of(options, None)
            answers = ship.answers_of_artifact(
                options.artifact,
                pictures,
                topk=options.topk,
                batch_size=options.batch_size,
                engine=options.engine,
            )
            return ship.tell(answers, pictures, options.output, ship.show_json)
    config = _load(options)
    with _console(config, "infer.log") as console:
        pictures = ship.pictures_of(options, config)
        answers = ship.answers_of_config(config, pictures, topk=options.topk, batch_size=options.batch_size)
        path = options.output or (config.Infer.save_dir if config.Infer else None)
        return ship.tell(answers, pictures, path, lambda result: console.line(str([result])))


def export(options: argparse.Namespace) -> int:
    """Write the folder to ship into Global.save_inference_dir: graph, weights, preprocessing, labels, proof.

    Its files are verified against the network before they appear there.
    """
    config = _load(options)
    if config.Infer is None:
        raise ConfigError(
            f"{config.source}: the Infer section is missing; it says how pictures are prepared."
        )
    from paddle.utils import unique_name

    from ppghost.export.paddle import export_network
    from ppghost.train.run import build_net, prepare_device

    out = Path(config.Global.save_inference_dir)
    with _console(config, "export.log") as console:
        labels = ship.labels_of(config)
        prepare_device(config)
        with unique_name.guard():
            artifact = export_network(
                build_net(config),
                out,
                name=config.Arch.name,
                image_shape=config.Global.image_shape,
                pipeline=Pipeline(config.Infer.transforms),
                labels=labels,
                topk=getattr(config.Infer.PostProcess, "topk", 5),
            )
        console.line(
            f"Verified: both forms of {artifact.facts.name} give the network's numbers, see verify.json"
        )
        console.line(
            f'Export succeeded! The inference model exported has been saved in "{out / "inference"}".'
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
