"""Fixtures that all rooms share: a drawn picture set, real pictures where they are, seeded chance."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about us.
settings.register_profile("ppghost", deadline=None)
settings.load_profile("ppghost")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


class PictureSet(NamedTuple):
    """A picture set on disk, in PaddleClas' list format."""

    root: Path
    class_names: tuple[str, ...]
    train_list: Path
    val_list: Path
    labels: Path


@pytest.fixture(scope="session")
def tiny_shapes(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """Four classes of drawn pictures, 32 x 32: eight of each to train on, three to validate; read only."""
    from tools.make_shapes_dataset import Recipe, make_set

    names = ("disc", "star", "stripes", "grid")
    root = tmp_path_factory.mktemp("pictures") / "shapes"
    make_set(Recipe(names, train_per_class=8, val_per_class=3, size=32, seed=5, quality=92), root)
    return PictureSet(root, names, root / "train_list.txt", root / "val_list.txt", root / "labels.txt")


@pytest.fixture(scope="session")
def imagenet_samples(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """A thousand real photographs, one per class of ImageNet-1k; only for validation."""
    root = _unpacked("imagenet_samples.tar", tmp_path_factory)
    names = tuple(line.split(maxsplit=1)[1] for line in _lines(root / "synsets.txt"))
    return PictureSet(root, names, root / "val_list.txt", root / "val_list.txt", root / "synsets.txt")


@pytest.fixture(scope="session")
def cifar10_subset(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """20,000 and 5,000 real pictures of ten classes, 32 x 32."""
    root = _unpacked("cifar10_subset.tar.gz", tmp_path_factory)
    names = tuple(line.split(maxsplit=1)[1] for line in _lines(root / "labels.txt"))
    return PictureSet(root, names, root / "train_list.txt", root / "val_list.txt", root / "labels.txt")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _unpacked(name: str, factory: pytest.TempPathFactory) -> Path:
    archive = SHARED_DATA / name
    if not archive.is_file():
        pytest.skip(f"{archive} is not there; this test reads real pictures that are kept beside the project")
    folder = factory.mktemp("real")
    with tarfile.open(archive) as tar:
        # Early releases of Python 3.9 to 3.11 have no filters yet.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder, **safely)
    tops = [entry for entry in folder.iterdir() if entry.is_dir()]
    return folder if (folder / "val_list.txt").exists() else tops[0]


@pytest.fixture
def seeded() -> Iterator[np.random.RandomState]:
    """A generator with a fixed seed; the global ones of `random` and NumPy are seeded too, then put back."""
    states = random.getstate(), np.random.get_state()
    random.seed(1234)
    np.random.seed(1234)
    yield np.random.RandomState(1234)
    random.setstate(states[0])
    np.random.set_state(states[1])
