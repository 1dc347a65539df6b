"""Write lists for distillation: unlabelled pictures of a folder, label 0, behind the labelled training list.

Every picture is read. Left out are broken ones, files that repeat an earlier one byte for byte, and near
duplicates of the validation set: resized, recompressed, mirrored or slightly cropped copies, since a student
that has seen them is measured too well. With --teacher only the pictures that it is surest of are taken, at
most K of each class.

Written are train_list_unlabel.txt, train_list_all.txt (with --train-list), unlabelled.json and .txt (what was
left out and why) and removed_pairs.jpg (removed pictures beside those that they show).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.artifact import read_artifact  # noqa: E402 - the checkout must be found first
from ppghost.cli.program import (  # noqa: E402 - the checkout must be found first
    count,
    picture_bar,
    place,
    run_verb,
    shown,
)
from ppghost.data import near  # noqa: E402 - the checkout must be found first
from ppghost.data.lists import (  # noqa: E402 - the checkout must be found first
    PictureList,
    check_distinct,
    check_labels,
    read_list,
)
from ppghost.data.unlabelled import (  # noqa: E402 - the checkout must be found first
    Progress,
    Scan,
    Selection,
    scan_folder,
    select,
    survey,
    thumbnails_of,
)
from ppghost.data.unlabelled_files import (  # noqa: E402 - the checkout must be found first
    OUTPUTS,
    check_outputs,
    report_dict,
    report_lines,
    write_lists,
    write_report,
    write_sheet,
)
from ppghost.errors import ConfigError, DataError  # noqa: E402 - the checkout must be found first
from ppghost.machine import usable_processors  # noqa: E402 - the checkout must be found first
from ppghost.predict import Classified, Classifier  # noqa: E402 - the checkout must be found first

EPILOG = f"""\
the published way, for ImageNet: millions of other pictures in dataset/ILSVRC2012/unlabelled
  python tools/make_unlabelled_list.py dataset/ILSVRC2012/unlabelled --image-root dataset/ILSVRC2012 \\
    --train-list dataset/ILSVRC2012/train_list.txt --val-list dataset/ILSVRC2012/val_list.txt \\
    --teacher inference --per-class 4000

then train with it:
  -o DataLoader.Train.dataset.cls_label_path=dataset/ILSVRC2012/train_list_all.txt

