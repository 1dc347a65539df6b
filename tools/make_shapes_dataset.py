"""Draw a small labelled picture set: JPEG files and list files in PaddleClas' format.

The drawing itself is `ppghost.vision.shapes`; this program arranges the pictures in a folder. The folder
appears whole or not at all, and the same options give the same pictures, whatever the number of workers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from numpy.random import RandomState
from tqdm import tqdm

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.errors import DataError, GhostError, OutputError, suggest  # noqa: E402 - the checkout must be found first
from ppghost.files import replaced_folder  # noqa: E402 - the checkout must be found first
from ppghost.vision.shapes import CLASSES, draw  # noqa: E402 - the checkout must be found first

RECIPE_FILE = "shapes.json"
SPLITS = ("train", "val")
EPILOG = """\
the folder that appears:
  train/<class>/00000.jpg ...   val/<class>/00000.jpg ...
  train_list.txt, val_list.txt  one line per picture, "path label", the path relative to the folder
  labels.txt                    one line per class, "id name" (PostProcess.Topk.class_id_map_file)
  shapes.json                   the options, so that the same command later finds its work done

examples:
  python tools/make_shapes_dataset.py
  python tools/make_shapes_dataset.py --output dataset/three --classes disc ring star --size 128 --seed 7
  python tools/train.py -c configs/demo/GhostNet_x1_0_shapes.yaml     # trains on dataset/shapes
"""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the pictures look like.

    Attributes:
        classes: names from `ppghost.vision.shapes.CLASSES`; the position is the label.
        train_per_class: training pictures of each class.
        val_per_class: validation pictures of each class.
        size: edge of a picture in pixels.
        seed: source of all chance, 0 or more.
        quality: JPEG quality, 1 to 100.
    """

    classes: tuple[str, ...]
    train_per_class: int
    val_per_class: int
    size: int
    seed: int
    quality: int

    def __post_init__(self) -> None:
        for name in self.classes:
            if name not in CLASSES:
                raise DataError(f"--classes: unknown shape '{name}'. {suggest(name, CLASSES)}")
        if len(set(self.classes)) != len(self.classes):
            raise DataError("--classes: a class is named twice; name each once.")
        accepted = {"train_per_class": (1, 10**6), "val_per_class": (1, 10**6), "size": (32, 4096)}
        accepted.update(seed=(0, 2**32 - 1), quality=(1, 100))
        for option, (low, high) in accepted.items():
            given = getattr(self, option)
            if not low <= given <= high:
                raise DataError(f"--{option.replace('_', '-')}: {given} is not within {low} to {high}.")

    def pictures(self) -> Iterator[tuple[str, int, int]]:
        """Yield (split, label, index) of every picture, class by class."""
        for split, count in zip(SPLITS, (self.train_per_class, self.val_per_class)):
            for label in range(len(self.classes)):
                for index in range(count):
                    yield split, label, index

    def path_of(self, split: str, label: int, index: int) -> str:
        """Return a picture's path relative to the folder of the set."""
        return f"{split}/{self.classes[label]}/{index:05d}.jpg"

    def written(self) -> dict[str, Any]:
        """Return the content of the recipe file."""
        return {"made_by": "make_shapes_dataset", "version": 1, **asdict(self), "classes": list(self.classes)}


def write_picture(recipe: Recipe, folder: Path, picture: tuple[str, int, int]) -> None:
    """Draw one picture and write it below `folder`.

    Each picture has a generator of its own, seeded with (seed, split, class, index): the order of drawing
    and the number of processes change nothing, and a class looks the same whatever other classes there are.

    Raises:
        OutputError: the file cannot be written.
    """
    split, label, index = picture
    name = recipe.classes[label]
    rng = RandomState([recipe.seed, SPLITS.index(split), CLASSES.index(name), index])
    drawn = draw(name, recipe.size, rng)
    path = folder / recipe.path_of(split, label, index)
    done, jpeg = cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, recipe.quality])
    if not done:
        raise OutputError(f"OpenCV cannot encode JPEG, so {path.name} was not written.")
    path.write_bytes(jpeg.tobytes())


