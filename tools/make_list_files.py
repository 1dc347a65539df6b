"""Write PaddleClas list files for pictures that lie in folders: one folder per class, or ImageNet's layout.

A list file has one line per picture, "path label", the path relative to the folder given; a label file has
one line per class, "id name". Nothing is moved or copied.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional

import cv2
from tqdm import tqdm

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.errors import DataError, GhostError  # noqa: E402 - the checkout must be found first
from ppghost.files import replaced_file  # noqa: E402 - the checkout must be found first

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
EPILOG = """\
one folder per class, split by chance, each class in the same proportion:
  flowers/daisy/1.jpg ...  flowers/rose/7.jpg ...
  python tools/make_list_files.py flowers --val-ratio 0.2

already split, one folder per class in train/ and in val/ (ImageNet with a sorted val/ too):
  flowers/train/daisy/1.jpg ...  flowers/val/daisy/8.jpg ...
  python tools/make_list_files.py flowers

ImageNet as it is published, val/ flat, with the ground truth of its development kit (one line per picture in
the order of the file names: a class number from 1, or "file-name label" with labels from 0):
  ILSVRC2012/train/n01440764/n01440764_18.JPEG ...  ILSVRC2012/val/ILSVRC2012_val_00000001.JPEG ...
  python tools/make_list_files.py dataset/ILSVRC2012 --val-truth val_truth.txt

Labels are numbers from 0 in the order of the sorted folder names: for ImageNet's synset folders that is the
order that every framework uses. The development kit numbers its classes in another order; give its list of
synsets, line i naming class i, with --truth-synsets.

then train, with the folder, the lists and the number of classes in place of the recipe's:
  python tools/train.py -c configs/GhostNet_x1_0.yaml -o Arch.class_num=5 \\
    -o DataLoader.Train.dataset.image_root=flowers \\
    -o DataLoader.Train.dataset.cls_label_path=flowers/train_list.txt \\
    -o DataLoader.Eval.dataset.image_root=flowers \\
    -o DataLoader.Eval.dataset.cls_label_path=flowers/val_list.txt
"""


@dataclass(frozen=True)
class Sample:
    """One picture: its path relative to the root, and its label from 0."""

    path: str
    label: int


def class_names(folder: Path) -> list[str]:
    """Return the sorted names of the class folders in `folder`.

    Raises:
        DataError: there is none.
    """
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not names:
        raise DataError(f"{folder} holds no folder; one folder per class is expected there.")
    return names


def pictures_below(folder: Path) -> list[Path]:
    """Return every file below `folder` whose name ends like a picture's, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)


def samples_of_classes(root: Path, folder: Path, names: Sequence[str]) -> list[Sample]:
    """Return the pictures of the class folders `names` of `folder`, labelled by position, class by class.

    Raises:
        DataError: a class has no picture, or a path has a blank, which PaddleClas' list format cannot hold.
    """
    samples = []
    for label, name in enumerate(names):
        found = [_relative(path, root) for path in pictures_below(folder / name)]
        if not found:
            raise DataError(f"{folder / name} holds no picture ({', '.join(PICTURE_SUFFIXES)}).")
        samples += [Sample(path, label) for path in found]
    return samples


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    if any(letter.isspace() for letter in relative):
        raise DataError(f"{path}: a list line is split at blanks, so a path must not hold one. Rename it.")
    return relative


