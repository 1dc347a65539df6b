"""The verb `bench`: its words, its progress bar, and where its results go.

Program: may print. The measured programs run in processes of their own, so no paddle is imported here.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ppghost.artifact import GRAPHS
from ppghost.bench import inference, inference_report, report, training, training_report
from ppghost.bench.files import Subject
from ppghost.bench.pictures import PICTURES_PROGRAMS
from ppghost.bench.programs import DEFAULT_PATTERNS, MODELS, OUR_ENGINES, programs_named
from ppghost.bench.workers import Progress
from ppghost.cli.console import logging_to
from ppghost.cli.phone import add_phone_actions
from ppghost.errors import ConfigError
from ppghost.machine import usable_processors
from ppghost.predict import list_pictures

_LOG = logging.getLogger(__name__)

DESCRIPTION = f"""\
Compare the speed of inference on this CPU: ours, by engine and graph, against other programs on their own
stock export; from batches of tensors, and from JPEG files to answers. Each program runs in a process of its
own, held to as many CPUs as it has threads, and all take turns. A program whose outputs are not the network's
is left out: a fast wrong answer is no result.

programs:
  ours, ours_bf16       what `ppghost export` and `ppghost infer` take by default; "/ ours" compares with ours
  ours:ENGINE:GRAPH     engines: {", ".join(OUR_ENGINES)}
                        graphs: {", ".join(GRAPHS)}
  paddle, paddle2       the stock export in Paddle Inference 3 and 2 with oneDNN, as PaddleClas runs it
  onnxruntime, openvino, openvino_bf16, mnn, ncnn
                        the stock export as paddle2onnx writes it; openvino takes the better of its latency
                        and throughput hints where there is a batch
  timm                  PyTorch's GhostNet, torch.compile with frozen weights, channels last (needs a C++
                        compiler); its weights are its own: it is checked against its own uncompiled run
  NAME:GRAPH            one of those (not timm) on what `ppghost export --graph GRAPH` writes for it; with
                        fused on the default file

With --train, the speed of training instead: ours, ours with Paddle's own operators (native), PaddleClas'
network (paddleclas) and timm's on PyTorch; a step is forward, loss, backward and update with momentum, in
float32, on random pictures.
"""
EPILOG = """\
examples:
  ppghost bench --json bench.json --plot bench.png
  ppghost bench --models GhostNet_x0_5 GhostNet_x1_0 GhostNet_x1_3 --batches 1 --minutes 20
  ppghost bench --programs "ours*" openvino onnxruntime --graphs fused --threads 1
  ppghost bench --programs onnxruntime openvino mnn ncnn --graphs fused --part network --batches 1
  ppghost bench --programs ours --pictures photos/ --weights output/best_model --size 64
  ppghost bench --train --models GhostNet_x1_0 --sizes 64 --programs ours native

