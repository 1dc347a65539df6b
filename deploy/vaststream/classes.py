"""What the classes are called, and which class a picture truly shows.

imagenet.txt                          a name a line, the first is class 0
imagenet1000_clsid_to_human.txt       the same as a Python dict, {0: 'tench, Tinca tinca', ...
val_label.txt                         lines `name label`, read by `ppghost.offline.truth`
synsets.txt                           a folder a line, n01440764 and perhaps its name; the first is class 0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ppghost.errors import DataError
from ppghost.offline.names import by_stem
from ppghost.offline.truth import read_truth


def names_text(names: Sequence[str]) -> str:
    """Return the label file of class names."""
    return "\n".join(names)


def dict_text(names: Sequence[str]) -> str:
    """Return class names as the text of a Python dict."""
    return "{" + ",\n ".join(f"{index}: {name!r}" for index, name in enumerate(names)) + "}"


def read_names(path: Path, class_num: int) -> list[str]:
    """Return the names of the classes.

    Raises:
        DataError: the file cannot be read, or has another number of lines, an empty one, or ids.
    """
    names = [line.strip() for line in _lines(path)]
    if "" in names:
        raise DataError(
            f"{path}:{names.index('') + 1}: the line is empty, so the name of that class is missing."
        )
    if len(names) != class_num:
        raise DataError(
            f"'{path}' has {len(names)} names; the network has {class_num} classes. Give the label file of "
            "this network, or the number of its classes: --class-num"
        )
    if class_num > 1 and all(name.startswith(f"{index} ") for index, name in enumerate(names)):
        raise DataError(f"'{path}' has ids before the names; accepted: a name a line, as a bundle has it.")
    return names


def read_synsets(path: Path) -> dict[str, int]:
    """Return folder name -> class id; what follows the first word of a line is left out.

    Raises:
        DataError: the file cannot be read, a line is empty, or names a folder again.
    """
    found: dict[str, int] = {}
    for index, line in enumerate(_lines(path)):
        name = (line.split() or [""])[0]
        if not name or name in found:
            raise DataError(f"{path}:{index + 1}: {line!r} names no folder, or one that has a line already.")
        found[name] = index
    return found


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"The file '{path}' cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The file '{path}' is no UTF-8 text: {error}.") from error
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines == [""]:
        raise DataError(f"The file '{path}' is empty.")
    return lines


def classes_by_stem(paths: Iterable[Path], labels: Path, class_num: int, *, is_subset: bool) -> list[int]:
    """Return the true class of each picture, found in a label file by the picture's stem.

    Raises:
        DataError: two pictures have one stem, or labels and pictures are not the same.
    """
    truth = read_truth(labels)
    truth.check_classes(class_num)
    stems = by_stem(paths)
    truth.check_complete(stems, Path("the run"), is_subset=is_subset)
    return [truth.label_of(stem) for stem in stems]


def classes_by_folder(paths: Iterable[Path], synsets: Mapping[str, int], source: Path) -> list[int]:
    """Return the true class of each picture: its folder's.

    Raises:
        DataError: a folder has no class.
    """
    found = []
    for path in paths:
        if path.parent.name not in synsets:
            raise DataError(
                f"'{path}' lies in the folder '{path.parent.name}', which {source} does not name. Where the "
                "folders are no classes, give a label file instead of --synsets."
            )
        found.append(synsets[path.parent.name])
    return found
