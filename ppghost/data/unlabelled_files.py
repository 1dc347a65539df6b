"""The files that a search for unlabelled pictures leaves: two lists, a report, a sheet of what was removed.

Brick: imports its neighbours in this room and the ground.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

from ppghost.data.lists import PictureList
from ppghost.data.unlabelled import NO_LABEL, Removed, Scan, Selection, Survey
from ppghost.errors import DataError, OutputError
from ppghost.files import replaced_file
from ppghost.results import printable
from ppghost.vision.decode import decode_with_opencv, read_picture

LIST_FILE, ALL_FILE = "train_list_unlabel.txt", "train_list_all.txt"
REPORT_JSON, REPORT_TEXT, SHEET_FILE = "unlabelled.json", "unlabelled.txt", "removed_pairs.jpg"
OUTPUTS = (LIST_FILE, ALL_FILE, REPORT_JSON, REPORT_TEXT, SHEET_FILE)
SHEET_PAIRS = 60
_COLUMNS, _SIDE, _MARGIN, _CAPTION = 4, 128, 8, 16
_NAMED = 20


def check_outputs(folder: Path, inputs: Sequence[Path], *, replace: bool) -> None:
    """Make sure that no list which is read, and without `replace` no earlier result, is written over.

    Raises:
        OutputError: one would be.
    """
    for name in OUTPUTS:
        path = folder / name
        if any(path.resolve() == given.resolve() for given in inputs):
            raise OutputError(f"{path} is both read and written. Choose another folder with --output.")
        if path.exists() and not replace:
            raise OutputError(
                f"{path} exists already. Replace it with --replace, or choose another folder with --output."
            )


def write_lists(
    folder: Path, pictures: PictureList, chosen: np.ndarray, labelled: Optional[Path], delimiter: str
) -> None:
    """Write the list of the unlabelled pictures, and the labelled list with those behind it.

    Args:
        folder: where both go.
        pictures: of the scan.
        chosen: positions of those to list.
        labelled: the labelled list; None writes no second list.
        delimiter: parts path and label.

    Raises:
        OutputError: they cannot be written.
    """
    with replaced_file(folder / LIST_FILE) as part:
        with part.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{pictures.name(index)}{delimiter}{NO_LABEL}\n" for index in chosen)
    if labelled is None:
        return
    with replaced_file(folder / ALL_FILE) as part, part.open("wb") as stream:
        with labelled.open("rb") as source:
            shutil.copyfileobj(source, stream)
        with labelled.open("rb") as source:
            source.seek(-1, 2)
            # Without an end to its last line the first unlabelled picture would stand in that line.
            stream.write(b"" if source.read(1) in b"\r\n" else b"\n")
        with (folder / LIST_FILE).open("rb") as source:
            shutil.copyfileobj(source, stream)


def report_dict(
    scan: Scan,
    found: Survey,
    selection: Optional[Selection],
    labelled: int,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return counts, settings and everything that was left out with its reason, as values that JSON takes.

    Args:
        scan: what lies in the folder.
        found: what became of the pictures.
        selection: what the teacher chose; None without a teacher.
        labelled: how many pictures the labelled list has.
        settings: how the search was done.
    """
    broken = [*found.broken, *(selection.broken if selection else ())]
    asked = len(found.kept) - (len(selection.broken) if selection else 0)
    written = asked if selection is None else len(selection.chosen)
    return {
        "settings": dict(settings),
        "counts": {
            "pictures": len(scan.pictures) + len(scan.unlistable) + scan.labelled,
            "labelled_already": scan.labelled,
            "names_no_list_can_hold": len(scan.unlistable),
            "broken": len(broken),
            "near_duplicates_of_validation": len(found.near),
            "repeated_files": len(found.repeated),
            "not_among_the_best_of_their_class": asked - written,
            "unlabelled": written,
            "labelled": labelled,
            "other_files": sum(scan.others.values()),
            "links_to_folders": len(scan.folder_links),
        },
        "other_files": dict(scan.others.most_common()),
        "links_to_folders": scan.folder_links,
        "names_no_list_can_hold": scan.unlistable,
        "broken": [{"name": name, "reason": reason} for name, reason in broken],
        "near_duplicates_of_validation": [_removed_dict(one) for one in found.near],
        "repeated_files": [{"name": name, "same_as": other} for name, other in found.repeated],
        "per_class": {} if selection is None else {str(c): n for c, n in sorted(selection.classes.items())},
    }


