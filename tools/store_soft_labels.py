"""Store a teacher's answers, so that it runs once and students learn from a file (fast distillation).

Reads the recipe of a distillation with its live teacher, and lets it answer to --views drawings (crop, mirror
image, ...) of each training picture. Training then reads the file instead of running the teacher: epoch 1
sees the first view, epoch 2 the second, and after the last one the first again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppghost.cli.console import logging_to  # noqa: E402 - the checkout must be found first
from ppghost.cli.program import (  # noqa: E402 - the checkout must be found first
    count,
    picture_bar,
    place,
    run_verb,
    shown,
)
from ppghost.config import (  # noqa: E402 - the checkout must be found first
    Config,
    add_config_arguments,
    load_from_arguments,
)
from ppghost.config.sections import DistillationModel  # noqa: E402 - the checkout must be found first
from ppghost.data.soft_labels import Header, partial_of  # noqa: E402 - the checkout must be found first
from ppghost.errors import OutputError  # noqa: E402 - the checkout must be found first
from ppghost.zoo import list_models  # noqa: E402 - the checkout must be found first

MOST_VIEWS = 10
TOP_K = 10

EPILOG = f"""\
store once, then train any number of students; the override is all that differs from a live teacher:
  python tools/store_soft_labels.py -c my_ssld.yaml --output teacher.soft
  python tools/train.py -c my_ssld.yaml -o Arch.models.0.Teacher.soft_labels=teacher.soft

size: pictures x views x (4 x K + 2) bytes, or 2 bytes for each class where that is less:
  ImageNet-1k, 10 views, K = 10: 1.28 million x 10 x 42 = 538 MB
time: views x pictures forward passes of the teacher; a live one needs epochs x pictures for each student

With as many views as epochs a student sees what it would see with the live teacher; with fewer, crops return.
The default is Global.epochs, {MOST_VIEWS} at most. All that is not among the K classes is spread evenly.
Shuffling and initial weights follow Global.seed of the training, the drawings that of the storing: one file
serves any seed, number of epochs and student. Pictures, their order, transform_ops and the teacher's weights
must be the same, and training checks them. Mixup and its like, and pictures in changing sizes, are refused.

Ctrl-C and a kill leave FILE.partial; the same command goes on there.
"""


def store_soft_labels(options: argparse.Namespace) -> int:
    """Let the teacher answer, and write."""
    config = load_from_arguments(options.config, options.override, arch_names=list_models())
    path = Path(options.output).expanduser()
    if os.path.exists(path) and not options.replace:
        raise OutputError(f"{path} exists already. Add --replace, or choose another file.")
    from ppghost.plugin import find_theirs
    from ppghost.train.storing import prepare, store

    views = options.views or min(config.Global.epochs, MOST_VIEWS)
    with logging_to(None, terminal=sys.stderr):
        order = prepare(config, teacher=options.teacher, views=views, top_k=options.top_k)
        print(shown(_sentence(order.teacher, order.header, path)))
        try:
            with picture_bar() as show:
                skipped = store(order, path, progress=show, other_zoo=find_theirs)
        except KeyboardInterrupt:
            print(
                shown(f"\nWhat is done is in {partial_of(path)}; the same command goes on."), file=sys.stderr
            )
            raise
        finally:
            order.loader.close()
    for name, reason in skipped[:3]:
        print(shown(f"not read: {name}: {reason}"), file=sys.stderr)
    if skipped:
        print(f"{len(skipped)} picture(s) could not be read and have no answer.", file=sys.stderr)
    print(shown(f"To train: -o Arch.models.{_key_of(config, order.teacher)}.soft_labels={path}"))
    return 0


def _sentence(teacher: str, header: Header, path: Path) -> str:
    kept = "all classes" if header.kept == header.classes else f"{header.kept} of {header.classes} classes"
    return (
        f"{teacher} ({header.teacher}) answers to {header.views} view(s) of {header.pictures} pictures; "
        f"{kept}, {header.record.itemsize} bytes each, {header.file_bytes / 1e6:.1f} MB in {path}"
    )


def _key_of(config: Config, teacher: str) -> str:
    """Return the key of a network behind `Arch.models`."""
    assert isinstance(config.Arch, DistillationModel), "it has a teacher"
    return f"{list(config.Arch.members).index(teacher)}.{teacher}"


def parse_arguments(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_config_arguments(parser)
    add = parser.add_argument
    add("--output", type=place, required=True, metavar="FILE", help="where the answers go")
    add("--replace", action="store_true", help="replace FILE, once the new one is complete")
    add("--teacher", metavar="NAME", help="its name in Arch.models; needed where several are frozen")
    add(
        "--views",
        type=count,
        metavar="V",
        help=f"drawings of each picture (default: Global.epochs, {MOST_VIEWS} at most)",
    )
    add(
        "--top-k",
        type=count,
        default=TOP_K,
        metavar="K",
        help="classes of an answer that are stored (default: %(default)s)",
    )
    parser.set_defaults(run=store_soft_labels)
    return parser.parse_args(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the program; return its exit code."""
    return run_verb(parse_arguments(arguments))


if __name__ == "__main__":
    sys.exit(main())
