"""Sentences for parameters that an op cannot honour; bricks for `__post_init__`. Imports only the rock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Union, get_args, get_origin

from ppghost.arithmetic import parse_arithmetic

Number = Union[int, float, str]

_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


def fits(value: Any, annotation: Any) -> bool:
    """Say whether a YAML value (lists as tuples) is of the type that a field of an op is annotated with.

    A whole number is a number; true and false are none.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin is Union:
        return any(fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and _all_fit(value, arguments)
    kind = origin or annotation
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _all_fit(values: tuple[Any, ...], kinds: tuple[Any, ...]) -> bool:
    if kinds[1:] == (...,):
        kinds = kinds[:1] * len(values)
    return len(values) == len(kinds) and all(map(fits, values, kinds))


def describe_type(annotation: Any) -> str:
    """Return the words for what `fits` accepts."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Union:
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is tuple:
        count = "a list" if arguments[1:] == (...,) else f"a list of {len(arguments)}"
        return f"{count}, each {describe_type(arguments[0])}"
    return _KINDS.get(annotation, "a mapping")


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
    """Raise ValueError unless `given` is a finite number from `minimum` to `maximum`, both included."""
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not math.isfinite(given) or not minimum <= given <= maximum:
        bound = f", at least {minimum:g}" if maximum == math.inf else f", {minimum:g} to {maximum:g}"
        raise ValueError(f"{where} is {given!r}; accepted: a number{'' if minimum == -math.inf else bound}.")


def check_whole(where: str, given: Any, minimum: int, maximum: float = float("inf")) -> None:
    """Raise ValueError unless `given` is a whole number from `minimum` to `maximum`."""
    check_range(where, given, minimum, maximum)
    if given % 1 != 0:
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
    try:
        number = parse_arithmetic(given) if isinstance(given, str) else float(given)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where} is {given!r}; accepted: a number or a quotient such as '1.0/255.0'.")
    return number
