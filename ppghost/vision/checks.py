"""Sentences for parameters that an op cannot honour; bricks for `__post_init__`. Imports only the rock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Union

Number = Union[int, float, str]


def check_choice(where: str, given: Any, accepted: Iterable[Any]) -> None:
    """Raise ValueError unless `given` is one of `accepted`."""
    choices = list(accepted)
    if given not in choices:
        raise ValueError(f"{where} is {given!r}; accepted: {', '.join(repr(choice) for choice in choices)}.")


def check_size(where: str, given: Any) -> None:
    """Raise ValueError unless `given` is one whole number of pixels or a pair of them, all at least 1."""
    numbers = given if isinstance(given, tuple) else (given,)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if not whole or len(numbers) not in (1, 2) or min(numbers, default=0) < 1:
        raise ValueError(f"{where} is {given!r}; accepted: a whole number of pixels or a pair, at least 1.")


def check_range(where: str, given: Any, minimum: float, maximum: float = float("inf")) -> None:
    """Raise ValueError unless `given` is a number from `minimum` to `maximum`, both included."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not minimum <= given <= maximum:
        bound = f"at least {minimum:g}" if maximum == float("inf") else f"{minimum:g} to {maximum:g}"
        raise ValueError(f"{where} is {given!r}; accepted: a number, {bound}.")


def check_whole(where: str, given: Any, minimum: int, maximum: float = float("inf")) -> None:
    """Raise ValueError unless `given` is a whole number from `minimum` to `maximum`."""
    check_range(where, given, minimum, maximum)
    if given != int(given):
        raise ValueError(f"{where} is {given!r}; accepted: a whole number.")


def check_interval(where: str, given: Any, minimum: float, maximum: float = float("inf")) -> None:
    """Raise ValueError unless `given` is a pair of numbers, low before high, between the two bounds."""
    if not isinstance(given, tuple) or len(given) != 2:
        raise ValueError(f"{where} is {given!r}; accepted: a pair of numbers, low then high.")
    for number in given:
        check_range(where, number, minimum, maximum)
    if given[0] > given[1]:
        raise ValueError(f"{where} is {given!r}; the low end comes first.")


def read_number(where: str, given: Number) -> float:
    """Return a number that YAML may write as a quotient or product of numbers, such as "1.0/255.0".

    PaddleClas executes such text; here it is only read: numbers joined by `*` and `/`, from left to right.

    Raises:
        ValueError: the text is anything else, or divides by zero.
    """
    if not isinstance(given, str):
        check_range(where, given, float("-inf"))
        return float(given)
    try:
        return _read_product(given)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"{where} is {given!r}; accepted: a number or a quotient such as '1.0/255.0'."
        ) from None


def _read_product(text: str) -> float:
    result = 1.0
    for factor in text.split("*"):
        first, *divisors = factor.split("/")
        result *= float(first)
        for divisor in divisors:
            result /= float(divisor)
    return result