def _removed_dict(one: Removed) -> dict[str, Any]:
    return {
        "name": one.name,
        "shows": one.shows,
        "bits": one.match.bits,
        "similarity": round(one.match.similarity, 4),
        "mirrored": one.match.is_mirrored,
    }


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the report as text; of long lists the first twenty."""
    counts = report["counts"]
    width = max(len(str(number)) for number in counts.values())
    lines = [f"{number:>{width}}  {name.replace('_', ' ')}" for name, number in counts.items()]
    suffixes = [f"{suffix or 'no suffix'}: {count}" for suffix, count in report["other_files"].items()]
    lines += _section("other files by suffix", suffixes)
    lines += _section("broken", [f"{one['name']}: {one['reason']}" for one in report["broken"]])
    lines += _section("names that a line of a list cannot hold", map(repr, report["names_no_list_can_hold"]))
    lines += _section("links to folders, not followed", report["links_to_folders"])
    lines += _section(
        "near duplicates of validation pictures, the least similar first",
        [
            f"{one['name']} shows {one['shows']}: similarity {one['similarity']}, {one['bits']} of 64 bits "
            f"differ{', mirrored' if one['mirrored'] else ''}"
            for one in sorted(report["near_duplicates_of_validation"], key=lambda one: one["similarity"])
        ],
    )
    lines += _section(
        "the same file again", [f"{one['name']} is {one['same_as']}" for one in report["repeated_files"]]
    )
    return lines


def _section(title: str, given: Any) -> list[str]:
    items = list(given)
    rest = [f"  ... and {len(items) - _NAMED} more, see {REPORT_JSON}"] if len(items) > _NAMED else []
    return ["", f"{title}:", *(f"  {item}" for item in items[:_NAMED]), *rest] if items else []


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the report as JSON and as text.

    Raises:
        OutputError: it cannot be written.
    """
    for name, text in (
        (REPORT_JSON, json.dumps(report, indent=2, ensure_ascii=False)),
        (REPORT_TEXT, "\n".join(report_lines(report))),
    ):
        with replaced_file(folder / name) as part:
            part.write_text(printable(text) + "\n", encoding="utf-8")


def write_sheet(folder: Path, removed: Sequence[Removed], root: Path, validation: PictureList) -> None:
    """Draw removed pictures (left) beside the validation pictures that they show (right), as JPEG.

    At most 60 pairs are drawn, the least similar first, since those are the ones to doubt. Without any, an
    earlier sheet is removed.

    Args:
        folder: where the sheet goes.
        removed: near duplicates.
        root: where their names start.
        validation: tells where the validation pictures lie.

    Raises:
        DataError: a picture cannot be read any more.
        OutputError: it cannot be written.
    """
    if not removed:
        (folder / SHEET_FILE).unlink(missing_ok=True)
        return
    shown = sorted(removed, key=lambda one: one.match.similarity)[:SHEET_PAIRS]
    rows = -(-len(shown) // _COLUMNS)
    height, width = _SIDE + _CAPTION + _MARGIN, 2 * _SIDE + _MARGIN
    sheet = np.full((rows * height, _COLUMNS * width, 3), 255, np.uint8)
    for number, one in enumerate(shown):
        top, left = number // _COLUMNS * height, number % _COLUMNS * width
        for place, path in ((left, root / one.name), (left + _SIDE, Path(validation.root) / one.shows)):
            sheet[top : top + _SIDE, place : place + _SIDE] = _small(path)
        caption = f"{one.match.similarity:.3f}, {one.match.bits} bits" + (
            ", mirrored" if one.match.is_mirrored else ""
        )
        cv2.putText(sheet, caption, (left + 2, top + _SIDE + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    encoded = cv2.imencode(".jpg", sheet[..., ::-1])[1]
    with replaced_file(folder / SHEET_FILE) as part:
        part.write_bytes(encoded.tobytes())


def _small(path: Path) -> np.ndarray:
    try:
        picture = decode_with_opencv(read_picture(path))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    small: np.ndarray = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return small
