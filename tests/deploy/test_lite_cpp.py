"""The C++ program for Paddle Lite: pictures as in Python, files refused in words, a benchmark that tells all.

What runs here without Paddle Lite's SDK: everything before and behind the network, on this processor with
sanitizers and, under qemu, on ARM; and the whole program with a stand-in for the library (test/stand_in.cpp),
which proves nothing about Paddle Lite. With `PPGHOST_LITE_DIR` the real library is linked and run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import ppghost
from ppghost.artifact import Artifact
from ppghost.bench.phone import problems_of, read_result
from ppghost.cli.commands import build_parser
from ppghost.environments import LITE, ensure_environment
from ppghost.errors import ToolMissingError
from ppghost.export.target import load_target
from ppghost.predict import list_pictures
from ppghost.vision import Pipeline, softmax
from tests.conftest import PictureSet
from tests.deploy.test_cpp import KINDS, SMALL, compiler, damaged, encoded, photo, run, saved

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "deploy" / "lite" / "cpp"
CROSS = "aarch64-linux-gnu-g++"
QEMU = "qemu-aarch64-static"
CLASS_NUM = 7
NAMES = ["ant", "bee, the", 'a "cat"', "dog", "elk", "fox", "山羊"]
MAX_PIXELS = 4_000_000
OPT_VERSION = "v2.13-rc"
GREY_LEVEL = 1 / 255 / 0.224  # what one level of 256 is after the pipeline, at most
JPEG_LEVELS = 3  # by how much stb_image's JPEG decoder may differ from OpenCV's
PIPELINE = Pipeline.from_list(
    [
        {"DecodeImage": None},
        {"ResizeImage": {"resize_short": 256}},
        {"CropImage": {"size": 224}},
        {"NormalizeImage": {"order": ""}},
        {"ToCHWImage": None},
    ]
)
FAST = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0", "-DCMAKE_CXX_FLAGS=-Werror")
ARM = (
    "-DCMAKE_SYSTEM_NAME=Linux",
    "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
    f"-DCMAKE_CXX_COMPILER={CROSS}",
    "-DCMAKE_EXE_LINKER_FLAGS=-static",
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def build(folder: Path, *settings_: str) -> Path:
    """Configure and build all programs without a warning, and return the folder they are in."""
    compiler()
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here; apt-get install cmake")
    configured = run("cmake", "-S", SOURCE, "-B", folder, "-DCMAKE_UNITY_BUILD=ON", *settings_)
    if "stb_image.h was not found" in configured.stderr:
        pytest.skip("stb_image.h is not here; apt-get install libstb-dev")
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", folder, "-j2")
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning:" not in built.stdout + built.stderr
    return folder


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here; apt-get install g++-aarch64-linux-gnu qemu-user-static")


def stand_in_sdk(folder: Path, cxx: str) -> Path:
    """Make a folder in the form of Paddle Lite's package, with the stand-in for its library."""
    (folder / "cxx" / "lib").mkdir(parents=True)
    (folder / "cxx" / "include").mkdir()
    shutil.copy(SOURCE / "stubs" / "paddle_api.h", folder / "cxx" / "include")
    library = folder / "cxx" / "lib" / "libpaddle_light_api_shared.a"
    made = library.with_suffix(".o")
    flags = ("-std=c++14", "-Wall", "-Wextra", "-Werror", "-c", f"-I{SOURCE}/stubs")
    done = run(cxx, *flags, SOURCE / "test" / "stand_in.cpp", "-o", made)
    assert done.returncode == 0, done.stderr
    assert run("ar", "rcs", library, made).returncode == 0
    return folder


@pytest.fixture(scope="module")
def stubbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs for this processor, against stubs, with sanitizers."""
    folder = tmp_path_factory.mktemp("stubbed")
    return build(folder, "-DPPGHOST_PROBE=ON", "-DPPGHOST_SANITIZE=ON", *FAST)


@pytest.fixture(scope="module")
def stubbed_arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs for 64-bit ARM, against stubs, linked statically."""
    needs(CROSS, QEMU)
    return build(tmp_path_factory.mktemp("stubbed_arm"), "-DPPGHOST_PROBE=ON", *ARM, *FAST[2:])


