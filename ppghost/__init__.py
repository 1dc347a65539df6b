"""ppghost: the GhostNet family for PaddlePaddle, compatible with PaddleClas.

The face of the house. Names are loaded when they are first used (PEP 562): `import ppghost` imports neither
Paddle nor OpenCV, so help, cards and configuration checks start fast and work where Paddle is absent.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ppghost.errors import suggest

if TYPE_CHECKING:
    from ppghost.plugin import register
    from ppghost.predict import Classifier
    from ppghost.zoo import get_card, list_models
    from ppghost.zoo.factory import build_model

__version__ = "0.1.0"
__all__ = ["Classifier", "__version__", "build_model", "get_card", "list_models", "register"]

_HOMES = {
    "Classifier": "ppghost.predict",
    "build_model": "ppghost.zoo.factory",
    "get_card": "ppghost.zoo",
    "list_models": "ppghost.zoo",
    "register": "ppghost.plugin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppghost' has no attribute {name!r}. {suggest(name, __all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
