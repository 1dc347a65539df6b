"""Make a folder to ship from a checkout: `ppghost export` under the name that it has in PaddleClas."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.cli import main  # noqa: E402 - the checkout must be found first

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