@pytest.fixture(scope="module", params=["x86", "armv8"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that run ppghost_lite with the stand-in: here, and under qemu."""
    folder = tmp_path_factory.mktemp("stand_in")
    compiler()
    if request.param == "armv8":
        needs(CROSS, QEMU)
    sdk = stand_in_sdk(folder / "sdk", CROSS if request.param == "armv8" else compiler())
    made = build(
        folder / "build", f"-DPPGHOST_LITE_DIR={sdk}", *FAST, *(ARM if request.param == "armv8" else ())
    )
    return [*([QEMU] if request.param == "armv8" else []), str(made / "ppghost_lite")]


def nb(
    body: bytes = b"7\n",
    meta: int = 2,
    version: bytes = b"v2.13-rc\0\xa0\x03",
    topology: Optional[int] = None,
) -> bytes:
    """Return the bytes of a .nb file as far as anything but Paddle Lite looks at them."""
    return struct.pack("<H16sQ", meta, version, len(body) if topology is None else topology) + body


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def logits_of(tensor: np.ndarray) -> np.ndarray:
    """Return `float32 [CLASS_NUM]`: what the stand-in computes for `float32 [3, H, W]`."""
    means = tensor.astype(np.float64).mean((1, 2))
    return np.array([means[c % 3] * (c + 1) for c in range(CLASS_NUM)], np.float32)


def write_folder(folder: Path, network: Optional[bytes] = None, **changes: Any) -> Path:
    """Write a model folder by hand; `changes` are put into its manifest."""
    folder.mkdir(parents=True)
    network = nb() if network is None else network
    picture = saved("PNG", Image.fromarray(photo()))
    tensor = PIPELINE.to_chw(picture)
    files = {
        "golden_input.bin": tensor.astype("<f4").tobytes(),
        "golden_output.bin": logits_of(tensor).astype("<f4").tobytes(),
        "golden_picture.png": picture,
        "labels.txt": "".join(f"{i} {name}\n" for i, name in enumerate(NAMES)).encode(),
    }
    models = []
    for arch in ("armv8", "x86"):
        files[f"inference.{arch}.fp32.nb"] = network
        file = {
            "file": f"inference.{arch}.fp32.nb",
            "arch": arch,
            "precision": "fp32",
            "size_bytes": len(network),
        }
        models.append(
            {**file, "sha256": digest(network), "meta_version": 2, "opt_version": OPT_VERSION, "rtol": 1e-4}
        )
    golden = {
        key: f"golden_{key}.{'png' if key == 'picture' else 'bin'}" for key in ("input", "output", "picture")
    }
    manifest = {
        "format": 1,
        "name": "GhostNet_x1_0",
        "version": "5eb3ae0c0fad",
        "graph": "stock",
        "class_num": CLASS_NUM,
        "topk": 3,
        "input": {"name": "x", "shape": [1, 3, 224, 224]},
        "output": {"name": "out", "softmax": False},
        "preprocess": {
            "resize_short": 256,
            "crop": 224,
            "interpolation": "bilinear",
            "channel_order": "RGB",
            "scale": 1 / 255,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "labels": "labels.txt",
        "labels_sha256": digest(files["labels.txt"]),
        "golden": {**golden, **{f"{key}_sha256": digest(files[name]) for key, name in golden.items()}},
        "models": models,
        "added_later": {"a reader": "goes on"},
    }
    manifest.update(changes)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "ppghost.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for the stand-in; leave it as it is."""
    return write_folder(tmp_path_factory.mktemp("model") / "ghostnet")


class Probe:
    """ppghost_lite_probe, asked through a pipe."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, kind: str, data: bytes) -> str:
        """Return the answer; fail when the program died of the question."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{kind} {len(data)}\n".encode() + data)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the program died of {kind} {data[:200]!r}, {len(data)} bytes"
        answer = json.loads(line)
        assert answer.startswith(("ok ", "refused "))
        return answer

    def tensor(self, kind: str, source: Path, out: Path) -> np.ndarray:
        """Return `float32 [3, 224, 224]` of a picture file ("tensor") or of raw pixels ("raw")."""
        answer = self.ask(kind, f"{source}\n{out}".encode())
        assert answer == "ok ", answer
        return np.fromfile(out, np.float32).reshape(3, 224, 224)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def probe(stubbed: Path, model: Path) -> Iterator[Probe]:
    asked = Probe(stubbed / "ppghost_lite_probe", model, MAX_PIXELS)
    yield asked
    asked.close()


@pytest.fixture(scope="module")
def arm_probe(stubbed_arm: Path, model: Path) -> Iterator[Probe]:
    asked = Probe(QEMU, stubbed_arm / "ppghost_lite_probe", model, MAX_PIXELS)
    yield asked
    asked.close()


def oriented(orientation: int) -> bytes:
    image = Image.fromarray(photo(60, 80))
    exif = image.getexif()
    exif[0x0112] = orientation
    return saved("JPEG", image, exif=exif, quality=95)


PICTURES: dict[str, tuple[Callable[[], bytes], int]] = {
    **{
        kind: (make, JPEG_LEVELS if "jpeg" in kind else 1)
        for kind, make in KINDS.items()
        if "jpeg" in kind or "png" in kind
    },
    **{f"orientation {i}": (lambda i=i: oriented(i), JPEG_LEVELS) for i in range(1, 9)},
    "interlaced grey png": (lambda: encoded(".png", photo()[:, :, 0]), 1),
    "1-bit png": (lambda: saved("PNG", Image.fromarray(photo()).convert("1")), 1),
    "png with a transparent colour": (
        lambda: saved("PNG", Image.fromarray(photo()), transparency=(1, 2, 3)),
        1,
    ),
    "one column": (KINDS["one column"], 1),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_kinds_of_pictures_become_the_tensor_of_python(kind: str, probe: Probe, tmp_path: Path) -> None:
    make, levels = PICTURES[kind]
    picture = tmp_path / "picture"
    picture.write_bytes(make())
    given_ = probe.tensor("tensor", picture, tmp_path / "tensor")
    np.testing.assert_allclose(given_, PIPELINE.to_chw(picture.read_bytes()), atol=1.01 * levels * GREY_LEVEL)


def raw_file(path: Path, image: np.ndarray) -> Path:
    path.write_bytes(struct.pack("<ii", *image.shape[:2]) + image.tobytes())
    return path


def after_decoding(image: np.ndarray) -> np.ndarray:
    """Return `float32 [3, 224, 224]` of `uint8 [H, W, 3]` by Python."""
    return PIPELINE.to_chw(image)


def test_resizing_is_that_of_python_on_real_pictures(
    probe: Probe, imagenet_samples: PictureSet, tmp_path: Path
) -> None:
    pictures = list_pictures(imagenet_samples.root)[::20]
    assert len(pictures) >= 50
    for picture in pictures:
        image = np.ascontiguousarray(PIPELINE.ops[0](picture.read_bytes(), None))
        given_ = probe.tensor("raw", raw_file(tmp_path / "raw", image), tmp_path / "tensor")
        difference = np.abs(given_ - after_decoding(image))
        assert difference.max() <= 1.01 * GREY_LEVEL, picture


def test_decoding_real_pictures_is_almost_that_of_python(
    probe: Probe, imagenet_samples: PictureSet, tmp_path: Path
) -> None:
    levels = []
    for picture in list_pictures(imagenet_samples.root)[::20]:
        given_ = probe.tensor("tensor", picture, tmp_path / "tensor")
        levels.append(np.abs(given_ - PIPELINE.to_chw(picture.read_bytes())) / GREY_LEVEL)
    # stb_image and libjpeg-turbo round elsewhere when they enlarge the colour planes; resizing may add one.
    assert max(level.max() for level in levels) <= 1.02 * (JPEG_LEVELS + 1)
    assert np.mean([level.mean() for level in levels]) < 0.2


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(height=st.integers(1, 700), width=st.integers(1, 700), seed=st.integers(0, 9))
def test_resizing_any_size_is_that_of_python(
    height: int, width: int, seed: int, probe: Probe, tmp_path: Path
) -> None:
    if max(height, width) > 40 * min(height, width):
        return  # Python would make the whole long strip
    image = np.random.RandomState(seed).randint(0, 256, (height, width, 3), np.uint8)
    given_ = probe.tensor("raw", raw_file(tmp_path / "raw", image), tmp_path / "tensor")
    np.testing.assert_allclose(given_, after_decoding(image), atol=1.01 * GREY_LEVEL)


def test_the_preprocessing_on_arm_is_that_of_python(
    arm_probe: Probe, probe: Probe, imagenet_samples: PictureSet, tmp_path: Path
) -> None:
    for picture in list_pictures(imagenet_samples.root)[::250]:
        image = np.ascontiguousarray(PIPELINE.ops[0](picture.read_bytes(), None))
        raw = raw_file(tmp_path / "raw", image)
        given_ = arm_probe.tensor("raw", raw, tmp_path / "tensor")
        np.testing.assert_allclose(given_, after_decoding(image), atol=1.01 * GREY_LEVEL)
        assert np.array_equal(given_, probe.tensor("raw", raw, tmp_path / "tensor"))
        # NEON and SSE decode to the same pixels.
        given_ = arm_probe.tensor("tensor", picture, tmp_path / "tensor")
        assert np.array_equal(given_, probe.tensor("tensor", picture, tmp_path / "tensor"))


@pytest.mark.parametrize("where", ["probe", "arm_probe"])
def test_answers_are_those_of_python(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    asked: Probe = request.getfixturevalue(where)
    random = np.random.RandomState(2)
    for count, k in ((1000, 5), (7, 3), (2, 5)):
        logits = (4 * random.randn(count)).astype(np.float32)
        logits[: count // 2] = np.round(logits[: count // 2])  # with ties
        logits.tofile(tmp_path / "logits")
        answer = json.loads(asked.ask("top", f"{k}\n{tmp_path / 'logits'}".encode())[3:])
        expected = softmax(logits[None])[0]
        assert answer["class_ids"] == expected.argsort(kind="stable")[::-1][:k].tolist()
        np.testing.assert_allclose(answer["scores"], expected[answer["class_ids"]], atol=1.01e-5)
        assert answer["file_name"] == "picture"


@FUZZ
@given(times=st.lists(st.integers(1, 10**12), min_size=1, max_size=40))
def test_statistics(times: list[int], probe: Probe) -> None:
    told = json.loads(probe.ask("statistics", np.array(times, np.int64).tobytes())[3:])
    assert told["median_ns"] == pytest.approx(np.median(times), abs=0.5)
    assert told["average_ns"] == pytest.approx(np.mean(times), abs=0.5)
    assert told["p90_ns"] == sorted(times)[-(-9 * len(times) // 10) - 1]
    assert (told["min_ns"], told["max_ns"]) == (min(times), max(times))


@FUZZ
@given(data=st.binary(max_size=300))
def test_sha256(data: bytes, probe: Probe) -> None:
    assert probe.ask("sha256", data) == f"ok {digest(data)}"


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, pixels: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def with_a_flipped_bit(data: bytes) -> bytes:
    place = data.index(b"IDAT") + 60
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def arithmetic() -> bytes:
    return SMALL["jpeg"].replace(b"\xff\xc0", b"\xff\xc9", 1)


def with_a_long_huffman_table() -> bytes:
    data = bytearray(SMALL["jpeg"])
    place = data.index(b"\xff\xc4") + 5
    data[place : place + 16] = b"\xff" * 16
    return bytes(data)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "an empty file": (lambda: b"", "0 bytes"),
    "text": (lambda: b"hello, world", "68 65 6c 6c"),
    "100 megapixels": (lambda: png_of(10_000, 10_000, zlib.compress(bytes(99))), "10000 x 10000"),
    "a png that inflates without end": (
        lambda: png_of(9, 9, zlib.compress(bytes(1 << 26))),
        "cannot be decoded",
    ),
    "a png with too few pixels": (lambda: png_of(99, 99, zlib.compress(bytes(99))), "cannot be decoded"),
    "a png with a flipped bit": (lambda: with_a_flipped_bit(KINDS["png"]()), "check number"),
    "a jpeg of another coding": (arithmetic, "cannot be decoded"),
    "a jpeg whose table is too long": (with_a_long_huffman_table, "more than 256 codes"),
    "a bmp": (lambda: SMALL["bmp"], "accepted here: JPEG and PNG"),
    "a webp": (lambda: SMALL["webp"], "accepted here: JPEG and PNG"),
    "a gif": (lambda: saved("GIF", Image.fromarray(photo()).quantize(60)), "This is no picture"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_accepted_picture_is_refused_with_the_reason(what: str, probe: Probe) -> None:
    make, reason = REFUSED[what]
    answer = probe.ask("picture", make())
    assert answer.startswith("refused ")
    assert reason in answer


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "turned jpeg", "png", "16-bit png"])
def test_a_picture_that_was_cut_off_is_refused(kind: str, probe: Probe) -> None:
    data = KINDS[kind]()
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        assert probe.ask("picture", data[: int(share * len(data))]).startswith("refused "), share


def test_the_largest_accepted_forms_fit_into_the_memory_that_is_granted(probe: Probe) -> None:
    noise = np.random.RandomState(1).randint(0, 1 << 16, (600, 800, 4), np.uint16)
    assert probe.ask("picture", encoded(".png", noise)) == "ok "
    image = Image.fromarray((noise[:, :, :3] >> 8).astype(np.uint8))
    for subsampling in (0, 1, 2):
        data = saved("JPEG", image, progressive=True, quality=60, subsampling=subsampling)
        assert probe.ask("picture", data) == "ok "


@FUZZ
@given(data=st.data(), kind=st.sampled_from(["jpeg", "progressive jpeg", "png"]))
def test_damaged_pictures_are_read_or_refused(data: st.DataObject, kind: str, probe: Probe) -> None:
    spoiled = bytearray(data.draw(damaged(SMALL[kind])))
    if (
        kind == "png" and len(spoiled) > 60
    ):  # give the first chunks a check number that fits, so that stb_image sees them
        place = 8
        while place + 12 <= len(spoiled):
            length = int.from_bytes(spoiled[place : place + 4], "big")
            end = place + 8 + length
            if end + 4 > len(spoiled):
                break
            spoiled[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(spoiled[place + 4 : end])))
            place = end + 4
    probe.ask("picture", bytes(spoiled))


@FUZZ
@given(data=st.data())
def test_damaged_exif_is_read_or_passed_over(data: st.DataObject, probe: Probe) -> None:
    whole = oriented(6)
    assert probe.ask("orientation", whole) == "ok 6"
    answer = probe.ask("orientation", data.draw(damaged(whole[:200])))
    assert answer[3:] in "12345678"


@FUZZ
@given(data=st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject, probe: Probe, model: Path) -> None:
    text = (model / "ppghost.json").read_bytes()
    probe.ask("manifest", data.draw(damaged(text)))
    probe.ask("nb", data.draw(damaged(nb())))
    probe.ask("labels", data.draw(st.binary(max_size=40) | damaged(b"0 ant\n1 bee\n2 cat\n")))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.just(-1)
    | st.just(2**70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@FUZZ
@given(data=st.data())
def test_a_manifest_with_another_value_anywhere_is_read_or_refused(
    data: st.DataObject, probe: Probe, model: Path
) -> None:
    tree = json.loads((model / "ppghost.json").read_text())
    place = tree
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    probe.ask("manifest", json.dumps(tree).encode())


@FUZZ
@given(text=st.text(max_size=30), is_escaped=st.booleans())
def test_json_is_read_as_python_writes_it(text: str, is_escaped: bool, probe: Probe) -> None:
    try:
        written = json.dumps({"other": [1, {}], "text": text}, ensure_ascii=is_escaped).encode()
    except UnicodeEncodeError:
        return  # half of a character
    answer = probe.ask("json", written)
    assert answer == f"ok {text}" or "half of a character" in answer


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format is 2"),
        ({"class_num": 0}, "class_num is 0"),
        ({"name": ""}, "name is "),
        ({"input": {"shape": [1, 3, 224, 192]}}, "input.shape"),
        ({"input": {"shape": [1, 1, 224, 224]}}, "input.shape[1] is 1"),
        ({"labels": "../labels.txt"}, "plain file name"),
        ({"models": []}, "1 to 64 files"),
        ({"preprocess": {}}, "it has no 'preprocess.resize_short'"),
    ],
)
def test_a_manifest_that_cannot_be_honoured_is_refused(
    change: dict[str, Any], reason: str, probe: Probe, model: Path
) -> None:
    tree = {**json.loads((model / "ppghost.json").read_text()), **change}
    answer = probe.ask("manifest", json.dumps(tree).encode())
    assert answer.startswith("refused ")
    assert reason in answer


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("interpolation", "bicubic", "accepted: bilinear"),
        ("channel_order", "rgb", "accepted: RGB, BGR"),
        ("crop", 257, "at most resize_short"),
        ("std", [0.2, 0, 0.2], "preprocess.std[1] is 0"),
        ("mean", [0.5], "three numbers"),
        ("scale", "1/255", "a number"),
    ],
)
def test_a_preprocessing_that_cannot_be_computed_is_refused(
    key: str, value: Any, reason: str, probe: Probe, model: Path
) -> None:
    tree = json.loads((model / "ppghost.json").read_text())
    tree["preprocess"][key] = value
    answer = probe.ask("manifest", json.dumps(tree).encode())
    assert answer.startswith("refused ")
    assert reason in answer


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty (0 bytes)"),
        (nb()[:25], "truncated: 25 bytes"),
        (nb(topology=3), "truncated: its header"),
        (nb(topology=2**64 - 1), "truncated: its header"),
        (nb(meta=1), "meta version is 1"),
        (nb(version=b"2.13"), "no .nb file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "no .nb file"),
        (b"PK\x03\x04" + bytes(40), "no .nb file"),
    ],
)
def test_the_header_of_an_nb_file(data: bytes, reason: str, probe: Probe) -> None:
    assert probe.ask("nb", nb()) == "ok 2 v2.13-rc"
    answer = probe.ask("nb", data)
    assert answer.startswith("refused ")
    assert reason in answer


