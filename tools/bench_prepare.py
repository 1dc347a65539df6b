"""Measure how fast pictures become bins: ours against a plain loop with Pillow and NumPy.

    python tools/bench_prepare.py PICTURES [--rounds 5] [--limit 1000] [--threads 2]

Both write the same bytes, which is checked. They take turns, so that whatever else the machine does meets
both. The result is JSON on standard output: seconds of each round, the ratio of medians and that of minima.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy" / "ascend")]

from bins import bins_for, float_encoder  # noqa: E402 - the checkout must be found first, here and below

from ppghost.offline.preparing import prepare_files  # noqa: E402
from ppghost.predict import list_pictures  # noqa: E402
from ppghost.vision.variants import variant  # noqa: E402

MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


def plain_loop(targets: dict[Path, Path]) -> None:
    """Do what every tutorial does: one picture after the other, with Pillow and NumPy."""
    for source, target in targets.items():
        image = Image.open(source).convert("RGB")
        width, height = image.size
        size = (256, 256 * height // width) if width <= height else (256 * width // height, 256)
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (int(round((side - 224) / 2)) for side in size)
        pixels = np.array(image.crop((left, top, left + 224, top + 224)), np.float32).transpose(2, 0, 1)
        np.ascontiguousarray((pixels / np.float32(255) - MEAN) / STD).tofile(target)


def ours(targets: dict[Path, Path], threads: int) -> None:
    """Do what `ascend.py prepare` does."""
    for made in prepare_files(targets, float_encoder(variant("torchvision")), threads):
        if made.failure is not None:
            raise SystemExit(f"{made.source}: {made.failure}")


def seconds_of(work: Callable[[], None]) -> float:
    """Return how long some work took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", help="a folder")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="pictures (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N")
    options = parser.parse_args()
    pictures = list_pictures(options.pictures)[: options.limit]
    cv2.setNumThreads(1)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        places = {name: bins_for(pictures, Path(folder) / name) for name in times}
        for _ in range(options.rounds):
            for name in times:
                shutil.rmtree(Path(folder) / name, ignore_errors=True)
                (Path(folder) / name).mkdir()
            times["plain"].append(seconds_of(lambda: plain_loop(places["plain"])))
            times["ours"].append(seconds_of(lambda: ours(places["ours"], options.threads)))
        for source in pictures:
            if places["plain"][source].read_bytes() != places["ours"][source].read_bytes():
                raise SystemExit(f"{source}: the two bins differ")
    print(
        json.dumps(
            {
                "pictures": len(pictures),
                "threads": options.threads,
                "seconds": times,
                "ratio_of_medians": statistics.median(times["plain"]) / statistics.median(times["ours"]),
                "ratio_of_minima": min(times["plain"]) / min(times["ours"]),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
