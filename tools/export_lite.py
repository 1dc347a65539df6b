"""Convert a folder exported for Paddle for phones: `ppghost export --target lite --artifact FOLDER`.

python tools/export_lite.py FOLDER [--output FOLDER] [--graph {stock,folded,fused}]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.cli import main  # noqa: E402 - the checkout must be found first

if __name__ == "__main__":
    words = sys.argv[1:]
    # A folder comes first; `--help` and what `ppghost export` takes besides go through as they are.
    given = ["--artifact", *words] if words and not words[0].startswith("-") else words
    sys.exit(main(["export", "--target", "lite", *given]))