def text_run(program: list[str], *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return run(*program, *words, **options)


def test_the_stub_says_that_it_cannot_run_a_network(stubbed: Path, stubbed_arm: Path, model: Path) -> None:
    for program in ([str(stubbed / "ppghost_lite")], [QEMU, str(stubbed_arm / "ppghost_lite")]):
        for words in ([model, "x.jpg"], ["--golden", model], ["--benchmark", model]):
            done = text_run(program, *words)
            assert (done.returncode, done.stdout) == (2, "")
            assert "built against stubs: it cannot run a network" in done.stderr


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(KINDS["png"]())
    return path


def test_classifying(program: list[str], model: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"")
    second = tmp_path / "second.jpg"
    second.write_bytes(oriented(6))
    done = text_run(program, "--threads", 2, model, picture, tmp_path / "broken.jpg", second)
    assert done.returncode == 1, done.stderr
    assert "1 of 3 pictures" in done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["file_name"] for answer in answers] == [str(picture), str(second)]
    for answer in answers:
        assert list(answer) == ["class_ids", "scores", "file_name", "label_names"]
        expected = softmax(logits_of(PIPELINE.to_chw(Path(answer["file_name"]).read_bytes()))[None])[0]
        assert answer["class_ids"] == expected.argsort()[::-1][:3].tolist()
        assert answer["label_names"] == [NAMES[i] for i in answer["class_ids"]]
        np.testing.assert_allclose(answer["scores"], expected[answer["class_ids"]], atol=5e-3)


