"""The batches of PaddleClas' own loader, recorded by `record_paddleclas.py`, are our batches."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from ppghost.config import loading
from ppghost.data import Loader
from ppghost.vision import Pipeline

from . import pictures

# One grey level after normalisation: the interpolation of OpenCV may round differently in another release.
ONE_LEVEL = 1 / 255 / 0.224 + 1e-6


@pytest.mark.parametrize("workers", [0, 2])
def test_two_epochs_as_paddleclas_reads_them(
    make_loader: Callable[..., Loader], tmp_path: Path, workers: int
) -> None:
    recorded = np.load(Path(__file__).with_name("paddleclas_batches.npz"))
    pictures.write_set(tmp_path / "recorded", 13)
    dataset = loading.ImageNetDataset(
        str(tmp_path / "recorded"),
        str(tmp_path / "recorded" / "list.txt"),
        transform_ops=Pipeline.from_list(pictures.RECORDED_OPS).ops,
    )
    sampler = loading.DistributedBatchSampler(**pictures.RECORDED_SAMPLER)
    loader = make_loader(dataset=dataset, sampler=sampler, workers=workers)
    for epoch in (1, 2):
        batches = list(loader.batches(epoch))
        assert [batch.size for batch in batches] == recorded["sizes"].tolist()
        labels = np.concatenate([batch.labels.numpy() for batch in batches])
        images = np.concatenate([batch.images.numpy() for batch in batches])
        assert labels.dtype == recorded[f"labels_{epoch}"].dtype
        assert labels.tolist() == recorded[f"labels_{epoch}"].tolist()
        assert images.dtype == recorded[f"images_{epoch}"].dtype
        np.testing.assert_allclose(images, recorded[f"images_{epoch}"], rtol=0, atol=ONE_LEVEL)
    loader.close()
