"""Pictures in, batches out: `build_loader(config.DataLoader.Train, ...)` and then `loader.batches(epoch)`.

Data knows lists, samples and batches; it must not import `nets`, `train`, `zoo`, nor any door or program.
Names are loaded when they are first used: list files are read where there is no Paddle too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppghost.data.loader import Batch, Loader, build_loader

__all__ = ["Batch", "Loader", "build_loader"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ppghost.data' has no attribute {name!r}")
    from ppghost.data import loader

    return getattr(loader, name)