def test_threads_and_power_mode_reach_the_library(program: list[str], model: Path, picture: Path) -> None:
    done = text_run(program, "--threads", 6, "--power-mode", "LOW", model, picture)
    assert done.returncode == 0, done.stderr
    if program[0] == QEMU:  # the stand-in has four cores, and takes a power mode on ARM alone
        assert "stand-in: threads 4 or 1, power mode 1" in done.stderr
        assert "threads 4 (asked 6), LITE_POWER_LOW (asked LITE_POWER_LOW)" in done.stderr
    else:
        assert "stand-in: threads 1 or 6, power mode 3" in done.stderr
        assert "threads 6 (asked 6), LITE_POWER_NO_BIND (asked LITE_POWER_LOW)" in done.stderr


def test_golden_is_reached(program: list[str], model: Path) -> None:
    done = text_run(program, "--golden", model)
    assert done.returncode == 0, done.stderr
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [check["what"].split(".")[0] for check in checks] == ["picture -> tensor", "inference"]
    assert all(check["passed"] for check in checks)
    assert [check["is_top1_equal"] for check in checks] == [None, True]


@pytest.mark.parametrize("name", ["golden_input.bin", "golden_output.bin"])
def test_a_difference_from_golden_is_found(program: list[str], tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "model")
    values = np.fromfile(folder / name, "<f4")
    values += np.linspace(0, 0.3, values.size, dtype=np.float32)
    values.tofile(folder / name)
    text = (folder / "ppghost.json").read_text()
    tree = json.loads(text)
    tree["golden"][f"{name[7:-4]}_sha256"] = digest((folder / name).read_bytes())
    (folder / "ppghost.json").write_text(json.dumps(tree))
    done = text_run(program, "--golden", folder)
    assert done.returncode == 1
    assert "does not give the numbers" in done.stderr
    failed = [check for check in map(json.loads, done.stdout.splitlines()) if not check["passed"]]
    assert failed
    assert "times of what is tolerated" in failed[0]["reason"]
    measured = text_run(program, "--benchmark", "--pause", 0, "--threads", 1, folder)
    assert measured.returncode == 1
    assert json.loads(measured.stdout)["cells"][0]["golden_passed"] is False


