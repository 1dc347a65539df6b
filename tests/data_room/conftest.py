"""Small picture sets that the tests of the data room read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

from ppghost.config import loading
from ppghost.data import Loader, build_loader
from ppghost.vision import Pipeline

from . import pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with 23 PNG pictures of five classes and their list, `list.txt`."""
    pictures.write_set(tmp_path, 23)
    return tmp_path


@pytest.fixture
def make_loader(folder: Path) -> Callable[..., Loader]:
    """Return a function that builds a loader over `folder`; keywords replace the usual values."""

    def make(
        *,
        workers: int = 0,
        shared: bool = True,
        ops: Any = pictures.TRAIN_OPS,
        batch_ops: Any = None,
        sampler: Any = None,
        dataset: Any = None,
        **arguments: Any,
    ) -> Loader:
        usual = loading.ImageNetDataset(
            image_root=str(folder),
            cls_label_path=str(folder / "list.txt"),
            transform_ops=Pipeline.from_list(ops).ops,
            batch_transform_ops=batch_ops,
        )
        split = loading.Split(
            dataset=dataset or usual,
            sampler=sampler or loading.DistributedBatchSampler(4, shuffle=True),
            loader=loading.Loader(num_workers=workers, use_shared_memory=shared),
        )
        usually = {"seed": 0, "rank": 0, "world_size": 1, "epochs": 3, "class_num": 5, "training": True}
        return build_loader(split, **{**usually, **arguments})

    return make
