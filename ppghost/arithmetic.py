"""Numbers that a configuration may write as products and quotients, "1.0/255.0": parsed, never executed.

Rock: standard library only.
"""

from __future__ import annotations

import re

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PRODUCT = re.compile(rf"\s*{NUMBER}(?:\s*[*/]\s*{NUMBER})*\s*")
_STEP = re.compile(rf"([*/]?)\s*({NUMBER})\s*")


def parse_arithmetic(text: str) -> float:
    """Return the value of numbers joined by `*` and `/`, from left to right: "1.0/255.0".

    Raises:
        ValueError: the text is anything else, or divides by zero.
    """
    if not _PRODUCT.fullmatch(text):
        raise ValueError(f"'{text}' is not a number, nor numbers joined by * and /")
    result = 1.0
    for operator, number in _STEP.findall(text):
        if operator == "/" and float(number) == 0:
            raise ValueError(f"'{text}' divides by zero")
        result = result / float(number) if operator == "/" else result * float(number)
    return result
