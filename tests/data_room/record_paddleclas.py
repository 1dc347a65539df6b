"""Record the batches that PaddleClas' own loader delivers, for `test_paddleclas.py`.

    cd tests/data_room && python record_paddleclas.py /path/to/PaddleClas

Runs in an interpreter in which PaddleClas runs (not ours), on pictures that it draws and saves without loss,
and writes `paddleclas_batches.npz` beside itself. Recorded: PaddleClas d178931, paddle 3.3.1, OpenCV 4.11.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from pictures import RECORDED_OPS, RECORDED_SAMPLER, write_set


def main() -> None:
    """Read two epochs with PaddleClas and write them."""
    sys.path.insert(0, sys.argv[1])
    from ppcls.data import build_dataloader
    from ppcls.utils import logger

    logger.init_logger()
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), 13)
        dataset = {
            "name": "ImageNetDataset",
            "image_root": folder,
            "cls_label_path": f"{folder}/list.txt",
            "transform_ops": RECORDED_OPS,
        }
        section = {
            "dataset": dataset,
            "sampler": {"name": "DistributedBatchSampler", **RECORDED_SAMPLER},
            "loader": {"num_workers": 0, "use_shared_memory": False},
        }
        loader = build_dataloader({"Train": section}, "Train", "cpu")
        epochs = [[(images.numpy(), labels.numpy()) for images, labels in loader] for _ in range(2)]
    arrays = {
        f"{name}_{epoch}": np.concatenate([batch[part] for batch in batches])
        for epoch, batches in enumerate(epochs, start=1)
        for part, name in enumerate(("images", "labels"))
    }
    sizes = np.array([len(labels) for _, labels in epochs[0]])
    target = Path(__file__).with_name("paddleclas_batches.npz")
    np.savez_compressed(str(target), sizes=sizes, **arrays)


if __name__ == "__main__":
    main()
