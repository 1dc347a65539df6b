"""PaddleClas YAML and `-o` overrides become one checked, frozen configuration.

    config = load_config("configs/GhostNet_x1_0.yaml", ["Global.device=cpu", "Arch.class_num=10"])
    config.Global.epochs, config.Optimizer[0].lr.learning_rate, config.to_dict()

`reader` turns text into trees that know their lines, `bind` trees into annotated dataclasses; `types` is the
vocabulary of those, `sections`, `recipe` and `loading` are the schema, `load` puts all together. Names are
loaded when they are first used, because the schema reaches into `ppghost.vision` and so to OpenCV.

Ground: never paddle.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ppghost.errors import suggest

if TYPE_CHECKING:
    from ppghost.config.bind import bind_plain
    from ppghost.config.load import (
        add_config_arguments,
        find_config,
        load_config,
        load_from_arguments,
        shipped_configs,
        shipped_file,
    )
    from ppghost.config.sections import Config

_HOMES = {
    "Config": "sections",
    "add_config_arguments": "load",
    "bind_plain": "bind",
    "find_config": "load",
    "load_config": "load",
    "load_from_arguments": "load",
    "shipped_configs": "load",
    "shipped_file": "load",
}
__all__ = [
    "Config",
    "add_config_arguments",
    "bind_plain",
    "find_config",
    "load_config",
    "load_from_arguments",
    "shipped_configs",
    "shipped_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppghost.config' has no attribute {name!r}. {suggest(name, __all__)}")
    return getattr(importlib.import_module(f"ppghost.config.{_HOMES[name]}"), name)
