"""Write the README's model table from the cards; with --check, only say whether it is up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[1]
# A checkout works without being installed.
sys.path.insert(0, str(ROOT))

from ppghost.errors import DataError, GhostError  # noqa: E402 - the checkout must be found first
from ppghost.files import replaced_file  # noqa: E402 - the checkout must be found first
from ppghost.zoo import get_card, list_models  # noqa: E402 - the checkout must be found first
from ppghost.zoo.card import Accuracy, Card  # noqa: E402 - the checkout must be found first

BEGIN = "<!-- model table: written by tools/write_model_table.py -->"
END = "<!-- end of the model table -->"
HEADER = (
    "| name | parameters (M) | multiply-adds (M) | published top-1 / top-5 | measured here | recipe |",
    "|---|---|---|---|---|---|",
)


def table_of(cards: Iterable[Card]) -> str:
    """Return the Markdown table of `cards`, one row each, ended by a newline."""
    return "".join(f"{line}\n" for line in (*HEADER, *map(_row_of, cards)))


def _row_of(card: Card) -> str:
    cells = (
        f"`{card.name}`",
        f"{card.params / 1e6:.2f}",
        f"{card.macs / 1e6:.1f}",
        _percents(card.published),
        _percents(card.measured),
        f"[{Path(card.recipe).name}]({card.recipe})" if card.recipe else "weights only",
    )
    return f"| {' | '.join(cells)} |"


def _percents(accuracy: Optional[Accuracy]) -> str:
    return f"{accuracy.top1:.2%} / {accuracy.top5:.2%}" if accuracy else "not measured"


def with_table(text: str, table: str) -> str:
    """Return `text` with what stands between the two marks replaced by `table`.

    Raises:
        DataError: the marks are not there, once each and in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in tail:
        raise DataError(f"The README must hold the lines '{BEGIN}' and '{END}' once each, in this order.")
    return f"{head}{begin}\n{table}{end}{tail}"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code: 1 when --check finds an old table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="default: %(default)s")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 if the table is old"
    )
    options = parser.parse_args(arguments)
    try:
        text = options.readme.read_text(encoding="utf-8")
        wanted = with_table(text, table_of(map(get_card, list_models("*"))))
        if text == wanted:
            return 0
        if options.check:
            print("error: the model table is old; run python tools/write_model_table.py", file=sys.stderr)
            return 1
        with replaced_file(options.readme) as part:
            part.write_text(wanted, encoding="utf-8")
    except GhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