@pytest.mark.parametrize("how", ["changed", "shortened", "missing", "a folder"])
@pytest.mark.parametrize(
    "name", ["inference.ARCH.fp32.nb", "labels.txt", "golden_input.bin", "golden_picture.png"]
)
def test_a_file_that_was_changed_is_found(
    program: list[str], picture: Path, tmp_path: Path, name: str, how: str
) -> None:
    folder = write_folder(tmp_path / "model")
    path = folder / name.replace("ARCH", "armv8" if program[0] == QEMU else "x86")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(data[: -1 if how == "shortened" else None])
    done = text_run(program, *(["--golden", folder] if "golden" in name else [folder, picture]))
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: '" in done.stderr
    assert path.name in done.stderr


BAD_FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda at: (write_folder(at) / "ppghost.json").unlink(), "it has no ppghost.json"),
    "no folder": (lambda at: None, "There is no folder"),
    "a manifest that is no JSON": (
        lambda at: (write_folder(at) / "ppghost.json").write_text("{"),
        "it is no JSON",
    ),
    "another version": (lambda at: write_folder(at, nb(version=b"v2.12")), 'converted by "v2.12"'),
    "a foreign file": (lambda at: write_folder(at, b"\x08\x00" * 40), "no .nb file of Paddle Lite"),
    "a file that Paddle Lite dies of": (
        lambda at: write_folder(at, nb(b"abort")),
        "Paddle Lite gave up when it opened",
    ),
    "another network": (lambda at: write_folder(at, nb(b"9\n")), "gives 9 numbers"),
    "labels of other classes": (lambda at: few_labels(at), "it names 2 classes, but the network has 7"),
}


