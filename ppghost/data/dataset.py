"""Datasets: from a dataset section of the configuration to numbered samples.

A sample is `(float32 [3, H, W], label)`, a function of its number, its `Rng` and the size that the batch asks
for, and of nothing else: whoever reads it, and when, the numbers are the same.

This room may import paddle; never `nets`, `train` or `zoo`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ppghost.config import loading
from ppghost.data.lists import (
    PictureList,
    check_distinct,
    check_labels,
    check_one_label,
    check_presence,
    read_list,
)
from ppghost.data.sampler import PictureSize
from ppghost.errors import DataError
from ppghost.files import sha256_of
from ppghost.vision import Pipeline, Rng
from ppghost.vision.decode import read_picture
from ppghost.vision.geometry import RandomRot90, ResizeImage
from ppghost.vision.stages import at_stage

# Files of a list whose content counts in its digest, spread over it evenly.
_READ_FOR_DIGEST = 100


class Samples(Protocol):
    """Numbered samples."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        ...

    def name(self, index: int) -> str:
        """Return what a person would look for to find a sample: a path, or an archive and a number."""
        ...

    def digest(self) -> str:
        """Return in hex what tells other pictures, or another order of them, apart; labels do not count.

        The names of all files count, and the content of some of them, since reading all would take long:
        it tells a set of pictures from the same set in another size.
        """
        ...

    def read(self, index: int, rng: Rng, size: PictureSize) -> tuple[np.ndarray, int]:
        """Return the picture, float32 [3, H, W] contiguous, and the label of a sample.

        Args:
            index: the number of the sample.
            rng: where random ops draw from.
            size: what the batch asks of the ops, as `PictureSize`.

        Raises:
            DataError: the picture cannot be decoded.
            OSError: the file cannot be read.
        """
        ...


class Pipelines:
    """One list of ops in the sizes and stages that batches ask for.

    Args:
        ops: of a dataset.
    """

    def __init__(self, ops: tuple[Any, ...]) -> None:
        self._made: dict[PictureSize, Pipeline] = {None: Pipeline(ops)}

    def __getitem__(self, size: PictureSize) -> Pipeline:
        """Return the pipeline for a batch that asks for `size`."""
        if size not in self._made and size is not None:
            ops = self._made[None].ops
            if isinstance(size, int):
                self._made[size] = Pipeline(tuple(at_stage(op, size) for op in ops))
            else:
                self._made[size] = Pipeline(tuple(resized(op, size) for op in ops))
        return self._made[size]


class ListedPictures:
    """The pictures of a list file (`ImageNetDataset`, `MultiScaleDataset`)."""

    def __init__(self, pictures: PictureList, ops: tuple[Any, ...]) -> None:
        self.pictures = pictures
        self._pipelines = Pipelines(ops)

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        """Return the path of the file."""
        return self.pictures.path(index)

    def digest(self) -> str:
        """Return what tells the pictures apart, as `Samples.digest`."""
        return _digest_of_files(self.pictures)

    def read(self, index: int, rng: Rng, size: PictureSize) -> tuple[np.ndarray, int]:
        """Return the picture and its label, as `Samples.read`."""
        content = read_picture(self.pictures.path(index))
        return self._pipelines[size].to_chw(content, rng), int(self.pictures.labels[index])


class TurnedPictures:
    """Pictures whose label is the number of quarter turns that RandomRot90 drew (`CustomLabelDataset`)."""

    # Four distinct corners tell how far the op turned them.
    _CORNERS = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)

    def __init__(self, pictures: PictureList, ops: tuple[Any, ...]) -> None:
        turn = next(number for number, op in enumerate(ops) if isinstance(op, RandomRot90))
        self.pictures = pictures
        self._turn = ops[turn]
        self._before, self._after = Pipelines(ops[:turn]), Pipelines(ops[turn + 1 :])

    def __len__(self) -> int:
        return len(self.pictures)

    def name(self, index: int) -> str:
        """Return the path of the file."""
        return self.pictures.path(index)

    def digest(self) -> str:
        """Return what tells the pictures apart, as `Samples.digest`."""
        return _digest_of_files(self.pictures)

    def read(self, index: int, rng: Rng, size: PictureSize) -> tuple[np.ndarray, int]:
        """Return the turned picture and its quarter turns, as `Samples.read`."""
        upright = self._before[size](read_picture(self.pictures.path(index)), rng)
        turns = self._quarter_turns(rng)
        return self._after[size].to_chw(self._turn(upright, rng), rng), turns

    def _quarter_turns(self, rng: Rng) -> int:
        """Return how far the op is about to turn the picture, and leave `rng` as it was."""
        py_state, np_state = rng.py.getstate(), rng.np.get_state()
        corners = self._turn(self._CORNERS, rng)
        rng.py.setstate(py_state)
        rng.np.set_state(np_state)
        return next(k for k in range(4) if np.array_equal(corners, np.rot90(self._CORNERS, k)))