def split_by_chance(
    samples: Sequence[Sample], val_ratio: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Return (training, validation) samples; of each class about `val_ratio`, at least one, is validation.

    Raises:
        DataError: a class has fewer than two pictures.
    """
    train: list[Sample] = []
    val: list[Sample] = []
    for label in sorted({sample.label for sample in samples}):
        own = [sample for sample in samples if sample.label == label]
        if len(own) < 2:
            raise DataError(f"{own[0].path} is the only picture of its class; a split needs two or more.")
        random.Random(f"{seed}:{label}").shuffle(own)
        count = min(len(own) - 1, max(1, round(len(own) * val_ratio)))
        val += own[:count]
        train += own[count:]
    return sorted(train, key=_order), sorted(val, key=_order)


def _order(sample: Sample) -> tuple[int, str]:
    return sample.label, sample.path


def samples_of_truth(root: Path, names: Sequence[str], truth: Path, synsets: Optional[Path]) -> list[Sample]:
    """Return the pictures of the flat folder `root`/val with the labels of a ground-truth file.

    Args:
        root: the data set.
        names: class names; the position is the label.
        truth: one line per picture: "file-name label" with labels from 0, or only a class number from 1, the
            lines then being in the order of the file names.
        synsets: line i names the class of number i, for class numbers that do not count the sorted names.

    Raises:
        DataError: lines and pictures do not fit, or a label is out of range.
    """
    lines = _lines_of(truth)
    if all(len(line.split()) == 1 for line in lines):
        order = [line.split()[0] for line in _lines_of(synsets)] if synsets else list(names)
        files = pictures_below(root / "val")
        if len(files) != len(lines):
            raise DataError(f"{truth} has {len(lines)} lines, but {root / 'val'} has {len(files)} pictures.")
        numbers = [_number(line, truth, 1, len(order)) - 1 for line in lines]
        labels = [_position(order[number], names, truth) for number in numbers]
        return [Sample(_relative(path, root), label) for path, label in zip(files, labels)]
    return [_named_sample(line, truth, root, len(names)) for line in lines]


def _lines_of(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path}: {error}.") from error
    if not lines:
        raise DataError(f"{path} is empty.")
    return lines


def _number(text: str, source: Path, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise DataError(f"{source}: '{text}' is not a class number within {low} to {high}.")
    return int(text)


def _position(name: str, names: Sequence[str], source: Path) -> int:
    if name not in names:
        raise DataError(f"{source}: class '{name}' has no folder among the training pictures.")
    return names.index(name)


def _named_sample(line: str, truth: Path, root: Path, class_num: int) -> Sample:
    parts = line.split()
    if len(parts) != 2:
        raise DataError(f"{truth}: '{line}' is not 'file-name label'.")
    path = root / "val" / Path(parts[0]).name
    if not path.is_file():
        raise DataError(f"{truth} names {parts[0]}, but {path} does not exist.")
    return Sample(_relative(path, root), _number(parts[1], truth, 0, class_num - 1))


def broken_among(root: Path, samples: Sequence[Sample], threads: int = 4) -> list[str]:
    """Return the paths of the samples that OpenCV cannot decode; shows a progress bar on a terminal."""
    with ThreadPoolExecutor(threads) as pool:
        judged = pool.map(partial(_is_readable, root), samples)
        bar = tqdm(judged, total=len(samples), desc="reading", unit="pictures", disable=None)
        return [sample.path for sample, is_readable in zip(samples, bar) if not is_readable]


def _is_readable(root: Path, sample: Sample) -> bool:
    return cv2.imread(str(root / sample.path)) is not None


def write_list(path: Path, samples: Iterable[Sample]) -> None:
    """Write a list file, whole or not at all."""
    _write(path, (f"{sample.path} {sample.label}" for sample in samples))


def write_labels(path: Path, names: Sequence[str]) -> None:
    """Write a label file, "id name", whole or not at all."""
    _write(path, (f"{label} {name}" for label, name in enumerate(names)))


def _write(path: Path, lines: Iterable[str]) -> None:
    with replaced_file(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def gather(options: argparse.Namespace) -> tuple[list[str], list[Sample], list[Sample]]:
    """Return (class names, training samples, validation samples) of the layout found below `options.root`.

    Raises:
        DataError: the folder fits none of the layouts.
    """
    root: Path = options.root
    if not root.is_dir():
        raise DataError(f"{root} is not a folder.")
    if not (root / "train").is_dir():
        names = class_names(root)
        train, val = split_by_chance(samples_of_classes(root, root, names), options.val_ratio, options.seed)
        return names, train, val
    names = class_names(root / "train")
    train = samples_of_classes(root, root / "train", names)
    if options.val_truth is not None:
        return names, train, samples_of_truth(root, names, options.val_truth, options.truth_synsets)
    return names, train, _sorted_validation(root, names)


def _sorted_validation(root: Path, names: Sequence[str]) -> list[Sample]:
    folder = root / "val"
    if not folder.is_dir():
        raise DataError(
            f"{root} has train/ but no val/. Make one, or give the folder train/ itself to split it."
        )
    present = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    if not present:
        raise DataError(f"{folder} has no folder per class; name the ground truth with --val-truth FILE.")
    strangers = sorted(set(present) - set(names))
    if strangers:
        raise DataError(f"{folder / strangers[0]}: this class is not among the training classes.")
    found = [name for name in names if name in present]
    samples = samples_of_classes(root, folder, found)
    return [Sample(sample.path, names.index(found[sample.label])) for sample in samples]


def without_broken(root: Path, named: Mapping[str, Sequence[Sample]], drop: bool) -> dict[str, list[Sample]]:
    """Return the samples of each split without those that cannot be decoded, which are named on stderr.

    Raises:
        DataError: some cannot be decoded, and `drop` is off.
    """
    broken = {path for samples in named.values() for path in broken_among(root, samples)}
    for path in sorted(broken):
        print(f"cannot be decoded: {root / path}", file=sys.stderr)
    if broken and not drop:
        raise DataError(
            f"{len(broken)} picture(s) cannot be decoded, and nothing was written. Repair or delete them, "
            "or leave them out of the lists with --drop-broken."
        )
    return {split: [s for s in samples if s.path not in broken] for split, samples in named.items()}


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Write train_list.txt, val_list.txt and labels.txt for pictures in folders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("root", type=Path, help="folder of the data set")
    add("--output", type=Path, metavar="FOLDER", help="where the list files go (default: the folder itself)")
    add(
        "--val-ratio",
        type=float,
        default=0.1,
        metavar="R",
        help="share for validation (default: %(default)s)",
    )
    add("--seed", type=int, default=0, metavar="N", help="same seed, same split (default: %(default)s)")
    add("--val-truth", type=Path, metavar="FILE", help="labels of a flat val/ folder")
    add("--truth-synsets", type=Path, metavar="FILE", help="line i names class i of --val-truth")
    add("--drop-broken", action="store_true", help="leave pictures out that cannot be decoded")
    add("--skip-check", action="store_true", help="do not read the pictures (ImageNet: saves about an hour)")
    options = parser.parse_args(arguments)
    if not 0.0 < options.val_ratio < 1.0:
        parser.error(f"--val-ratio must lie between 0 and 1, not {options.val_ratio}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parse_arguments(arguments)
    output: Path = options.output or options.root
    try:
        names, train, val = gather(options)
        splits: dict[str, list[Sample]] = {"train": train, "val": val}
        if not options.skip_check:
            splits = without_broken(options.root, splits, options.drop_broken)
        for split, samples in splits.items():
            write_list(output / f"{split}_list.txt", samples)
        write_labels(output / "labels.txt", names)
    except GhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    counts = " and ".join(f"{len(samples)} {split}" for split, samples in splits.items())
    print(f"{output}: {len(names)} classes, {counts} pictures; image_root is {options.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
