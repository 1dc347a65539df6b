"""The published CIFAR archives: pictures of 32 x 32 pixels in Python pickles inside a tar file.

Nothing in them is executed, see `ppghost.unpickle`.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from paddle.dataset.common import download

from ppghost.errors import DataError
from ppghost.unpickle import ArrayUnpickler


@dataclass(frozen=True)
class CifarArchive:
    """What is known about one of the archives.

    Attributes:
        url: where it is published.
        md5: its published checksum.
        members: the pickles of each half, by a part of their name.
        label_key: under which key a pickle holds its labels.
    """

    url: str
    md5: str
    members: dict[str, str]
    label_key: bytes


# Source: https://www.cs.toronto.edu/~kriz/cifar.html; the addresses are Paddle's mirror.
ARCHIVES = {
    "Cifar10": CifarArchive(
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        {"train": "data_batch", "test": "test_batch"},
        b"labels",
    ),
    "Cifar100": CifarArchive(
        "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        {"train": "train", "test": "test"},
        b"fine_labels",
    ),
}

# What a pickle of other things, or a damaged one, makes of the steps that expect arrays.
_OF_ODD_CONTENT = (KeyError, ValueError, TypeError, IndexError, AttributeError)


def fetch_cifar(name: str) -> str:
    """Return the path of an archive in Paddle's cache, downloaded where it is not there yet.

    Raises:
        DataError: it cannot be downloaded; the message says where to put it by hand.
    """
    archive = ARCHIVES[name]
    try:
        return str(download(archive.url, "cifar", archive.md5))
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{archive.url} cannot be downloaded ({error}). Fetch it elsewhere (md5 {archive.md5}) "
            "and give its path as data_file."
        ) from error


def read_cifar(name: str, path: str, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures and the labels of one half of an archive.

    Args:
        name: `Cifar10` or `Cifar100`.
        path: the tar file.
        mode: `train` or `test`.

    Returns:
        uint8 [N, 32, 32, 3] RGB, and int64 [N].

    Raises:
        DataError: the file is missing, damaged or no such archive.
    """
    archive = ARCHIVES[name]
    try:
        parts = list(_unpickle(path, archive.members[mode]))
        planes = np.concatenate([np.asarray(part[b"data"], np.uint8) for part in parts])
        labels = np.concatenate([np.asarray(part[archive.label_key], np.int64) for part in parts])
        pictures = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    except (
        OSError,
        EOFError,
        tarfile.TarError,
        zlib.error,
        pickle.UnpicklingError,
        *_OF_ODD_CONTENT,
    ) as error:
        raise DataError(
            f"'{path}' is not the {name} archive ({type(error).__name__}: {error}). "
            f"Accepted: the file from {archive.url}; leave data_file out to have it downloaded."
        ) from error
    return np.ascontiguousarray(pictures), labels


def _unpickle(path: str, member: str) -> Iterator[dict[bytes, Any]]:
    with tarfile.open(path) as tar:
        members = sorted(tar.getmembers(), key=lambda each: each.name)
        # The checksum stands at the very end, where tarfile does not read: damaged pixels would pass.
        while tar.fileobj is not None and tar.fileobj.read(1 << 20):
            pass
        for info in members:
            stream = tar.extractfile(info) if member in info.name.rpartition("/")[2] else None
            if stream is not None:
                yield ArrayUnpickler(io.BytesIO(stream.read()), encoding="bytes").load()
