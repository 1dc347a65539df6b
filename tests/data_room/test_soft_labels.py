"""The file of soft labels, to the byte, and the batches that its answers belong to."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ppghost.config import loading
from ppghost.data import Loader
from ppghost.data.reader import Views
from ppghost.data.soft_labels import (
    FORM,
    STEPS,
    Header,
    SoftLabels,
    kept_of,
    missing,
    pack,
    partial_of,
    storing,
    unpack,
)
from ppghost.errors import DataError, OutputError

from . import pictures

resource = pytest.importorskip("resource", reason="soft labels are written on Linux and macOS")
fcntl = pytest.importorskip("fcntl", reason="soft labels are written on Linux and macOS")

FINEST = 0.5 / STEPS
"""How far a stored logarithm may be from its own."""


def header_for(classes: int, kept: int, *, count: int = 5, views: int = 3) -> Header:
    return Header(count, classes, kept, views, 7, "ab" * 32, ("ImageNetDataset",), "GhostNet_x1_3", "cd" * 32)


def log_shares(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@st.composite
def answers(draw: Any) -> tuple[np.ndarray, Header]:
    classes = draw(st.integers(2, 30))
    kept = kept_of(draw(st.integers(1, 40)), classes)
    numbers = st.floats(-12, 12, width=32)
    logits = draw(arrays(np.float32, (draw(st.integers(1, 4)), classes), elements=numbers))
    return logits, header_for(classes, kept)


# -------------------------------------------------------------------------------------------- one answer


@given(answers())
@settings(deadline=None)
def test_an_answer_comes_back_within_half_a_step(given_answers: tuple[np.ndarray, Header]) -> None:
    logits, header = given_answers
    logs, back = log_shares(logits), unpack(pack(logits, header), header)
    assert back.dtype == np.float32
    assert back.shape == logits.shape
    for own, read in zip(logs, back):
        largest = np.argsort(-own, kind="stable")[: header.kept]
        np.testing.assert_allclose(read[largest], own[largest], atol=FINEST * 1.01)
        others = np.setdiff1d(np.arange(header.classes), largest)
        if len(others):
            assert len(set(read[others])) == 1, "what is left over is spread evenly"
            rest = np.log(np.exp(own[others]).sum())
            assert np.log(np.exp(read[others].astype(float)).sum()) == pytest.approx(rest, abs=FINEST * 1.05)


def test_shares_beyond_the_range_are_the_smallest_one() -> None:
    header = header_for(2, 2)
    assert unpack(pack(np.array([[0.0, 500.0]]), header), header)[0].tolist() == [-65534 / STEPS, 0.0]


def test_all_classes_are_kept_where_that_takes_no_more_bytes() -> None:
    assert kept_of(10, 12) == 12
    assert kept_of(10, 21) == 21
    assert kept_of(10, 22) == 10
    assert kept_of(2000, 1000) == 1000
    assert header_for(1000, 10).record.itemsize == 10 * (2 + 2) + 2
    assert header_for(1000, 1000).record.itemsize == 2000
    assert header_for(65536, 3).record.itemsize == 14
    assert header_for(65537, 3).record.itemsize == 20


def test_many_classes_have_wide_numbers() -> None:
    logits = np.zeros((1, 70_000), np.float32)
    logits[0, 69_999] = 20
    header = header_for(70_000, 1)
    assert unpack(pack(logits, header), header)[0].argmax() == 69_999


# ---------------------------------------------------------------------------------------------- the file


def contents(header: Header) -> np.ndarray:
    """Return records of all answers of a file."""
    logits = np.random.default_rng(3).normal(size=(header.answers, header.classes))
    return pack(logits, header)


def write(path: Path, header: Header, records: np.ndarray, batch: int = 2) -> None:
    """Write a file as a run does, from where it stopped."""
    with storing(path, header, batch) as store:
        while store.done < header.answers:
            left = header.pictures - store.done % header.pictures
            store.append(records[store.done : store.done + min(batch, left)])


@pytest.mark.parametrize("kept", [2, 9])
def test_a_file_gives_each_view_of_each_picture(tmp_path: Path, kept: int) -> None:
    header = header_for(9, kept)
    records = contents(header)
    path = tmp_path / "folder" / "answers"
    write(path, header, records)
    assert path.stat().st_size == header.file_bytes
    assert len(header.line) % 64 == 0
    assert not partial_of(path).exists()
    labels = SoftLabels(path)
    labels.check()
    assert labels.header == header
    indices = np.array([4, 0, 3])
    for view in (1, 2, 3):
        expected = unpack(records[(view - 1) * 5 + indices], header)
        np.testing.assert_array_equal(labels.logits(view, indices), expected)


@given(cut=st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_a_run_killed_anywhere_goes_on_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    header = header_for(9, 2)
    path = tmp_path_factory.mktemp("cut") / "answers"
    write(path, header, contents(header))
    whole = path.read_bytes()
    os.rename(path, partial_of(path))
    os.truncate(partial_of(path), cut % (len(whole) + 1))
    with storing(path, header, 2) as store:
        assert store.done % 5 in (0, 2, 4), "a run goes on at the start of a batch"
        assert store.done * header.record.itemsize <= max(0, cut % (len(whole) + 1) - len(header.line))
    assert path.exists() == (store.done == header.answers), "half a file has no name of a whole one"
    if not path.exists():
        with pytest.raises(DataError, match="not finished"):
            SoftLabels(path)
        write(path, header, contents(header))
    assert path.read_bytes() == whole


def test_an_unfinished_file_of_another_run_is_refused(tmp_path: Path) -> None:
    header, path = header_for(9, 2), tmp_path / "answers"
    with storing(path, header, 2) as store:
        store.append(contents(header)[:2])
    before = partial_of(path).read_bytes()
    other = dataclasses.replace(header, seed=8)
    with (
        pytest.raises(DataError, match=r"of another run.*\n  seed: 7 in the file, 8 now"),
        storing(path, other, 2),
    ):
        pass
    assert partial_of(path).read_bytes() == before


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    header, path = header_for(9, 2), tmp_path / "answers"
    with storing(path, header, 2):
        with pytest.raises(OutputError, match="Another process is writing"), storing(path, header, 2):
            pass
    write(path, header, contents(header))
    SoftLabels(path).check()


def test_a_full_disk_is_told_and_what_was_done_is_gone_on_from(tmp_path: Path) -> None:
    header = header_for(9, 2, count=3000)
    records, path = contents(header), tmp_path / "answers"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may be larger: a write then fails as on a full disk, and so does closing what it left.
    resource.setrlimit(resource.RLIMIT_FSIZE, (header.file_bytes // 2, before[1]))
    try:
        with pytest.raises(OutputError, match="repeat the command"):
            write(path, header, records, batch=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert partial_of(path).stat().st_size > len(header.line)
    assert not path.exists()
    write(path, header, records, batch=1000)
    SoftLabels(path).check()


def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OutputError, match="another disk"), storing(tmp_path / "answers", header_for(9, 2), 2):
        pass


def test_a_folder_is_no_file_to_write_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder"), storing(tmp_path, header_for(9, 2), 2):
        pass


def changed(content: bytes, header: Header, how: str) -> bytes:
    """Return a file that went wrong."""
    line = header.line
    if how == "cut off":
        return content[:-1]
    if how == "longer":
        return content + b"\0"
    if how == "empty":
        return b""
    if how == "one bit":
        place = len(line) + 3
        return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
    if how == "other classes":
        return content.replace(b'"kept": 2', b'"kept": 3')
    if how == "more classes than numbers are for":
        return dataclasses.replace(header, classes=10**11, kept=10**11).line + content
    if how == "other format":
        return content.replace(b'"ppghost_soft_labels": %d' % FORM, b'"ppghost_soft_labels": 9')
    return {"a picture": b"\x89PNG\r\n\x1a\n", "a list": b"[1, 2]\n", "other JSON": b"{}\n"}[how]


DAMAGES = {
    "cut off": "bytes, but should have",
    "longer": "bytes, but should have",
    "empty": "no file of soft labels",
    "one bit": "damaged",
    "other classes": "bytes, but should have",
    "other format": "format 9; this version reads format 1",
    "more classes than numbers are for": "no file of soft labels",
    "a picture": "no file of soft labels",
    "a list": "no file of soft labels",
    "other JSON": "no file of soft labels",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_file_that_went_wrong_is_refused(tmp_path: Path, how: str) -> None:
    header, path = header_for(9, 2), tmp_path / "answers"
    write(path, header, contents(header))
    path.write_bytes(changed(path.read_bytes(), header, how))
    with pytest.raises(DataError, match=DAMAGES[how]):
        SoftLabels(path).check()


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_are_taken_for_soft_labels_by_mistake(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "answers"
    path.write_bytes(b'{"ppghost_soft_labels": 1, ' + content)
    with pytest.raises(DataError, match="no file of soft labels"):
        SoftLabels(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "answers")
    with pytest.raises(DataError, match="Give a file"):
        SoftLabels(tmp_path / "answers")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no soft labels at"):
        SoftLabels(tmp_path / "answers")


def test_a_picture_without_an_answer_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    header, path = header_for(9, 2), tmp_path / "answers"
    records = contents(header)
    records[7] = missing(1, header)[0]
    write(path, header, records)
    labels = SoftLabels(path)
    assert np.isfinite(labels.logits(1, np.arange(5))).all()
    with pytest.raises(DataError, match="no answer to picture 2"):
        labels.logits(2, np.arange(5))


# -------------------------------------------------------------------------------------- batches and views


def seen(loader: Loader, epoch: int, start: int = 0) -> dict[int, tuple[int, bytes]]:
    """Return view and bytes of each picture of an epoch by its number."""
    return {
        int(index): (batch.view, row.tobytes())
        for batch in loader.batches(epoch, start=start)
        for index, row in zip(batch.indices, batch.images.numpy())
    }


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_take_the_views_in_turn(make_loader: Callable[..., Loader], workers: int) -> None:
    plain = make_loader(seed=5)
    turns = make_loader(seed=9, workers=workers, views=Views(2, seed=5), epochs=4)
    order = [[int(i) for batch in turns.batches(epoch) for i in batch.indices] for epoch in (1, 3)]
    first, second, third, fourth = (seen(turns, epoch) for epoch in (1, 2, 3, 4))
    assert first == third == seen(plain, 1)
    assert second == fourth == seen(plain, 2)
    assert first != second
    assert order[0] != order[1], "pictures are shuffled anew in every epoch"


def test_without_views_every_epoch_draws_anew(make_loader: Callable[..., Loader]) -> None:
    loader = make_loader()
    assert [seen(loader, epoch)[3][0] for epoch in (1, 2, 3)] == [1, 2, 3]
    assert len({seen(loader, epoch)[3] for epoch in (1, 2, 3)}) == 3


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_knows_the_numbers_of_its_pictures(
    make_loader: Callable[..., Loader], rank: int
) -> None:
    alone = seen(make_loader(), 1)
    loader = make_loader(rank=rank, world_size=2)
    share = seen(loader, 1)
    assert 11 <= len(share) <= 12
    assert all(alone[index] == picture for index, picture in share.items())
    labels = {int(i): int(y) for b in loader.batches(1) for i, y in zip(b.indices, b.labels.numpy())}
    assert labels == {index: index % pictures.CLASSES for index in labels}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_is_left_out_leaves_a_gap_in_the_numbers(
    make_loader: Callable[..., Loader], folder: Path, workers: int
) -> None:
    names = [f"p/{number % 23}.png {number % 23 % 5}" for number in range(230)]
    names[100] = "p/broken.png 0"
    (folder / "p" / "broken.png").write_bytes(b"no picture")
    (folder / "list.txt").write_text("\n".join(names) + "\n")
    loader = make_loader(workers=workers, sampler=loading.DistributedBatchSampler(16))
    batches = list(loader.batches(1))
    assert [int(i) for batch in batches for i in batch.indices] == [i for i in range(230) if i != 100]
    assert all(batch.size == len(batch.indices) for batch in batches)


def test_the_digest_tells_other_pictures_and_orders_apart(
    make_loader: Callable[..., Loader], folder: Path
) -> None:
    listed = (folder / "list.txt").read_text()
    digest = make_loader().samples.digest()
    assert re.fullmatch("[0-9a-f]{64}", digest)
    (folder / "list.txt").write_text(listed.replace(" 3\n", " 2\n"))
    assert make_loader().samples.digest() == digest, "labels are not what a teacher sees"
    lines = listed.splitlines(keepends=True)
    others = {"".join(reversed(lines)), "".join(lines[:-1]), "".join([*lines, lines[0]])}
    digests = set()
    for text in others:
        (folder / "list.txt").write_text(text)
        digests.add(make_loader().samples.digest())
    (folder / "list.txt").write_text(listed)
    (folder / "p" / "4.png").write_bytes((folder / "p" / "5.png").read_bytes())
    digests.add(make_loader().samples.digest())
    assert len(digests | {digest}) == 5
