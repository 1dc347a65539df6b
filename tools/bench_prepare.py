"""Measure how fast pictures become bins: `ascend.py prepare` against a plain loop with Pillow and NumPy.

    python tools/bench_prepare.py PICTURES [--rounds 5] [--threads 2] [--folder FOLDER]

Each is a program of its own, timed from its start to its end; both write the same bytes to the same file
system, which is checked. They take turns, so that whatever else the machine does meets both. The result is
JSON on standard output: seconds of each round, the ratio of medians and that of minima.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def plain_loop(pictures: Path, out: Path) -> None:
    """Do what every tutorial does: one picture after the other, with Pillow and NumPy."""
    import numpy as np
    from PIL import Image

    mean = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    std = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    for source in sorted(path for path in pictures.rglob("*") if path.is_file()):
        image = Image.open(source).convert("RGB")
        width, height = image.size
        size = (256, 256 * height // width) if width <= height else (256 * width // height, 256)
        image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (int(round((side - 224) / 2)) for side in size)
        pixels = np.array(image.crop((left, top, left + 224, top + 224)), np.float32).transpose(2, 0, 1)
        np.ascontiguousarray((pixels / np.float32(255) - mean) / std).tofile(out / f"{source.stem}.bin")


def seconds_of(command: Sequence[str]) -> float:
    """Return how long a program took.

    Raises:
        CalledProcessError: it failed.
    """
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def check_equal(one: Path, other: Path) -> int:
    """Return how many bins two folders hold; end the program where they differ."""
    names = sorted(path.name for path in one.glob("*.bin"))
    if names != sorted(path.name for path in other.glob("*.bin")):
        raise SystemExit("The two folders hold other bins.")
    for name in names:
        if (one / name).read_bytes() != (other / name).read_bytes():
            raise SystemExit(f"{name}: the two bins differ")
    return len(names)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, help="a folder of pictures and nothing else")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="of ours")
    parser.add_argument("--folder", type=Path, help="where both write (default: the system's for such files)")
    parser.add_argument("--plain-into", type=Path, metavar="OUT", help="run the plain loop alone, into OUT")
    return parser


def main() -> None:
    """Run the program."""
    options = build_parser().parse_args()
    if options.plain_into is not None:
        plain_loop(options.pictures, options.plain_into)
        return
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    pictures, threads = str(options.pictures), str(options.threads)
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            places = {name: Path(folder) / name for name in times}
            places["plain"].mkdir()
            commands = {
                "plain": [__file__, pictures, "--plain-into", str(places["plain"])],
                "ours": [
                    str(ROOT / "deploy" / "ascend" / "ascend.py"),
                    *("prepare", pictures, str(places["ours"]), "--threads", threads),
                ],
            }
            for name, command in commands.items():
                times[name].append(seconds_of([sys.executable, *command]))
            count = check_equal(places["plain"], places["ours"])
    result = {
        "pictures": count,
        "threads": options.threads,
        "seconds": times,
        "ratio_of_medians": statistics.median(times["plain"]) / statistics.median(times["ours"]),
        "ratio_of_minima": min(times["plain"]) / min(times["ours"]),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