The other programs get environments of their own on first use, in ~/.cache/ppghost (or PPGHOST_HOME): some
gigabytes, some minutes, which --minutes does not count. One that cannot be made is named with the reason and
left out. Close other programs while it runs; "min..max" tells how quiet the machine was.
"""
# Options that only one of the two measurements has, with the defaults.
_OF_INFERENCE: dict[str, Any] = {
    "batches": [1, 8, 32],
    "graphs": [],
    "pictures": None,
    "weights": None,
    "size": 224,
    "part": ["network", "files"],
}
_OF_TRAINING = {"sizes": list(training.SIZES)}


def add_bench(verbs: Any) -> None:
    """Declare the verb on the parser's verbs."""
    bench = verbs.add_parser(
        "bench",
        help="measure the speed of inference or training",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_what(bench)
    _add_of_inference(bench)
    _add_how(bench)
    add_phone_actions(bench)
    bench.set_defaults(run=bench_speed)


def _add_what(bench: argparse.ArgumentParser) -> None:
    add = bench.add_argument
    add("--train", action="store_true", help="measure training steps instead of inference")
    add("--models", nargs="+", choices=MODELS, help="default: GhostNet_x1_0; with --train: all")
    add(
        "--programs",
        nargs="+",
        metavar="PATTERN",
        help="names or shell patterns; default: ours:*:fused and all others",
    )
    add(
        "--threads",
        nargs="+",
        type=int,
        metavar="N",
        help="default: 1 and 2; with --train: one number, all CPUs",
    )
    add(
        "--sizes",
        nargs="+",
        type=int,
        choices=training.SIZES,
        help="with --train: sides of the pictures; default: all",
    )


def _add_of_inference(bench: argparse.ArgumentParser) -> None:
    add = bench.add_argument
    add("--batches", nargs="+", type=int, metavar="N", help="pictures in a call (default: 1 8 32)")
    add(
        "--part",
        nargs="+",
        choices=_OF_INFERENCE["part"],
        help="the network alone, from files to answers (default: both)",
    )
    add("--graphs", nargs="+", choices=GRAPHS[1:], help="graphs of ours that the other programs run besides")
    add("--pictures", metavar="FOLDER", help="JPEG files to classify (default: drawn ones)")
    add("--weights", metavar="FILE", help="trained weights of the one model (default: random ones)")
    add("--size", type=int, metavar="PIXELS", help="height and width of the input (default: 224)")


def _add_how(bench: argparse.ArgumentParser) -> None:
    add = bench.add_argument
    add("--rounds", type=int, default=10, help="most turns of each program in a setting (default: 10)")
    add(
        "--minutes",
        type=float,
        default=10,
        help="time for all settings; fewer rounds, but never less than two, where it is short (default: 10)",
    )
    add("--json", metavar="FILE", help="also write every round to FILE")
    add("--plot", metavar="FILE.png", help="also draw the medians (needs matplotlib)")


def bench_speed(options: argparse.Namespace) -> int:
    """Measure, print the tables, write what was asked for; 1 where a program had to be left out."""
    _settle(options)
    if options.plot:
        report.check_plotting()
    with logging_to(None):
        return _bench_training(options) if options.train else _bench_inference(options)


def _settle(options: argparse.Namespace) -> None:
    """Fill in the defaults of the measurement that is meant.

    Raises:
        ConfigError: an option has no effect on it, or a number is too small.
    """
    mine, others = (_OF_TRAINING, _OF_INFERENCE) if options.train else (_OF_INFERENCE, _OF_TRAINING)
    for name in others:
        if getattr(options, name) is not None:
            what = "--train" if options.train else "a measurement without --train"
            raise ConfigError(f"--{name} has no effect on {what}; leave it out.")
    for name, default in mine.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    for name in ("rounds", "threads", "batches", "size"):
        given = getattr(options, name)
        for number in given if isinstance(given, list) else [given]:
            if number is not None and number < 1:
                raise ConfigError(f"--{name} is {number}; at least 1 is needed.")
    if options.train and len(options.threads or []) > 1:
        raise ConfigError("--threads takes one number with --train.")


def _bench_training(options: argparse.Namespace) -> int:
    names = options.programs or list(training.COMPETITORS)
    unknown = [name for name in names if name not in training.COMPETITORS]
    if unknown:
        accepted = ", ".join(training.COMPETITORS)
        raise ConfigError(f"--programs names '{unknown[0]}'. Accepted with --train: {accepted}.")
    settings = training.settings_of(_each_once(options.models or MODELS), _each_once(options.sizes))
    with _bar(len(settings)) as show:
        comparison = training.compare(
            settings,
            _each_once(names),
            rounds=options.rounds,
            budget_seconds=60 * options.minutes,
            threads=options.threads[0] if options.threads else None,
            progress=show,
        )
    print("\n".join(training_report.comparison_lines(comparison)))
    if options.json:
        report.write_json(training_report.comparison_dict(comparison), Path(options.json))
    if options.plot:
        training_report.write_plot(comparison, Path(options.plot))
    return 1 if comparison.missing else 0


def _bench_inference(options: argparse.Namespace) -> int:
    plan = _plan_of(options)
    with _bar(plan.count()) as show:
        comparison = inference.compare(plan, show)
    print("\n".join(inference_report.comparison_lines(comparison)))
    if options.json:
        report.write_json(inference_report.comparison_dict(comparison), Path(options.json))
    if options.plot:
        inference_report.write_plot(comparison, Path(options.plot))
    return 1 if comparison.missing else 0


def _plan_of(options: argparse.Namespace) -> inference.Plan:
    """Return what the options ask for.

    Raises:
        GhostError: a program is unknown, weights or pictures are not there, or the threads are too many.
    """
    models = _each_once(options.models or ["GhostNet_x1_0"])
    if options.weights and len(models) > 1:
        raise ConfigError("--weights belongs to one network; name it: --models NAME")
    threads = _each_once(options.threads or range(1, min(2, usable_processors()) + 1))
    if max(threads) > usable_processors():
        raise ConfigError(f"--threads is {max(threads)}; this process may use {usable_processors()} CPU(s).")
    weights = Path(options.weights) if options.weights else None
    programs = programs_named(options.programs or DEFAULT_PATTERNS, options.graphs)
    names = {one.name for one in programs}
    return inference.Plan(
        subjects=[Subject(model, options.size, weights) for model in models],
        programs=programs if "network" in options.part else [],
        pictures_programs=[name for name in PICTURES_PROGRAMS if name in names]
        if "files" in options.part
        else [],
        threads=threads,
        batches=_each_once(options.batches),
        rounds=options.rounds,
        budget_seconds=60 * options.minutes,
        pictures=list_pictures(options.pictures) if options.pictures else [],
        command=shlex.join(["ppghost", *sys.argv[1:]]),
    )


def _each_once(values: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    """Show how many settings are done, what runs, and the time left."""
    layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=total, bar_format=layout, disable=None, leave=False) as bar:

        def show(done: float, note: str) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        yield show
