"""Make isolated environments ahead of their first use: those of upstream packages that freeze an older world.

Every command makes the one that it needs; this is for those who want to wait now, such as CI and images.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost import environments  # noqa: E402 - the checkout must be found first
from ppghost.environments import Environment, ensure_environment  # noqa: E402
from ppghost.errors import ToolMissingError  # noqa: E402

KNOWN = {each.name: each for each in vars(environments).values() if isinstance(each, Environment)}


def main() -> int:
    """Make the environments; return 1 if one could not be made."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="+", choices=sorted(KNOWN), metavar="NAME", help=", ".join(sorted(KNOWN))
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    failed = False
    for name in parser.parse_args().names:
        try:
            print(f"{name}: {ensure_environment(KNOWN[name])}")
        except ToolMissingError as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
