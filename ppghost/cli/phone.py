"""`ppghost bench check` and `ppghost bench table`: results that phones wrote.

Program: may print. Imports no paddle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ppghost.bench.phone import read_result, warnings_of
from ppghost.bench.phone_table import table_markdown
from ppghost.cli.program import add_verb, shown

_EXAMPLE = """example:
  adb pull /sdcard/Android/data/org.ppghost.demo/files/bench.json
  ppghost bench check bench.json && ppghost bench table bench.json
"""


def add_phone_actions(bench: argparse.ArgumentParser) -> None:
    """Declare the actions on the parser of `bench`, which measures on this machine without one."""
    actions: Any = bench.add_subparsers(
        metavar="{check,table}", title="results of phones, instead of a measurement"
    )
    check = add_verb(actions, "check", check_result, "check a result that a phone wrote", _EXAMPLE)
    check.add_argument("file", metavar="FILE.json", help="what the app or the C++ program wrote")
    table = add_verb(actions, "table", print_table, "make a Markdown table of such results", _EXAMPLE)
    table.add_argument("files", nargs="+", metavar="FILE.json", help="checked first, each of them")


def check_result(options: argparse.Namespace) -> int:
    """Check that a phone's benchmark result is complete, whole and possible, and print what it holds.

    Its statistics are computed again from all times. A result that lacks its origin (device, library, model
    file, power mode, heat) is refused with exit code 2: nobody could repeat it.
    """
    result = read_result(Path(options.file))
    device, plan = result.device, result.plan
    for warning in warnings_of(result):
        print(f"note  {shown(warning)}")
    print(
        shown(
            f"ok  {len(result.cells)} of {len(plan.models) * len(plan.threads) * plan.rounds} cells, "
            f"{plan.repeats} times each, on {device.model} ({device.abi}, {device.os}) with "
            f"{result.engine.name} {result.engine.version}"
        )
    )
    return 0


def print_table(options: argparse.Namespace) -> int:
    """Print a Markdown table of the latencies in phones' benchmark results.

    Each file is checked first. What PaddleClas published stands in a column of its own; it was measured with
    an unknown version of Paddle Lite and is never mixed with what is measured.
    """
    print(shown("\n".join(table_markdown([read_result(Path(file)) for file in options.files]))))
    return 0
