"""Fetching weights from a real server: good days and every kind of bad one."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paddle
import pytest
from weight_server import Shelf, serving

import ppghost
from ppghost.cache import cache_dir
from ppghost.errors import GhostError, OutputError, WeightsError
from ppghost.zoo.card import Card, get_card
from ppghost.zoo.download import Patience
from ppghost.zoo.weights import fetch_url, fetch_weights

HURRY = Patience(timeout_seconds=10, attempts=3, pause_seconds=0)
PATH = "/dygraph/GhostNet_x0_5_pretrained.pdparams"


@functools.lru_cache(maxsize=1)
def weights_content() -> bytes:
    """The bytes of a weight file for GhostNet_x0_5."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.pdparams")
        paddle.save(ppghost.build_model("GhostNet_x0_5").state_dict(), str(path))
        return path.read_bytes()


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A mirror that has the weights of GhostNet_x0_5."""
    with serving() as shelf:
        shelf.files[PATH] = weights_content()
        monkeypatch.setenv("PPGHOST_MIRROR", shelf.url)
        yield shelf


@pytest.fixture
def card() -> Card:
    return get_card("GhostNet_x0_5")


def with_weights(card: Card, **changes: object) -> Card:
    return dataclasses.replace(card, weights=(dataclasses.replace(card.weights[0], **changes),))


def remains(cache: Path) -> set[str]:
    """Names of files in the cache, locks apart."""
    return {path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_a_download_lands_in_the_cache_with_its_checksum(shelf: Shelf, card: Card, cache: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch_weights(card, progress=lambda done, total: seen.append((done, total)), patience=HURRY)
    content = weights_content()
    assert path == cache / "weights" / "GhostNet_x0_5_pretrained.pdparams"
    assert path.read_bytes() == content
    checksum = path.with_name(path.name + ".sha256").read_text()
    assert checksum == f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    assert seen[0] == (0, len(content))
    assert seen[-1] == (len(content), len(content))
    assert remains(cache) == {path.name, f"{path.name}.sha256"}


def test_the_cached_file_is_used_without_a_request_or_a_write(
    shelf: Shelf, card: Card, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_weights(card, patience=HURRY)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    monkeypatch.setenv("PPGHOST_MIRROR", "http://127.0.0.1:9")
    fetch_weights(card, patience=HURRY)
    assert len(shelf.requests) == 1
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_pretrained_true_builds_the_published_network(shelf: Shelf) -> None:
    first, second = (ppghost.build_model("GhostNet_x0_5", class_num=n, pretrained=True) for n in (1000, 7))
    np.testing.assert_array_equal(first.conv1._conv.weight.numpy(), second.conv1._conv.weight.numpy())
    assert second.fc_1.weight.shape == [1280, 7]
    assert [path for path, _ in shelf.requests] == [PATH]


def test_use_ssld_asks_for_the_ssld_file(shelf: Shelf) -> None:
    with pytest.raises(WeightsError):
        ppghost.build_model("GhostNet_x1_3", pretrained=True, use_ssld=True)
    assert [path for path, _ in shelf.requests] == ["/dygraph/GhostNet_x1_3_ssld_pretrained.pdparams"]


def test_a_missing_file_is_not_asked_for_again_and_the_message_says_where_to_put_it(
    shelf: Shelf, card: Card, cache: Path
) -> None:
    shelf.files.clear()
    with pytest.raises(WeightsError) as error:
        fetch_weights(card, patience=HURRY)
    assert len(shelf.requests) == 1
    for part in (
        "404",
        shelf.url + PATH,
        str(cache / "weights" / card.weights[0].file_name),
        "PPGHOST_MIRROR",
    ):
        assert part in str(error.value)
    assert remains(cache) == set()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/ü.pdparams", "the address is not understood"),
        ("http://127.0.0.1:port/x.pdparams", "the address is not understood"),
        ("http://[127/x.pdparams", "is no address"),
    ],
)
def test_what_is_no_address_is_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        fetch_url(url, patience=Patience(pause_seconds=60))


def test_an_overloaded_server_is_asked_again(shelf: Shelf, card: Card) -> None:
    shelf.statuses += [503, 429]
    assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()
    assert len(shelf.requests) == 3


def test_a_broken_connection_is_continued_where_it_ended(shelf: Shelf, card: Card) -> None:
    shelf.cuts += [100_000, 50_000]
    assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()
    assert [wanted for _, wanted in shelf.requests] == ["", "bytes=100000-", "bytes=150000-"]


def test_a_later_call_continues_and_the_cut_file_is_never_taken_for_whole(
    shelf: Shelf, card: Card, cache: Path
) -> None:
    shelf.cuts += [300_000]
    with pytest.raises(WeightsError, match=f"ended after 300000 of {len(weights_content())} bytes"):
        fetch_weights(card, patience=dataclasses.replace(HURRY, attempts=1))
    assert not (cache / "weights" / card.weights[0].file_name).exists()
    assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()
    assert shelf.requests[-1][1] == "bytes=300000-"


def test_a_file_that_changed_meanwhile_is_not_stitched_together(shelf: Shelf, card: Card) -> None:
    old = bytes(len(weights_content()))
    shelf.files[PATH] = old
    shelf.cuts += [300_000]
    with pytest.raises(WeightsError):
        fetch_weights(card, patience=dataclasses.replace(HURRY, attempts=1))
    shelf.files[PATH], shelf.etag = weights_content(), '"v2"'
    assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()


def test_a_server_without_versions_is_asked_for_the_whole(shelf: Shelf, card: Card) -> None:
    shelf.etag = ""
    shelf.cuts += [300_000]
    assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()
    assert [wanted for _, wanted in shelf.requests] == ["", ""]


def test_leftovers_longer_than_the_file_are_thrown_away(shelf: Shelf, card: Card, cache: Path) -> None:
    part = cache / "weights" / f"{card.weights[0].file_name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(weights_content()) + 1))
    part.with_name(part.name + ".version").write_text(shelf.etag)
    assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"rubbish, many times over", "not a Paddle weight file"),
        (weights_content()[:1_000_000], "1000000 bytes, GhostNet_x0_5 needs at least 10407104"),
        (weights_content()[:-20_000] + bytes(20_000), "damaged or cut off"),
    ],
    ids=["empty", "garbage", "truncated", "overwritten"],
)
def test_what_is_no_weight_file_never_stays_in_the_cache(
    shelf: Shelf, card: Card, cache: Path, content: bytes, message: str
) -> None:
    shelf.files[PATH] = content
    with pytest.raises(WeightsError, match=message):
        fetch_weights(card, patience=HURRY)
    assert remains(cache) == set()


def test_a_log_in_page_is_recognised(shelf: Shelf, card: Card, cache: Path) -> None:
    shelf.html = True
    with pytest.raises(WeightsError, match="a web page, perhaps the log-in page"):
        fetch_weights(card, patience=HURRY)
    assert remains(cache) == set()


def test_the_weights_of_another_model_are_refused(shelf: Shelf, cache: Path) -> None:
    card = with_weights(get_card("GhostNet_x0_5"), url=f"{shelf.url}/other.pdparams")
    other = cache.parent / "other.pdparams"
    paddle.save(ppghost.build_model("GhostNet_x1_0").state_dict(), str(other))
    shelf.files["/other.pdparams"] = other.read_bytes()
    with pytest.raises(
        WeightsError, match="not the weights of GhostNet_x0_5.*look like weights of GhostNet_x1_0"
    ):
        fetch_weights(card, patience=HURRY)
    assert remains(cache) == set()


def test_a_published_checksum_or_length_decides(shelf: Shelf, card: Card, cache: Path) -> None:
    right = hashlib.sha256(weights_content()).hexdigest()
    with pytest.raises(WeightsError, match=f"SHA-256 is {right}, published is 00"):
        fetch_weights(with_weights(card, sha256="00" * 32), patience=HURRY)
    with pytest.raises(WeightsError, match="12 are published"):
        fetch_weights(with_weights(card, size_bytes=12), patience=HURRY)
    assert remains(cache) == set()
    fetch_weights(with_weights(card, sha256=right, size_bytes=len(weights_content())), patience=HURRY)


def test_a_file_that_differs_from_the_first_download_is_refused(shelf: Shelf, card: Card) -> None:
    path = fetch_weights(card, patience=HURRY)
    other = bytearray(weights_content())
    other[len(other) // 2] ^= 1
    path.write_bytes(other)
    with pytest.raises(WeightsError, match=r"at the first download.*\.sha256 too"):
        fetch_weights(card, patience=HURRY)
    # The memory outlives the file: a publisher who replaces it is noticed.
    path.unlink()
    shelf.files[PATH] = bytes(other)
    with pytest.raises(WeightsError, match="at the first download"):
        fetch_weights(card, patience=HURRY)
    shelf.files[PATH] = weights_content()
    assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()


def test_without_a_network_a_file_put_there_by_hand_is_taken(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 (discard) is closed on any machine of today.
    monkeypatch.setenv("PPGHOST_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"refused \(3 tries\).*put it at (\S+);") as error:
        fetch_weights(card, patience=HURRY)
    place = Path(str(error.value).split("put it at ")[1].split(";")[0])
    place.write_bytes(weights_content())
    assert fetch_weights(card, patience=HURRY) == place
    place.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=f"{place} is no good"):
        fetch_weights(card, patience=HURRY)


@pytest.mark.parametrize("layout", ["flat", "tree"])
@pytest.mark.parametrize("form", [str, Path.as_uri])
def test_a_folder_is_a_mirror(
    card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout, form
) -> None:
    mirror = tmp_path / "the mirror"
    file = mirror / (PATH.lstrip("/") if layout == "tree" else Path(PATH).name)
    file.parent.mkdir(parents=True)
    file.write_bytes(weights_content())
    monkeypatch.setenv("PPGHOST_MIRROR", form(mirror))
    if layout == "flat" and form is not str:
        with pytest.raises(WeightsError, match="No such file"):
            fetch_weights(card, patience=HURRY)
    else:
        assert fetch_weights(card, patience=HURRY).read_bytes() == weights_content()


def test_a_cache_that_cannot_be_written_is_named(
    shelf: Shelf, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("PPGHOST_HOME", str(blocked))
    with pytest.raises(OutputError, match=f"Cannot write to the cache at {blocked}.*PPGHOST_HOME"):
        fetch_weights(card, patience=HURRY)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full to act as a full disk")
def test_a_full_disk_is_told_from_a_broken_connection(shelf: Shelf, card: Card, cache: Path) -> None:
    part = cache / "weights" / f"{card.weights[0].file_name}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left.*PPGHOST_HOME"):
        fetch_weights(card, patience=HURRY)
    assert len(shelf.requests) == 1


def test_processes_that_want_one_file_download_it_once(shelf: Shelf, tmp_path: Path) -> None:
    program = (
        "import logging, pathlib, sys; from ppghost.zoo.download import download;"
        "logging.basicConfig(level=logging.INFO);"
        "download(sys.argv[1], pathlib.Path(sys.argv[2]), check=lambda part: None)"
    )
    place = tmp_path / "once.pdparams"
    command = [sys.executable, "-c", program, shelf.url + PATH, str(place)]
    shelf.may_answer.clear()
    first = subprocess.Popen(command)
    assert shelf.asked.wait(timeout=60)
    second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert second.stderr is not None
    assert "Another process works on" in second.stderr.readline()
    shelf.may_answer.set()
    second.communicate(timeout=60)
    assert (first.wait(timeout=60), second.returncode) == (0, 0)
    assert place.read_bytes() == weights_content()
    assert len(shelf.requests) == 1


def test_files_of_equal_name_from_different_addresses_do_not_meet(shelf: Shelf) -> None:
    shelf.files["/a/w.pdparams"] = shelf.files["/b/w.pdparams"] = weights_content()
    first, second = (fetch_url(f"{shelf.url}/{folder}/w.pdparams", patience=HURRY) for folder in "ab")
    assert first != second
    assert first == fetch_url(f"{shelf.url}/a/w.pdparams", patience=HURRY)
    assert len(shelf.requests) == 2
    with pytest.raises(GhostError, match="404.*put the file at"):
        fetch_url(f"{shelf.url}/c/w.pdparams", patience=HURRY)


def test_an_address_may_carry_the_checksum_of_its_file(shelf: Shelf) -> None:
    shelf.files["/w.pdparams"] = weights_content()
    address = f"{shelf.url}/w.pdparams"
    right, wrong = hashlib.sha256(weights_content()).hexdigest(), "0" * 64
    with pytest.raises(WeightsError, match=f"thrown away: SHA-256 is {right}, but #sha256={wrong}"):
        fetch_url(f"{address}#sha256={wrong}", patience=HURRY)
    assert {path.suffix for path in cache_dir().rglob("w.*")} <= {".lock"}
    kept = fetch_url(f"{address}#sha256={right.upper()}", patience=HURRY)
    assert kept.read_bytes() == weights_content()
    assert kept == fetch_url(address, patience=HURRY)
    with pytest.raises(WeightsError, match="is no good: SHA-256"):
        fetch_url(f"{address}#sha256={wrong}", patience=HURRY)
    kept.write_bytes(b"changed")
    with pytest.raises(WeightsError, match="is no good: SHA-256"):
        ppghost.build_model("GhostNet_x0_5", pretrained=f"{address}#sha256={right}")
    assert len(shelf.requests) == 2


@pytest.mark.parametrize("fragment", ["", "sha256=", "sha256=12", "md5=" + "0" * 64, "sha256=" + "g" * 64])
def test_a_checksum_that_is_none_is_refused(fragment: str, shelf: Shelf) -> None:
    with pytest.raises(WeightsError, match="64 hexadecimal digits"):
        fetch_url(f"{shelf.url}/w.pdparams#{fragment}", patience=HURRY)
    assert not shelf.requests


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PPGHOST_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "ppghost"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_dir() == tmp_path / "x" / "ppghost"
    monkeypatch.setenv("PPGHOST_HOME", f"~{os.sep}mine")
    assert cache_dir() == tmp_path / "mine"


def test_a_download_announces_itself(shelf: Shelf, card: Card, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ppghost"):
        fetch_weights(card, patience=HURRY)
    assert shelf.url + PATH in caplog.text
    assert hashlib.sha256(weights_content()).hexdigest() in caplog.text