A candidate differs in at most --bits of the 64 bits of a perceptual hash, of the picture, its mirror image or
one of {len(near.CROPS)} crops. Aligned with the validation picture, it is a duplicate where both correlate by
--similarity or more. Raise that if removed_pairs.jpg starts with pairs that do not show the same; lower it
if it shows true copies only, and see what comes next.
"""


def make_lists(options: argparse.Namespace) -> int:
    """Read, compare, choose, and write."""
    folder, root = Path(options.folder), Path(options.image_root)
    output = Path(options.output or root)
    given = [Path(path) for path in (options.train_list, options.val_list) if path is not None]
    check_outputs(output, given, replace=options.replace)
    cv2.setNumThreads(1)
    train = _list(options.train_list, options)
    validation = _list(options.val_list, options)
    with _teacher(options, train) as classifier:
        labelled = (train.name(index) for index in range(len(train))) if train else ()
        scan = scan_folder(
            folder, root, options.delimiter, labelled, {path.name for path in given} | {*OUTPUTS}
        )
        finder = None
        if validation is not None:
            with _bar("reading the validation set") as show:
                thumbs = thumbnails_of(validation, options.jobs, show)
                finder = near.NearDuplicates(thumbs, options.bits, options.similarity)
        with _bar("reading and comparing") as show:
            found = survey(scan.pictures, validation, finder, options.jobs, show)
        selection = _choose(classifier, scan, found.kept, options) if classifier else None
    chosen = found.kept if selection is None else selection.chosen
    settings = {name: value for name, value in vars(options).items() if name not in ("run", "replace")}
    report = report_dict(scan, found, selection, len(train) if train else 0, settings)
    if not len(chosen):
        print(shown("\n".join(report_lines(report))), file=sys.stderr)
        raise DataError(f"Not one picture of {folder} is left, and nothing was written.")
    write_lists(output, scan.pictures, chosen, given[0] if train else None, options.delimiter)
    write_report(output, report)
    if validation is not None:
        write_sheet(output, found.near, root, validation)
    print(shown("\n".join(report_lines(report))))
    print(shown(f"\nwritten into {output}; paths start at {root}"))
    return 0


def _list(path: Optional[str], options: argparse.Namespace) -> Optional[PictureList]:
    if path is None:
        return None
    pictures = read_list(path, options.image_root, delimiter=options.delimiter)
    check_distinct(pictures)
    return pictures


def _teacher(options: argparse.Namespace, train: Optional[PictureList]) -> Any:
    """Return the opened teacher, a context manager; of None without one."""
    if (options.teacher is None) != (options.per_class is None):
        raise ConfigError(
            "--teacher and --per-class go together: the teacher chooses K pictures of each class."
        )
    if options.teacher is None:
        return nullcontext()
    classes = read_artifact(Path(options.teacher)).facts.class_num
    if train is not None:
        check_labels(
            train, classes, f"The teacher {options.teacher} has {classes} classes: it is of other data."
        )
    return Classifier.from_artifact(
        options.teacher, topk=1, engine=options.engine, threads=options.jobs, batch_size=options.batch_size
    )


def _choose(classifier: Classifier, scan: Scan, kept: np.ndarray, options: argparse.Namespace) -> Selection:
    """Ask the teacher about every picture that is left."""
    paths = (scan.pictures.path(index) for index in kept)
    answers = classifier.classify(paths, batch_size=options.batch_size, workers=options.jobs)

    def counted(show: Any) -> Iterator[Classified]:
        for answer in answers:
            show(1, len(kept))
            yield answer

    with _bar("asking the teacher") as show:
        return select(scan.pictures, kept, counted(show), options.per_class)


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    print(f"{title} ...", file=sys.stderr)
    with picture_bar() as show:
        yield show


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 < share <= 1.0:
        raise argparse.ArgumentTypeError(f"'{text}' is no number above 0 and up to 1")
    return share


def _delimiter(text: str) -> str:
    mark = {"\\t": "\t"}.get(text, text)
    if not mark or mark in ("\n", "\r"):
        raise argparse.ArgumentTypeError("the delimiter is empty or ends the line")
    return mark


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=place, help="the unlabelled pictures, in the folder of --image-root")
    add(
        "--image-root", type=place, required=True, metavar="FOLDER", help="where the paths of all lists start"
    )
    add(
        "--train-list",
        type=place,
        metavar="FILE",
        help="the labelled list that goes before the unlabelled one",
    )
    add("--val-list", type=place, metavar="FILE", help="the list whose pictures must not be learnt from")
    add(
        "--teacher",
        type=place,
        metavar="FOLDER",
        help="an exported folder, as `ppghost infer --artifact` takes",
    )
    add(
        "--per-class", type=count, metavar="K", help="with --teacher: how many pictures of each class at most"
    )
    add("--engine", metavar="NAME", help="runs the teacher (default: the fastest known here)")
    add("--batch-size", type=count, default=8, metavar="N", help="of the teacher (default: %(default)s)")
    add("--output", type=place, metavar="FOLDER", help="where the lists go (default: --image-root)")
    add("--replace", action="store_true", help="replace the results of an earlier search")
    add("--delimiter", type=_delimiter, default=" ", metavar="MARK", help="of all lists (default: a blank)")
    add(
        "--jobs",
        type=count,
        default=usable_processors(),
        metavar="N",
        help="threads (default: all processors)",
    )
    add(
        "--bits",
        type=int,
        choices=range(near.MOST_BITS + 1),
        default=near.THRESHOLD,
        metavar="N",
        help=f"differing bits of a candidate, 0 to {near.MOST_BITS} (default: %(default)s)",
    )
    add(
        "--similarity",
        type=_share,
        default=near.SIMILARITY,
        metavar="R",
        help="correlation of a duplicate, up to 1 (default: %(default)s)",
    )
    parser.set_defaults(run=make_lists)
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(main())