class CifarPictures:
    """Pictures that are in memory as arrays (`Cifar10`, `Cifar100`)."""

    def __init__(self, source: str, pictures: np.ndarray, labels: np.ndarray, ops: tuple[Any, ...]) -> None:
        self._source = source
        self._pictures = pictures
        self._labels = labels
        self._pipelines = Pipelines(ops)

    def __len__(self) -> int:
        return len(self._labels)

    def name(self, index: int) -> str:
        """Return the archive and the number of the picture."""
        return f"{self._source}, picture {index}"

    def digest(self) -> str:
        """Return the digest of all pictures."""
        return hashlib.sha256(np.ascontiguousarray(self._pictures).data).hexdigest()

    def read(self, index: int, rng: Rng, size: PictureSize) -> tuple[np.ndarray, int]:
        """Return the picture and its label, as `Samples.read`."""
        return self._pipelines[size].to_chw(self._pictures[index], rng), int(self._labels[index])


class MixedSamples:
    """Several datasets, one after the other (`MixDataset`)."""

    def __init__(self, parts: tuple[Samples, ...]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, index: int) -> str:
        """Return the name that the dataset of the sample gives it."""
        part, inner = self._locate(index)
        return part.name(inner)

    def digest(self) -> str:
        """Return the digest of all parts in their order."""
        return hashlib.sha256("".join(part.digest() for part in self.parts).encode()).hexdigest()

    def read(self, index: int, rng: Rng, size: PictureSize) -> tuple[np.ndarray, int]:
        """Return the picture and its label, as `Samples.read`."""
        part, inner = self._locate(index)
        return part.read(inner, rng, size)

    def _locate(self, index: int) -> tuple[Samples, int]:
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.parts[number], index - int(self.starts[number])


def _digest_of_files(pictures: PictureList) -> str:
    digest = hashlib.sha256(pictures.bounds.astype("<i8").tobytes())
    digest.update(pictures.names)
    for index in np.linspace(0, len(pictures) - 1, min(len(pictures), _READ_FOR_DIGEST)).astype(int):
        try:
            digest.update(sha256_of(Path(pictures.path(index))).encode())
        except OSError:  # left out of training, too
            digest.update(b"unreadable")
    return digest.hexdigest()


def resized(op: Any, size: tuple[int, int]) -> Any:
    """Return `op` with the size of the batch, if it is an op that sets the size of a picture.

    PaddleClas resets the other parameters of such an op to their defaults; here they are kept.
    """
    if not isinstance(op, loading.RESIZED_OPS):
        return op
    if isinstance(op, ResizeImage):
        return dataclasses.replace(op, size=size, resize_short=None)
    return dataclasses.replace(op, size=size)


def build_samples(spec: Any, *, class_num: int, seed: int, training: bool, distinct: bool = False) -> Samples:
    """Return the samples that a dataset section describes.

    Args:
        spec: one of the dataclasses in `ppghost.config.loading.DATASETS`.
        class_num: labels have to be less than this.
        seed: what `sample_per_label` of the CIFAR sets draws from.
        training: bear with a few missing pictures.
        distinct: refuse lists that name a picture again, with whatever label.

    Raises:
        DataError: folder, list or archive is missing or broken, or a label is outside `class_num`,
            or a picture is listed again.
    """
    if isinstance(spec, loading.MixDataset):
        parts = [
            build_samples(part, class_num=class_num, seed=seed, training=training, distinct=distinct)
            for part in spec.datasets_config
        ]
        return MixedSamples(tuple(parts))
    if isinstance(spec, (loading.Cifar10, loading.Cifar100)):
        return _build_cifar(spec, class_num=class_num, seed=seed)
    if isinstance(spec, loading.CustomLabelDataset):
        pictures = read_list(spec.sample_list_path, spec.image_root, delimiter=spec.delimiter, labelled=False)
        check_presence(pictures, training=training)
        return TurnedPictures(pictures, spec.transform_ops)
    pictures = read_list(
        spec.cls_label_path,
        spec.image_root,
        delimiter=spec.delimiter,
        relabel=getattr(spec, "relabel", False),
    )
    check_labels(pictures, class_num)
    (check_distinct if distinct else check_one_label)(pictures)
    check_presence(pictures, training=training)
    return ListedPictures(pictures, spec.transform_ops)


def _build_cifar(spec: Any, *, class_num: int, seed: int) -> CifarPictures:
    # Reading the archive needs paddle for its download only; the other datasets start without it.
    from ppghost.data.cifar import fetch_cifar, read_cifar

    name = type(spec).__name__
    path = spec.data_file or fetch_cifar(name)
    pictures, labels = read_cifar(name, path, spec.mode)
    if labels.max() >= class_num:
        raise DataError(f"{name} has {labels.max() + 1} classes, but Arch.class_num is {class_num}.")
    if spec.sample_per_label is not None:
        chosen = _draw_per_label(labels, spec.sample_per_label, seed)
        chosen = np.tile(chosen, spec.expand_labels)
        pictures, labels = pictures[chosen], labels[chosen]
    # Paddle's cv2 backend hands out float32; the ops see the same values, but interpolate unrounded.
    pictures = pictures.astype(np.float32) if spec.backend == "cv2" else pictures
    return CifarPictures(path, pictures, labels, spec.transform_ops)


def _draw_per_label(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the indices of `count` pictures of each class, class after class."""
    draw = np.random.RandomState(seed)
    classes = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    least = min(len(members) for members in classes)
    if count > least:
        raise DataError(f"sample_per_label is {count}, but the smallest class has {least} pictures.")
    return np.concatenate([draw.choice(members, count, replace=False) for members in classes])
