"""The zoo: cards (what models are), the factory (networks from cards) and weights (files, checks, loading).

Importing this package loads the cards only; `build_model`, `load_weights` and `fetch_weights` bring Paddle in
when they are first asked for, so that listing models stays quick and works on hosts without Paddle.
"""

from __future__ import annotations

import importlib
from typing import Any

from ppghost.zoo import cards as cards
from ppghost.zoo.card import Card, get_card, list_models

__all__ = ["Card", "build_model", "fetch_weights", "get_card", "list_models", "load_weights"]

_LAZY = {
    "build_model": "ppghost.zoo.factory",
    "fetch_weights": "ppghost.zoo.weights",
    "load_weights": "ppghost.zoo.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
