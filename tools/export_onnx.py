"""Convert a folder exported for Paddle to ONNX: `ppghost export --target onnx --artifact FOLDER`.

python tools/export_onnx.py FOLDER [--output FOLDER] [--opset N] [--batch N] [--input-name NAME] ...
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.cli import main  # noqa: E402 - the checkout must be found first

if __name__ == "__main__":
    words = sys.argv[1:]
    # A folder comes first; `--help` and what `ppghost export` takes besides go through as they are.
    given = ["--artifact", *words] if words and not words[0].startswith("-") else words
    sys.exit(main(["export", "--target", "onnx", *given]))
