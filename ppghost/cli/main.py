"""The parser of `ppghost VERB ...`, and how errors end a program.

Program: may print and exit. Imports no paddle: a verb does when it runs.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Optional

from ppghost import __version__
from ppghost.cli import verbs
from ppghost.cli.bench import add_bench
from ppghost.config import add_config_arguments
from ppghost.errors import GhostError

EXIT_INTERRUPTED = 130

EPILOG = """examples:
  ppghost train -c GhostNet_x1_0 -o Global.device=cpu
  ppghost train -c my.yaml --check
  ppghost eval -c my.yaml -o Global.pretrained_model=output/best_model
  ppghost export -c my.yaml -o Global.pretrained_model=output/best_model
  ppghost infer --artifact inference picture.jpg
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with one sub-parser for each verb."""
    parser = argparse.ArgumentParser(
        prog="ppghost",
        description="Train, evaluate, use and ship GhostNet from PaddleClas configurations.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ppghost {__version__}")
    verb = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    train = verb.add_parser("train", help="train a network", description=verbs.train.__doc__)
    add_config_arguments(train)
    train.add_argument(
        "--check",
        action="store_true",
        help="check the configuration and the data, tell what would run, and stop",
    )
    train.set_defaults(run=verbs.train)

    evaluate = verb.add_parser("eval", help="measure a network", description=verbs.evaluate.__doc__)
    add_config_arguments(evaluate)
    evaluate.set_defaults(run=verbs.evaluate)

    infer = verb.add_parser("infer", help="classify pictures", description=verbs.infer.__doc__)
    add_config_arguments(infer, required=False)
    infer.add_argument("inputs", nargs="*", metavar="PICTURE", help="picture files or folders")
    infer.add_argument("--artifact", metavar="FOLDER", help="an exported folder, instead of -c")
    infer.add_argument("--list", metavar="FILE", help="a file with one picture path per line")
    infer.add_argument("--topk", type=int, metavar="K", help="classes per picture (default: as configured)")
    infer.add_argument(
        "--batch-size", type=int, metavar="N", help="pictures per run (default: as configured)"
    )
    infer.add_argument("--output", metavar="FILE", help="write results to FILE.jsonl or FILE.csv")
    infer.add_argument("--engine", help="engine for --artifact: native or onednn (default: onednn)")
    infer.set_defaults(run=verbs.infer)

    export = verb.add_parser("export", help="make a folder to ship", description=verbs.export.__doc__)
    add_config_arguments(export)
    export.set_defaults(run=verbs.export)

    verify = verb.add_parser("verify", help="prove a shipped folder", description=verbs.verify.__doc__)
    verify.add_argument("artifact", metavar="FOLDER", help="an exported folder")
    verify.set_defaults(run=verbs.verify)

    models = verb.add_parser("models", help="list the networks", description=verbs.models.__doc__)
    models.add_argument("pattern", nargs="?", default="*", help='shell pattern, "GhostNet_x1*"')
    models.set_defaults(run=verbs.models)

    add_bench(verb)
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one verb and return the exit code.

    Args:
        arguments: the words after the program's name; None takes them from the process.
    """
    # Paddle's advice to its own developers: nothing here is compiled by it, and frozen batch norm is meant.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except GhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`ppghost models | head -1`); there is nobody left to tell.
        sys.stderr.close()
        return 1
    return code
