"""The verb `bench`: its words, its progress bar, and where its results go.

Program: may print. The measured programs run in processes of their own, so no paddle is imported here.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ppghost.bench import report
from ppghost.bench.training import COMPETITORS, MODELS, SIZES, Comparison, compare, settings_of
from ppghost.cli.console import logging_to
from ppghost.errors import ConfigError
from ppghost.files import replaced_file

_LOG = logging.getLogger(__name__)

DESCRIPTION = f"""\
Compare the speed of training on a CPU: ours, ours with Paddle's own operators, PaddleClas' network, and
timm's on PyTorch. Each runs in a process of its own, and all take turns; a step is forward, loss, backward
and update with momentum, in float32, on random pictures.

programs: {", ".join(f"{name} ({one.title})" for name, one in COMPETITORS.items())}
"""
EPILOG = """\
examples:
  ppghost bench --train --json bench.json --plot bench.png
  ppghost bench --train --models GhostNet_x1_0 --sizes 64 --programs ours native
  ppghost bench --train --programs ours --threads 1

PaddleClas and PyTorch get environments of their own on first use, in ~/.cache/ppghost (or PPGHOST_HOME): some
gigabytes, some minutes, which --minutes does not count. One that cannot be made is named with the reason and
left out. Close other programs while it runs; "min..max" tells how quiet the machine was.
"""


def add_bench(verbs: Any) -> None:
    """Declare the verb on the parser's verbs."""
    bench = verbs.add_parser(
        "bench",
        help="measure the speed of training",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    bench.add_argument(
        "--train", action="store_true", help="measure training steps (the only measurement so far)"
    )
    bench.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="default: all")
    bench.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        choices=SIZES,
        default=SIZES,
        help="sides of the pictures; default: all",
    )
    bench.add_argument(
        "--programs", nargs="+", choices=list(COMPETITORS), default=list(COMPETITORS), help="default: all"
    )
    bench.add_argument(
        "--rounds", type=int, default=10, help="most turns of each program in a setting (default: 10)"
    )
    bench.add_argument(
        "--minutes",
        type=float,
        default=6,
        help="time for all settings; fewer rounds, but never less than two, where it is short (default: 6)",
    )
    bench.add_argument("--threads", type=int, help="threads of each program (default: all CPUs)")
    bench.add_argument("--json", metavar="FILE", help="also write every round to FILE")
    bench.add_argument("--plot", metavar="FILE.png", help="also draw the medians (needs matplotlib)")
    bench.set_defaults(run=bench_training)


def bench_training(options: argparse.Namespace) -> int:
    """Measure, print the table, write what was asked for; 1 where a program had to be left out."""
    if not options.train:
        raise ConfigError("Say what to measure: ppghost bench --train")
    for name in ("rounds", "threads"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ConfigError(f"--{name} is {number}; at least 1 is needed.")
    if options.plot:
        report.check_plotting()
    with logging_to(None):
        comparison = _with_bar(options)
        print("\n".join(report.comparison_lines(comparison)))
        if options.json:
            with replaced_file(Path(options.json)) as part:
                text = json.dumps(report.comparison_dict(comparison), indent=2, ensure_ascii=False)
                part.write_text(text + "\n", encoding="utf-8")
        if options.plot:
            report.write_plot(comparison, Path(options.plot))
    return 1 if comparison.missing else 0


def _with_bar(options: argparse.Namespace) -> Comparison:
    settings = settings_of(list(dict.fromkeys(options.models)), list(dict.fromkeys(options.sizes)))
    layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=len(settings), bar_format=layout, disable=None, leave=False) as bar:

        def show(done: float, note: str) -> None:
            bar.set_postfix_str(note, refresh=False)
            bar.update(done - bar.n)
            bar.refresh()

        return compare(
            settings,
            list(dict.fromkeys(options.programs)),
            rounds=options.rounds,
            budget_seconds=60 * options.minutes,
            threads=options.threads,
            progress=show,
        )
