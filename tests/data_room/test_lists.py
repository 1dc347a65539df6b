"""List files: what is read, what is refused and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppghost.data.lists import (
    check_distinct,
    check_labels,
    check_one_label,
    check_presence,
    is_unbearable,
    missing_pictures,
    read_list,
    repeated_pictures,
)
from ppghost.errors import DataError


def read(folder: Path, content: Any, **arguments: Any) -> Any:
    source = folder / "some list.txt"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_list(str(source), str(folder), **arguments)


def test_bom_crlf_blank_lines_and_blanks_in_names(tmp_path: Path) -> None:
    pictures = read(tmp_path, b"\xef\xbb\xbfa b.jpg 3\r\n\r\n  \nd/\xc3\xa9.jpg 0\r\n")
    assert [pictures.path(i) for i in range(2)] == [str(tmp_path / "a b.jpg"), str(tmp_path / "d/é.jpg")]
    assert pictures.labels.tolist() == [3, 0]
    assert pictures.place(1).endswith("some list.txt:4")


def test_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    pictures = read(tmp_path, b"\xff\xfe.jpg 1\n")
    assert pictures.name(0).encode("utf-8", "surrogateescape") == b"\xff\xfe.jpg"


@given(
    st.lists(
        st.tuples(st.text(st.characters(categories=["L", "N"]), min_size=1), st.integers(0, 10**6)),
        min_size=1,
    ),
    st.sampled_from([None, "\t", ",", "::"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], delimiter: Any
) -> None:
    text = "".join(f"{name}.jpg{delimiter or ' '}{label}\n" for name, label in rows)
    pictures = read(tmp_path_factory.mktemp("list"), text, delimiter=delimiter)
    assert [pictures.name(i) for i in range(len(pictures))] == [f"{name}.jpg" for name, _ in rows]
    assert pictures.labels.tolist() == [label for _, label in rows]


@given(st.lists(st.integers(-50, 10**7), min_size=1))
def test_relabel_keeps_the_order_of_the_labels(
    tmp_path_factory: pytest.TempPathFactory, labels: list[int]
) -> None:
    text = "".join(f"a.jpg {label}\n" for label in labels)
    relabelled = read(tmp_path_factory.mktemp("list"), text, relabel=True).labels
    ranks = {label: rank for rank, label in enumerate(sorted(set(labels)))}
    assert relabelled.tolist() == [ranks[label] for label in labels]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a.jpg 0\nb.jpg\n", ["list.txt:2", "no label"]),
        ("a.jpg\t0\n", ["list.txt:1", "no label", 'delimiter: "\\t"']),
        ("\n\na.jpg dog\n", ["list.txt:3", "'dog'", "not an integer"]),
        ("a.jpg 9223372036854775808\n", ["list.txt:1", "not an integer of 64 bits"]),
        ("a.jpg 1.0\n", ["list.txt:1", "'1.0'", "not an integer"]),
        ("\n \n", ["names no picture"]),
        ("", ["names no picture"]),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert all(word in str(caught.value) for word in words), caught.value


def test_missing_folder_and_list_tell_how_to_get_the_demo(tmp_path: Path) -> None:
    for source, root in ((tmp_path / "no.txt", tmp_path), (tmp_path, tmp_path / "nothing")):
        with pytest.raises(DataError, match="make demo"):
            read_list(str(source), str(root))


def test_label_outside_class_num(tmp_path: Path) -> None:
    pictures = read(tmp_path, "a.jpg 4\nb.jpg 5\n")
    check_labels(pictures, 6)
    with pytest.raises(DataError, match=r"list.txt:2: label 5 is not in 0 to 4.*class_num"):
        check_labels(pictures, 5)
    with pytest.raises(DataError, match=r"list.txt:1: label -1"):
        check_labels(read(tmp_path, "a.jpg -1\n"), 5)


@pytest.mark.parametrize("count", [3, 30])
def test_missing_pictures_in_small_and_large_folders(tmp_path: Path, count: int) -> None:
    (tmp_path / "d").mkdir()
    for number in range(0, count, 2):
        (tmp_path / "d" / f"{number}.jpg").touch()
    text = "".join(f"d/{number}.jpg 0\n" for number in range(count)) + "nowhere/x.jpg 0\n"
    pictures = read(tmp_path, text)
    assert missing_pictures(pictures) == [*range(1, count, 2), count]
    with pytest.raises(DataError, match=r"list.txt:2: the picture .*1.jpg' does not exist"):
        check_presence(pictures, training=False)


def test_training_bears_with_few_missing_pictures(tmp_path: Path) -> None:
    for number in range(2, 200):
        (tmp_path / f"{number}.jpg").touch()
    check_presence(read(tmp_path, "".join(f"{n}.jpg 0\n" for n in range(200))), training=True)
    with pytest.raises(DataError, match="3 of 201 listed pictures are missing"):
        check_presence(read(tmp_path, "".join(f"{n}.jpg 0\n" for n in range(201))), training=True)


def test_more_than_one_percent_is_too_much() -> None:
    assert not is_unbearable(0, 5)
    assert is_unbearable(1, 99)
    assert not is_unbearable(1, 100)
    assert not is_unbearable(12811, 1281167)
    assert is_unbearable(12812, 1281167)


def test_labels_are_int64(tmp_path: Path) -> None:
    assert read(tmp_path, "a.jpg 1\n").labels.dtype == np.int64


def test_a_picture_with_two_labels_is_refused_and_one_listed_twice_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_one_label(read(tmp_path, "a.jpg 1\nb.jpg 1\nb.jpg.jpg 0\n"))
    assert not caplog.text
    twice = read(tmp_path, "a.jpg 1\nb.jpg 1\n\na.jpg 1\nb.jpg 1\n")
    check_one_label(twice)
    assert "list.txt:4 is the first ('a.jpg')" in caplog.text
    assert "2 line(s) name a picture again" in caplog.text
    mixed = read(tmp_path, "a.jpg 1\nb.jpg 1\na.jpg 1\nb.jpg 0\n")
    with pytest.raises(
        DataError, match="list.txt:4: 'b.jpg' stands in line 2 already, with label 1; here it"
    ):
        check_one_label(mixed)
    with pytest.raises(DataError, match="list.txt:3: 'a.jpg' stands in line 1 already"):
        check_distinct(mixed)


@given(names=st.lists(st.sampled_from("abcdefg"), max_size=30))
def test_repeated_pictures_are_those_that_a_plain_search_finds(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pictures = read(tmp_path_factory.mktemp("lists"), "".join(f"{name} 0\n" for name in ["z", *names]))
    expected = [
        (place, ["z", *names].index(name))
        for place, name in enumerate(["z", *names])
        if name in ["z", *names][:place]
    ]
    assert repeated_pictures(pictures) == expected
