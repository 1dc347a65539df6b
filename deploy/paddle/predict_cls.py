"""PaddleClas' `deploy/python/predict_cls.py` from a checkout: `ppghost predict_cls` under its old name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppghost.cli import main  # noqa: E402 - the checkout must be found first

if __name__ == "__main__":
    sys.exit(main(["predict_cls", *sys.argv[1:]]))
