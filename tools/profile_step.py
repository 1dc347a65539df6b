"""Print what a training step of a configuration spends its time on, for each kind of operator.

Runs on random pictures of the configuration's batch size and image shape: no data set is needed, and nothing
is written unless --json asks for it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.config import add_config_arguments, load_from_arguments  # noqa: E402 - the checkout must be found first
from ppghost.errors import GhostError  # noqa: E402 - the checkout must be found first
from ppghost.files import replaced_file  # noqa: E402 - the checkout must be found first
from ppghost.zoo import list_models  # noqa: E402 - the checkout must be found first

EPILOG = """\
examples:
  python tools/profile_step.py -c GhostNet_x1_0 -o Global.device=cpu -o DataLoader.Train.sampler.batch_size=16
  python tools/profile_step.py -c GhostNet_x0_5 -o Global.device=cpu \\
    -o DataLoader.Train.sampler.batch_size=64 -o Global.image_shape=[3,64,64]

environment:
  PPGHOST_DEPTHWISE=native   take Paddle's own operators apart instead of ours
  OMP_NUM_THREADS=1          on one thread

reading the table: every nanosecond counts once, for the innermost operator that it was spent in. "native ..."
are kernels of ours; "Python, framework" is what lies between operators. "update" is the optimizer's part.
"""


def parse_arguments(words: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    parser.add_argument("--steps", type=int, default=3, help="steps to record (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    options = parser.parse_args(words)
    if options.steps < 1:
        parser.error(f"--steps is {options.steps}; at least 1 is needed")
    return options


def main() -> int:
    """Load the configuration, measure, print; return the exit code."""
    options = parse_arguments()
    logging.basicConfig(format="%(message)s")
    # Paddle's advice to its own developers.
    warnings.filterwarnings("ignore", message="No ccache found")
    try:
        config = load_from_arguments(options.config, options.override, arch_names=list_models())
        from ppghost.bench.step_parts import take_step_apart

        parts = take_step_apart(config, options.steps)
        print("\n".join(parts.lines()))
        if options.json:
            with replaced_file(Path(options.json)) as part:
                part.write_text(json.dumps(parts.to_dict(), indent=2) + "\n", encoding="utf-8")
    except GhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