def write_lists(recipe: Recipe, folder: Path) -> None:
    """Write the list files, the label file and the recipe file into `folder`."""
    for split in SPLITS:
        lines = [f"{recipe.path_of(*p)} {p[1]}\n" for p in recipe.pictures() if p[0] == split]
        (folder / f"{split}_list.txt").write_text("".join(lines), encoding="utf-8")
    labels = [f"{label} {name}\n" for label, name in enumerate(recipe.classes)]
    (folder / "labels.txt").write_text("".join(labels), encoding="utf-8")
    (folder / RECIPE_FILE).write_text(json.dumps(recipe.written(), indent=2) + "\n", encoding="utf-8")


def write_set(recipe: Recipe, folder: Path, workers: int) -> None:
    """Draw the whole set into `folder`, with a progress bar on the standard error stream."""
    for split in SPLITS:
        for name in recipe.classes:
            (folder / split / name).mkdir(parents=True)
    pictures = list(recipe.pictures())
    task = partial(write_picture, recipe, folder)
    bar = partial(tqdm, total=len(pictures), desc="drawing", unit="pictures", disable=None)
    if workers == 1:
        for picture in bar(pictures):
            task(picture)
    else:
        with ProcessPoolExecutor(workers) as pool:
            for _ in bar(pool.map(task, pictures, chunksize=64)):
                pass
    write_lists(recipe, folder)


def is_complete(recipe: Recipe, output: Path) -> bool:
    """Say whether `output` already holds exactly the set of this recipe."""
    return read_recipe(output) == recipe.written() and all(
        (output / recipe.path_of(*picture)).is_file() for picture in recipe.pictures()
    )


def read_recipe(output: Path) -> dict[str, Any] | None:
    """Return the content of the recipe file of a set drawn by this program; None where there is none."""
    try:
        content = json.loads((output / RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(content, dict) and content.get("made_by") == "make_shapes_dataset"
    return content if is_ours else None


def check_may_write(output: Path, replace: bool) -> None:
    """Refuse to touch a folder that this program did not make, or made otherwise and may not replace.

    Raises:
        OutputError: something is in the way.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if read_recipe(output) is None:
        raise OutputError(
            f"{output} exists and was not made by this program, so it is left alone. "
            "Give another --output, or move it away."
        )
    if not replace:
        raise OutputError(
            f"{output} holds a drawn set with other options, or with pictures missing. "
            "Add --replace to draw it anew, or give another --output."
        )


def make_set(recipe: Recipe, output: Path, *, workers: int = 1, replace: bool = False) -> bool:
    """Make the set of `recipe` at `output`; it appears whole or not at all.

    Args:
        recipe: what to draw.
        output: folder to make.
        workers: processes that draw.
        replace: whether a set that this program drew with other options may be deleted.

    Returns:
        False when the same set was already there and nothing was done.

    Raises:
        OutputError: `output` holds something else, or cannot be written.
    """
    if is_complete(recipe, output):
        return False
    check_may_write(output, replace)
    with replaced_folder(output) as folder:
        write_set(recipe, folder, workers)
    return True


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Draw a labelled set of shapes and textures, in PaddleClas' list format.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("dataset/shapes"), metavar="FOLDER", help="default: %(default)s")
    add("--classes", nargs="+", default=CLASSES, metavar="NAME", help=f"default: all: {', '.join(CLASSES)}")
    add(
        "--train-per-class",
        type=int,
        default=300,
        metavar="N",
        help="training pictures (default: %(default)s)",
    )
    add(
        "--val-per-class",
        type=int,
        default=50,
        metavar="N",
        help="validation pictures (default: %(default)s)",
    )
    add("--size", type=int, default=64, metavar="PIXELS", help="edge of a picture (default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same pictures (default: %(default)s)")
    add("--quality", type=int, default=92, metavar="1-100", help="of the JPEG files (default: %(default)s)")
    cores = os.cpu_count() or 1
    add(
        "--workers",
        type=int,
        default=cores,
        metavar="N",
        help="processes (default: one per core, %(default)s)",
    )
    add("--replace", action="store_true", help="delete a set drawn by this program with other options")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parse_arguments(arguments)
    try:
        recipe = Recipe(
            classes=tuple(options.classes),
            train_per_class=options.train_per_class,
            val_per_class=options.val_per_class,
            size=options.size,
            seed=options.seed,
            quality=options.quality,
        )
        drawn = make_set(recipe, options.output, workers=max(1, options.workers), replace=options.replace)
    except GhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    count = len(recipe.classes) * (recipe.train_per_class + recipe.val_per_class)
    kinds = f"{count} pictures of {len(recipe.classes)} classes"
    print(f"{options.output}: {kinds} {'drawn' if drawn else 'are already there'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
