"""Measure how many pictures a second the input pipeline delivers for a configuration.

    python tools/bench_input.py -c configs/GhostNet_x1_0.yaml -o DataLoader.Train.dataset.image_root=...
    python tools/bench_input.py -c ... --paddleclas-root ~/PaddleClas --paddleclas-python ~/venv/bin/python

With PaddleClas beside it, both sides read the same configuration in turns, so that whatever else the machine
does meets both. A measurement includes building the loader, starting its workers and going from one epoch to
the next. The result is JSON on standard output; CPU time tells more than wall time on a busy machine.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

# The measured side may be PaddleClas' interpreter, so everything above is the standard library.
ROOT = Path(__file__).resolve().parent.parent

Measure = Callable[[int, int], int]


def measure_ours(config_path: str, overrides: list[str], mode: str) -> Measure:
    """Return a function (workers, epochs) -> pictures that reads a split with ppghost."""
    sys.path.insert(0, str(ROOT))
    import dataclasses

    from ppghost.config import load_config
    from ppghost.data import build_loader

    config = load_config(config_path, overrides)
    split = getattr(config.DataLoader, mode)

    def run(workers: int, epochs: int) -> int:
        loader = build_loader(
            dataclasses.replace(split, loader=dataclasses.replace(split.loader, num_workers=workers)),
            seed=0,
            rank=0,
            world_size=1,
            epochs=epochs,
            class_num=config.shipped.class_num,
            training=mode == "Train",
        )
        pictures = sum(batch.size for epoch in range(1, epochs + 1) for batch in loader.batches(epoch))
        loader.close()
        return pictures

    return run


def measure_paddleclas(root: str, config_path: str, overrides: list[str], mode: str) -> Measure:
    """Return the same function for a PaddleClas source tree."""
    sys.path.insert(0, root)
    from ppcls.data import build_dataloader
    from ppcls.utils import logger
    from ppcls.utils.config import get_config

    logger.init_logger()
    config = get_config(config_path, overrides=overrides, show=False)
    config.DataLoader.update({"class_num": config.shipped.class_num, "epochs": 1})

    def run(workers: int, epochs: int) -> int:
        section = copy.deepcopy(config.DataLoader)
        section[mode]["loader"]["num_workers"] = workers
        loader = build_dataloader(section, mode, "cpu")
        return sum(batch[0].shape[0] for _ in range(epochs) for batch in loader)

    return run


def serve(run: Measure) -> None:
    """Answer each line `[workers, epochs]` on standard input with one JSON line of measurements."""
    import paddle

    paddle.set_device("cpu")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        workers, epochs = json.loads(line)
        cpu, start = cpu_seconds(), time.perf_counter()
        pictures = run(workers, epochs)
        seconds = time.perf_counter() - start
        answer = {"pictures": pictures, "seconds": seconds, "cpu_seconds": cpu_seconds() - cpu}
        print(json.dumps(answer), file=answers, flush=True)


def cpu_seconds() -> float:
    """Return the processor time of this process and its finished children, in seconds."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Side:
    """One of the measured programs, running and waiting for orders."""

    def __init__(self, name: str, python: str, arguments: list[str]) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), "--serve", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def measure(self, workers: int, epochs: int) -> dict[str, float]:
        """Return pictures per second and CPU milliseconds per picture of one run."""
        assert self._process.stdin is not None, "a pipe was asked for"
        assert self._process.stdout is not None, "a pipe was asked for"
        self._process.stdin.write(json.dumps([workers, epochs]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"The {self._name} side ended; run this command with --serve {self._name} to see why."
            )
        answer = json.loads(line)
        return {
            "pictures_per_second": answer["pictures"] / answer["seconds"],
            "cpu_ms_per_picture": 1000 * answer["cpu_seconds"] / answer["pictures"],
        }

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


def spread(values: list[float]) -> dict[str, float]:
    """Return median, least and greatest of some numbers, rounded to three digits behind the point."""
    picked = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 3) for name, value in picked.items()}


def compare(sides: dict[str, Side], workers: int, rounds: int, epochs: int) -> dict[str, Any]:
    """Measure all sides in turns, and return each one's figures and, of two sides, their ratio per round."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(list(sides)))
        for name in order:
            runs[name].append(sides[name].measure(workers, epochs))
    result: dict[str, Any] = {
        name: {key: spread([run[key] for run in runs[name]]) for key in runs[name][0]} for name in sides
    }
    if "paddleclas" in sides:
        pairs = list(zip(runs["ppghost"], runs["paddleclas"]))
        rates = [ours["pictures_per_second"] / theirs["pictures_per_second"] for ours, theirs in pairs]
        costs = [theirs["cpu_ms_per_picture"] / ours["cpu_ms_per_picture"] for ours, theirs in pairs]
        result["times_as_fast"] = spread(rates)
        result["times_less_cpu"] = spread(costs)
    return result


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("-c", "--config", required=True, help="configuration file")
    parser.add_argument("-o", "--override", action="append", default=[], help="key=value, may be repeated")
    parser.add_argument("--mode", choices=("Train", "Eval"), default="Train", help="which split to read")
    parser.add_argument(
        "--num-workers", type=int, nargs="+", default=[0, 2, 4], help="loader.num_workers to try"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements per side and number of workers")
    parser.add_argument("--epochs", type=int, default=2, help="epochs in one measurement")
    parser.add_argument("--paddleclas-root", help="PaddleClas source tree to measure beside ours")
    parser.add_argument("--paddleclas-python", help="interpreter that can import it")
    parser.add_argument("--output", help="also write the JSON to this file")
    parser.add_argument("--serve", choices=("ppghost", "paddleclas"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if bool(arguments.paddleclas_root) != bool(arguments.paddleclas_python):
        parser.error("--paddleclas-root and --paddleclas-python go together")
    return arguments


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    config_path = str(Path(arguments.config).resolve())
    if arguments.serve == "ppghost":
        serve(measure_ours(config_path, arguments.override, arguments.mode))
        return
    if arguments.serve == "paddleclas":
        root = arguments.paddleclas_root
        serve(measure_paddleclas(root, config_path, arguments.override, arguments.mode))
        return
    common = ["-c", config_path, "--mode", arguments.mode]
    common += [part for override in arguments.override for part in ("-o", override)]
    sides = {"ppghost": Side("ppghost", sys.executable, common)}
    if arguments.paddleclas_root:
        root, python = str(Path(arguments.paddleclas_root).resolve()), arguments.paddleclas_python
        theirs = ["--paddleclas-root", root, "--paddleclas-python", python, *common]
        sides["paddleclas"] = Side("paddleclas", python, theirs)
    for side in sides.values():
        side.measure(0, 1)  # fills the page cache and whatever is made on first use
    report: dict[str, Any] = {"config": arguments.config, "mode": arguments.mode, "cpus": os.cpu_count()}
    report["rounds"], report["epochs"] = arguments.rounds, arguments.epochs
    for workers in arguments.num_workers:
        report[f"num_workers={workers}"] = compare(sides, workers, arguments.rounds, arguments.epochs)
    for side in sides.values():
        side.close()
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.output:
        Path(arguments.output).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
