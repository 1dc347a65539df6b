"""What the pictures show: a file of lines `name label`, such as ImageNet's val_label.txt.

Labels are numbers: names are no way to tell classes apart, as ImageNet has two cranes and two maillots.
Imports only the errors and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from ppghost.errors import DataError
from ppghost.offline.names import stem_of

_LINE = re.compile(r"(.*\S)[ \t]+([0-9]{1,18})")
# How many letters of a wrong line are told.
_SHOWN = 200


@dataclass(frozen=True)
class Truth:
    """The true classes of pictures.

    Attributes:
        labels: stem -> class id.
        source: where they were read, for messages.
    """

    labels: Mapping[str, int]
    source: str

    def label_of(self, stem: str) -> int:
        """Return the class of a picture.

        Raises:
            DataError: the file does not name it.
        """
        if stem not in self.labels:
            raise DataError(
                f"{self.source} has no line for the picture '{stem}'; it names {len(self.labels)} pictures. "
                "Give the label file of these pictures."
            )
        return self.labels[stem]

    def check_complete(self, stems: Collection[str], source: Path, *, is_subset: bool) -> None:
        """Make sure that results and labels are of the same pictures.

        Args:
            stems: of the pictures that have a result.
            source: where the results were read, for messages.
            is_subset: accept labels without a result.

        Raises:
            DataError: a result has no label, or a label has no result.
        """
        for stem in stems:
            self.label_of(stem)
        missing = [stem for stem in self.labels if stem not in stems]
        if missing and not is_subset:
            raise DataError(
                f"{source} has {len(stems)} results for the {len(self.labels)} pictures of {self.source}; "
                f"there is none for '{missing[0]}'"
                + (f" and {len(missing) - 1} more" * (len(missing) > 1))
                + ". Run the inference for all pictures, or score those that are there: --subset"
            )

    def check_classes(self, class_num: int) -> None:
        """Make sure that every label is a class.

        Raises:
            DataError: a label is not below `class_num`.
        """
        for stem, label in self.labels.items():
            if label >= class_num:
                raise DataError(
                    f"{self.source}: the label of '{stem}' is {label}; accepted: 0 to {class_num - 1}, as "
                    "the "
                    f"results have {class_num} classes."
                )


def read_truth(path: Union[str, Path]) -> Truth:
    """Read a label file: one picture a line, its name, blanks or a tab, its class id.

    Whatever stands before the last gap is the name, so it may hold blanks; of a path, the last part counts.
    Names that are no UTF-8 are kept as the file system gives them.

    Raises:
        DataError: the file cannot be read, names no picture or one twice, or a line has no name or no label.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise DataError(f"The label file '{path}' cannot be read: {error.strerror or error}.") from error
    labels: dict[str, int] = {}
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        name, label = _parse(line.strip(), place)
        stem = stem_of(name)
        if stem in labels:
            raise DataError(f"{place}: '{stem}' has a line already. Keep one line for each picture.")
        labels[stem] = label
    if not labels:
        raise DataError(f"The label file '{path}' names no picture. One line for each: name, blank, label.")
    return Truth(labels, str(path))


def _parse(line: str, place: str) -> tuple[str, int]:
    found = _LINE.fullmatch(line)
    if found is None:
        told = f"{line[:_SHOWN]!r}" + ("..." if len(line) > _SHOWN else "")
        raise DataError(f"{place}: {told} is no picture with its class. Accepted: name, blank, class id.")
    return found[1], int(found[2])
