"""The only door to PaddleClas: makes our models buildable by PaddleClas' own `build_model` and Engine.

PaddleClas finds a network by its name in the module `ppcls.arch` (source tree) or `paddleclas.ppcls.arch`
(wheel) and calls it as `f(pretrained=False, use_ssld=False, **kwargs)`.
Registering puts such functions there.

Door: the only module that may import ppcls or paddleclas.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable

from paddle import nn

from ppghost.errors import GhostError, ToolMissingError, suggest
from ppghost.zoo.card import list_models
from ppghost.zoo.factory import build_model

# A source tree comes first: whoever stands in one means it, even with the wheel installed beside it.
_ARCH_MODULES = ("ppcls.arch", "paddleclas.ppcls.arch")


@dataclass(frozen=True)
class Registration:
    """What `register` did.

    Attributes:
        modules: the PaddleClas modules that were served.
        registered: names that PaddleClas now builds with our networks, in every one of `modules`.
        left: names that belong to PaddleClas itself in one of `modules` at least and were left alone there.
    """

    modules: tuple[str, ...]
    registered: tuple[str, ...]
    left: tuple[str, ...]


def register(force: bool = False) -> Registration:
    """Make every card buildable by PaddleClas.

    Side effect: sets attributes on `ppcls.arch` or `paddleclas.ppcls.arch`, whichever is loaded; if neither
    is, the first that can be imported is imported. Calling it again changes nothing.

    Args:
        force: also replace networks of PaddleClas that have a card's name.

    Raises:
        ToolMissingError: there is no PaddleClas, or it cannot be imported; the message says what to do.
    """
    modules = _arch_modules()
    left = {name for module in modules for name in list_models() if not (force or _is_free(module, name))}
    for module in modules:
        for name in list_models():
            if force or _is_free(module, name):
                setattr(module, name, _entry(name))
    return Registration(
        modules=tuple(module.__name__ for module in modules),
        registered=tuple(name for name in list_models() if name not in left),
        left=tuple(sorted(left)),
    )


def find_theirs(name: str) -> Callable[..., nn.Layer]:
    """Return the function with which PaddleClas builds one of its own networks, such as "ResNet50_vd".

    Raises:
        GhostError: PaddleClas has none of that name; the message lists the near names, ours included.
        ToolMissingError: there is no PaddleClas, or it cannot be imported; the message says what to do.
    """
    try:
        modules = _arch_modules()
    except ToolMissingError as error:
        raise ToolMissingError(
            f"'{name}' is no network of ours ({suggest(name, list_models())}), and PaddleClas, which may "
            f"have it, cannot be asked. {error}"
        ) from error
    theirs = {
        key: value
        for key, value in vars(modules[0]).items()
        if callable(value) and ".arch.backbone." in getattr(value, "__module__", "")
    }
    if name not in theirs:
        raise GhostError(
            f"Neither PaddleClas ({modules[0].__name__}) nor we have a network '{name}'. "
            f"{suggest(name, [*theirs, *list_models()])}"
        )
    build: Callable[..., nn.Layer] = theirs[name]
    return build


def _is_free(module: ModuleType, name: str) -> bool:
    """Say whether `name` is unused in `module` or already ours."""
    return getattr(getattr(module, name, None), "__module__", __name__) == __name__


def _entry(name: str) -> Callable[..., nn.Layer]:
    """Return the function that PaddleClas calls to build the model `name`."""

    def build(pretrained: Any = False, use_ssld: bool = False, **kwargs: Any) -> nn.Layer:
        return build_model(name, pretrained=pretrained, use_ssld=use_ssld, **kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Build ppghost's {name}; arguments as in `ppghost.build_model`."
    return build


def _arch_modules() -> list[ModuleType]:
    loaded = [sys.modules[name] for name in _ARCH_MODULES if name in sys.modules]
    return loaded or [_import_first(_ARCH_MODULES)]


def _import_first(names: Iterable[str]) -> ModuleType:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name in {name.split(".")[0], name}:
                continue
            raise _broken(name, error) from error
        except (ImportError, AttributeError) as error:
            # An old PaddleClas beside a new NumPy or Paddle fails on names that are gone.
            raise _broken(name, error) from error
    raise ToolMissingError(
        "This needs PaddleClas and found none. Run from its source tree (or add it to PYTHONPATH), or "
        "install the wheel, in an environment of its own with Python 3.10 or 3.11: paddleclas==2.6.0."
    )


def _broken(name: str, error: Exception) -> ToolMissingError:
    return ToolMissingError(
        f"PaddleClas is there, but importing {name} fails: {type(error).__name__}: {error}. Install what it "
        "lacks; its pins (numpy==1.24.4, opencv<=4.6) want an environment of their own."
    )
