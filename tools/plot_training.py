"""Draw loss, learning rate and top-1 of one or several runs from their train.log into a PNG.

A run is a log, or a folder with a train.log (or with folders that have one). PaddleClas' logs can be drawn
too. Of a run that was resumed the whole course is drawn; what was done twice counts once, as it was done
last. Evaluations of averaged weights (EMA) have a curve of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.bench.curves import draw_curves  # noqa: E402 - the checkout must be found first
from ppghost.bench.report import check_plotting  # noqa: E402 - the checkout must be found first
from ppghost.cli.program import place, run_verb, shown  # noqa: E402 - the checkout must be found first
from ppghost.errors import OutputError  # noqa: E402 - the checkout must be found first
from ppghost.train.history import find_logs, read_history  # noqa: E402 - the checkout must be found first

EPILOG = """\
one run, and two runs in one picture:
  python tools/plot_training.py output
  python tools/plot_training.py output/baseline output/ssld --output both.png

needs matplotlib: pip install 'ppghost[plot]', or pip install matplotlib
"""


def plot(options: argparse.Namespace) -> int:
    """Read the logs, draw them, and tell what was left out."""
    output = Path(options.output)
    if output.suffix.lower() != ".png":
        raise OutputError(f"Curves are drawn as PNG, not as '{output.name}'. Let the name end with .png.")
    check_plotting("drawing curves")
    histories = {
        name: read_history(log) for name, log in find_logs([Path(run) for run in options.runs]).items()
    }
    draw_curves(histories, output)
    for name, history in histories.items():
        last = history.points[-1].epoch
        went_back = f", went back {history.rewound} times" if history.rewound else ""
        print(shown(f"{name}: {history.source}, {last:g} epoch(s){went_back}"))
        if history.broken:
            print(
                shown(
                    f"{history.source}: {len(history.broken)} lines are incomplete and were left out, the "
                    f"first in line {history.broken[0]}"
                ),
                file=sys.stderr,
            )
    print(shown(f"drawn: {output}"))
    return 0


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", type=place, metavar="RUN", help="a train.log, or a folder with one")
    add(
        "--output",
        type=place,
        default="training.png",
        metavar="FILE.png",
        help="the picture (default: %(default)s); an existing one is replaced",
    )
    parser.set_defaults(run=plot)
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(main())
