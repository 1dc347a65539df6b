"""Pictures in, batches out: `build_loader(config.DataLoader.Train, ...)` and then `loader.batches(epoch)`.

Data knows lists, samples and batches; it must not import `nets`, `train`, `zoo`, nor any door or program.
"""

from __future__ import annotations

from ppghost.data.loader import Batch, Loader, build_loader

__all__ = ["Batch", "Loader", "build_loader"]