def few_labels(folder: Path) -> None:
    labels = b"0 ant\n1 bee\n"
    write_folder(folder, labels_sha256=digest(labels))
    (folder / "labels.txt").write_bytes(labels)


@pytest.mark.parametrize("what", BAD_FOLDERS)
def test_a_bad_model_folder_is_refused_in_words(
    program: list[str], what: str, picture: Path, tmp_path: Path
) -> None:
    make, reason = BAD_FOLDERS[what]
    make(tmp_path / "model")
    done = text_run(program, tmp_path / "model", picture)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr
    assert reason in done.stderr


def test_a_model_of_another_version_than_the_library_is_refused(
    program: list[str], picture: Path, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "model", nb(version=b"v2.12"))
    text = (folder / "ppghost.json").read_text()
    (folder / "ppghost.json").write_text(text.replace(OPT_VERSION, "v2.12"))
    done = text_run(program, folder, picture)
    assert done.returncode == 2
    assert "converted by Paddle Lite v2.12, but the library here is v2.13-rc" in done.stderr


@pytest.mark.parametrize("what", ["text", "100 megapixels"])
def test_the_only_picture_cannot_be_used(program: list[str], what: str, model: Path, tmp_path: Path) -> None:
    make, reason = REFUSED[what]
    (tmp_path / "picture.png").write_bytes(make())
    done = text_run(program, model, tmp_path / "picture.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


def test_the_benchmark_tells_all(program: list[str], model: Path, tmp_path: Path) -> None:
    words = ("--benchmark", "--threads", "1,2,8", "--repeats", 3, "--warmup", 1, "--rounds", 2, "--seed", 5)
    done = text_run(program, *words, "--pause", "0.01", model, model)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    arch = "armv8" if program[0] == QEMU else "x86"
    assert [entry["id"] for entry in told["models"]] == [
        f"GhostNet_x1_0/{arch}.fp32",
        f"GhostNet_x1_0/{arch}.fp32#2",
    ]
    assert told["plan"]["threads"] == [1, 2, 8]
    assert told["plan"]["power_mode"] == "LITE_POWER_HIGH"
    assert told["program"] == {"name": "ppghost_lite", "version": ppghost.__version__}
    assert told["engine"] == {"name": "Paddle Lite", "version": OPT_VERSION}
    assert told["device"]["cpu_count"] >= 1
    assert told["device"]["model"]
    assert told["device"]["os"].startswith("Linux ")
    cells = told["cells"]
    ran = [(cell["model"], cell["threads"], cell["round"]) for cell in cells]
    left_out = [(cell["model"], cell["threads"], cell["round"]) for cell in told["skipped"]]
    planned = {(entry["id"], threads, i) for entry in told["models"] for threads in (1, 2, 8) for i in (1, 2)}
    assert sorted(ran + left_out) == sorted(planned)
    # The stand-in has four cores on ARM: what would be measured with fewer threads than it says is left out.
    assert {threads for _, threads, _ in left_out} == ({8} if arch == "armv8" else set())
    assert [i for _, _, i in ran] == sorted(i for _, _, i in ran)
    for cell in cells:
        times = cell["times_ns"]
        assert len(times) == 3
        assert all(isinstance(time, int) and time > 0 for time in times)
        assert cell["median_ns"] == sorted(times)[1]
        assert cell["golden_passed"] is True
        assert cell["thermal_before"] is None
    if arch == "x86":  # the order is the seed's on every processor, and qemu is slow
        again = json.loads(text_run(program, *words, "--pause", 0, model, model).stdout)
        assert [(cell["model"], cell["threads"], cell["round"]) for cell in again["cells"]] == ran
    (tmp_path / "result.json").write_text(done.stdout)
    assert list(problems_of(read_result(tmp_path / "result.json"))) == []


def test_help_teaches(program: list[str]) -> None:
    done = text_run(program, "--help")
    assert done.returncode == 0
    for word in (
        "--golden",
        "--benchmark",
        "--threads",
        "--power-mode",
        "NO_BIND",
        "examples:",
        "Exit codes",
    ):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "No model folder is given"),
        (["MODEL"], "No picture is given"),
        (["--golden", "MODEL", "x.jpg"], "one folder and no picture"),
        (["--golden", "--benchmark", "MODEL"], "two tasks"),
        (["MODEL", "x.jpg", "--threads", "0"], "--threads"),
        (["MODEL", "x.jpg", "--threads", "1,2"], "only with --benchmark"),
        (["--benchmark", "MODEL", "--threads", "2,2"], "names 2 twice"),
        (["MODEL", "x.jpg", "--threads"], "needs a value"),
        (["MODEL", "x.jpg", "--power-mode", "TURBO"], "accepted: HIGH, LOW, FULL"),
        (["MODEL", "x.jpg", "--precision", "fp16"], "has no .nb file for"),
        (["MODEL", "x.jpg", "--precision", "int8"], "accepted: fp32, fp16"),
        (["--benchmark", "MODEL", "--pause", "-1"], "accepted: seconds"),
        (["MODEL", "x.jpg", "--fast"], "Unknown option '--fast'"),
        (["MODEL", "nowhere.jpg"], "No such file"),
    ],
)
def test_what_cannot_be_done_as_asked(program: list[str], model: Path, words: list[str], reason: str) -> None:
    done = text_run(program, *(str(model) if word == "MODEL" else word for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr
    assert reason in done.stderr


def test_results_that_cannot_be_written(program: list[str], model: Path, picture: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*program, model, picture], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_an_sdk_that_is_none_is_told(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here; apt-get install cmake")
    done = run("cmake", "-S", SOURCE, "-B", tmp_path, f"-DPPGHOST_LITE_DIR={tmp_path}")
    if "stb_image.h was not found" in done.stderr:
        pytest.skip("stb_image.h is not here; apt-get install libstb-dev")
    assert done.returncode != 0
    assert "cxx/include/paddle_api.h" in done.stderr


def test_the_version_is_that_of_the_package() -> None:
    [version] = re.findall(r"VERSION ([\d.]+) LANGUAGES", (SOURCE / "CMakeLists.txt").read_text())
    assert version == ppghost.__version__


def test_the_properties_of_android_are_read_where_there_are_any(tmp_path: Path) -> None:
    """Only compiled: there is no Android here. The header is what its NDK declares, by hand."""
    (tmp_path / "sys").mkdir()
    declared = '#define PROP_VALUE_MAX 92\nextern "C" int __system_property_get(const char*, char*);\n'
    (tmp_path / "sys" / "system_properties.h").write_text(declared)
    flags = ("-std=c++14", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", f"-I{tmp_path}")
    done = run(compiler(), *flags, "-D__ANDROID__", SOURCE / "src" / "device.cpp")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    not os.environ.get("PPGHOST_LITE_DIR"),
    reason="PPGHOST_LITE_DIR is not set; give the folder of Paddle Lite's C++ package for this processor",
)
def test_paddle_lite_itself_runs_what_we_export(ghostnet: Artifact, picture: Path, tmp_path: Path) -> None:
    try:
        ensure_environment(LITE)
    except ToolMissingError as error:
        pytest.skip(f"Paddle Lite's converter cannot be installed: {error}")
    sdk = f"-DPPGHOST_LITE_DIR={os.environ['PPGHOST_LITE_DIR']}"
    real_program = build(tmp_path / "build", sdk, "-DCMAKE_CXX_FLAGS=-Werror") / "ppghost_lite"
    folder = load_target("lite").export(ghostnet, tmp_path / "lite").folder
    golden = run(real_program, "--golden", folder)
    assert golden.returncode == 0, golden.stdout + golden.stderr
    answer = run(real_program, folder, picture)
    assert answer.returncode == 0, answer.stderr
    assert len(json.loads(answer.stdout)["class_ids"]) == 5
    measured = run(real_program, "--benchmark", "--pause", 0, "--threads", 1, folder)
    assert measured.returncode == 0, measured.stderr
    (tmp_path / "result.json").write_text(measured.stdout)
    assert list(problems_of(read_result(tmp_path / "result.json"))) == []
    # Bytes that fit the manifest and that Paddle Lite dies of: told, not a bare signal.
    tree = json.loads((folder / "ppghost.json").read_text())
    for entry in tree["models"]:
        data = (folder / entry["file"]).read_bytes()[:26] + bytes(entry["size_bytes"] - 26)
        entry["sha256"] = digest(data)
        if entry["arch"] == "x86":
            (folder / entry["file"]).write_bytes(data)
    (folder / "ppghost.json").write_text(json.dumps(tree))
    broken = run(real_program, folder, picture)
    assert (broken.returncode, broken.stdout) == (2, "")
    assert "Paddle Lite gave up when it opened" in broken.stderr


def test_the_readme_names_what_there_is() -> None:
    readme = (SOURCE / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", readme, re.MULTILINE)
    assert headings == ["What", "Needs", "Export", "Build", "Run", "Expected output", "Limits"]
    options = set(re.findall(r"(--[a-z][a-z-]+)", "\n".join(re.findall(r"ppghost_lite (--.*)", readme))))
    assert options <= set(re.findall(r"(--[a-z-]+)", (SOURCE / "src" / "options.cpp").read_text()))
    cmake = (SOURCE / "CMakeLists.txt").read_text()
    assert all(name in cmake for name in re.findall(r"-D((?:PPGHOST|STB)\w+)", readme))
    commands = re.findall(r"(?:^    |`)ppghost ([a-z]+ [^`\n]+)", readme, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        build_parser().parse_args(shlex.split(command))  # ends the process on what is unknown


def test_run_sh_runs_the_commands_of_the_readme(program: list[str], model: Path, picture: Path) -> None:
    if program[0] == QEMU:
        pytest.skip("run.sh is for this machine's own processor")
    # The folder is built and configured already, with the stand-in.
    environment = {**os.environ, "BUILD": str(Path(program[0]).parent)}
    done = run("bash", SOURCE / "run.sh", model, picture, env=environment)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [sorted(result)[0] for result in results] == [
        "is_top1_equal",
        "is_top1_equal",
        "class_ids",
        "cells",
    ]
    assert run("bash", SOURCE / "run.sh").returncode == 2
