"""The C++ program: the same pictures, numbers and answers as in Python, and no bytes that bring it down."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paddle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ppghost.artifact import Artifact
from ppghost.environments import OPENVINO, ensure_environment
from ppghost.errors import ToolMissingError
from ppghost.export.paddle import export_network
from ppghost.nets.ghostnet import GhostNet
from ppghost.predict import Classifier, list_pictures
from ppghost.runtime.library import LIBRARY
from ppghost.vision import Labels, Pipeline
from tests.conftest import PictureSet
from tests.export.toys import calibrated, export_toy, make_toy

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "deploy" / "cpp"
CLASS_NUM = 20
MAX_PIXELS = 4_000_000
NAMES = [f'class "{number}" 山羊' for number in range(CLASS_NUM)]
GREY_LEVEL = 1 / 255 / 0.224  # what one level of 256 is after the pipeline, at most


def run(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=600, **options
    )


def compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    pytest.skip("no C++ compiler is here; apt-get install g++")


@pytest.fixture(scope="module")
def openvino_dir() -> Path:
    """The folder with OpenVINO's CMake files, out of its wheel."""
    try:
        python = ensure_environment(OPENVINO)
    except ToolMissingError as error:
        pytest.skip(f"OpenVINO's wheel cannot be installed: {error}")
    where = "import importlib.util as u; print(u.find_spec('openvino').submodule_search_locations[0])"
    return Path(run(python, "-c", where).stdout.strip()) / "cmake"


def build(folder: Path, target: str, *settings_: str) -> Path:
    """Configure and build a program without a warning, and return its path."""
    compiler()
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here; apt-get install cmake")
    # A unity build reads the large headers once, which is what takes the time.
    configured = run("cmake", "-S", SOURCE, "-B", folder, "-DCMAKE_UNITY_BUILD=ON", *settings_)
    if "OpenCV was not found" in configured.stderr:
        pytest.skip("OpenCV's headers are not here; apt-get install libopencv-imgcodecs-dev")
    assert configured.returncode == 0, configured.stderr
    built = run("cmake", "--build", folder, "--target", target, "-j2")
    assert built.returncode == 0, built.stdout + built.stderr
    assert "warning:" not in built.stdout + built.stderr
    return folder / target


@pytest.fixture(scope="module")
def program(openvino_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cpp")
    return build(folder, "ppghost_classify", f"-DOpenVINO_DIR={openvino_dir}", "-DCMAKE_CXX_FLAGS=-Werror")


@pytest.fixture(params=["ghost", "openvino"])
def engine(request: pytest.FixtureRequest, shipped: Artifact) -> str:
    """Each engine that the tests can compile and run."""
    form = {"ghost": "ghost", "openvino": "pdmodel"}[request.param]
    if all(model.format != form for model in shipped.facts.models):
        pytest.skip(f"the export wrote no network in the form '{form}'; export with one that does")
    return request.param


class Probe:
    """ppghost_probe, built with sanitizers: readers of hostile bytes, asked through a pipe."""

    def __init__(self, path: Path, artifact: Artifact) -> None:
        self.process = subprocess.Popen(
            [str(path), str(artifact.folder), str(MAX_PIXELS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENCV_LOG_LEVEL": "SILENT"},
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

    def tensor(self, picture: Path, out: Path) -> np.ndarray:
        """Return `float32 [3, 224, 224]` of a picture file."""
        answer = self.ask("tensor", f"{picture}\n{out}".encode())
        assert answer == "ok ", answer
        return np.fromfile(out, np.float32).reshape(3, 224, 224)


@pytest.fixture(scope="module")
def probe(openvino_dir: Path, shipped: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    path = build(
        tmp_path_factory.mktemp("probe"),
        "ppghost_probe",
        "-DPPGHOST_PROBE=ON",
        "-DPPGHOST_SANITIZE=ON",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS_DEBUG=-O0",
    )
    asked = Probe(path, shipped)
    yield asked
    assert asked.process.stdin is not None
    asked.process.stdin.close()
    assert asked.process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A GhostNet whose batch norms fit its random weights; leave it as it is."""
    paddle.seed(7)
    net = calibrated(GhostNet(0.5, class_num=CLASS_NUM), size=64)
    ops = [
        {"ResizeImage": {"resize_short": 256}},
        {"CropImage": {"size": 224}},
        {"NormalizeImage": {"order": ""}},
    ]
    return export_network(
        net,
        tmp_path_factory.mktemp("shipped") / "inference",
        name="GhostNet_x0_5",
        image_shape=(3, 224, 224),
        pipeline=Pipeline.from_list(ops),
        labels=Labels(dict(enumerate(NAMES))),
    )


def spoilt(artifact: Artifact, folder: Path, **lines: str) -> Path:
    """Return a copy of the artifact in which lines of preprocess.txt are others; `_` stands for a dot."""
    shutil.copytree(artifact.folder, folder)
    path = folder / "preprocess.txt"
    given_lines = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert set(lines) <= set(given_lines) | {"added"}
    path.write_text("".join(f"{key} {value}\n" for key, value in {**given_lines, **lines}.items()))
    return folder


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def photo(height: int = 300, width: int = 400) -> np.ndarray:
    """Return a smooth `uint8 [H, W, 3]`, each quarter of another colour, so that a turn is seen."""
    small = np.random.RandomState(3).randint(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def saved(form: str, image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def turned() -> bytes:
    image = Image.fromarray(photo())
    exif = image.getexif()
    exif[0x0112] = 6
    return saved("JPEG", image, exif=exif, quality=95)


KINDS = {
    "jpeg": lambda: saved("JPEG", Image.fromarray(photo()), quality=90),
    "progressive jpeg": lambda: saved("JPEG", Image.fromarray(photo()), progressive=True),
    "turned jpeg": turned,
    "grey jpeg": lambda: saved("JPEG", Image.fromarray(photo()).convert("L")),
    "cmyk jpeg": lambda: saved("JPEG", Image.fromarray(photo()).convert("CMYK")),
    "png": lambda: saved("PNG", Image.fromarray(photo())),
    "alpha png": lambda: saved("PNG", Image.fromarray(np.dstack([photo(), photo()[:, :, 0]]))),
    "palette png": lambda: saved("PNG", Image.fromarray(photo()).quantize(60)),
    "grey png": lambda: saved("PNG", Image.fromarray(photo()).convert("L")),
    "16-bit png": lambda: encoded(".png", photo().astype(np.uint16) * 257 + 77),
    "16-bit grey png": lambda: encoded(".png", photo()[:, :, 0].astype(np.uint16) * 257 + 77),
    "animated png": lambda: saved(
        "PNG", Image.fromarray(photo()), save_all=True, append_images=[Image.fromarray(255 - photo())]
    ),
    "bmp": lambda: saved("BMP", Image.fromarray(photo())),
    "palette bmp": lambda: saved("BMP", Image.fromarray(photo()).quantize(60)),
    "webp": lambda: saved("WEBP", Image.fromarray(photo()), quality=80),
    "lossless webp": lambda: saved("WEBP", Image.fromarray(photo()), lossless=True),
    "tiff": lambda: saved("TIFF", Image.fromarray(photo())),
    "16-bit tiff": lambda: encoded(".tiff", photo().astype(np.uint16) * 257),
    "one column": lambda: saved("PNG", Image.fromarray(photo(40, 1))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_pictures_become_the_same_tensor(
    kind: str, probe: Probe, shipped: Artifact, tmp_path: Path
) -> None:
    picture = tmp_path / "picture"
    picture.write_bytes(KINDS[kind]())
    given_ = probe.tensor(picture, tmp_path / "tensor")
    np.testing.assert_allclose(given_, shipped.pipeline.to_chw(picture.read_bytes()), atol=1.01 * GREY_LEVEL)


def test_real_pictures_become_the_same_tensors(
    probe: Probe, shipped: Artifact, imagenet_samples: PictureSet, tmp_path: Path
) -> None:
    pictures = list_pictures(imagenet_samples.root)[::25]
    assert len(pictures) >= 40
    for picture in pictures:
        difference = np.abs(
            probe.tensor(picture, tmp_path / "tensor") - shipped.pipeline.to_chw(picture.read_bytes())
        )
        assert difference.max() <= 1.01 * GREY_LEVEL, picture


REFUSED = {
    "an empty file": (lambda: b"", "0 bytes"),
    "text": (lambda: b"hello, world", "68 65 6c 6c"),
    "a picture that is too large": (
        lambda: b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 20_000, -20_000, 1, 24) + bytes(20),
        "20000 x 20000",
    ),
    "a png that says it is too large": (
        lambda: KINDS["png"]().replace(struct.pack(">II", 400, 300), struct.pack(">II", 20_000, 20_000)),
        "20000 x 20000",
    ),
    "a picture without pixels": (
        lambda: b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 0, 5, 1, 24) + bytes(20),
        "0 x 5",
    ),
    "a picture that is too narrow": (lambda: saved("PNG", Image.new("L", (60_000, 1))), "too narrow"),
    "a gif": (lambda: saved("GIF", Image.fromarray(photo()).quantize(60)), "Accepted: JPEG"),
    "an animated webp": (
        lambda: saved(
            "WEBP", Image.fromarray(photo()), save_all=True, append_images=[Image.fromarray(255 - photo())]
        ),
        "animated",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_accepted_picture_is_refused_with_the_reason(what: str, probe: Probe) -> None:
    make, reason = REFUSED[what]
    answer = probe.ask("picture", make())
    assert answer.startswith("refused ")
    assert reason in answer


@pytest.mark.parametrize(
    "kind", ["jpeg", "progressive jpeg", "turned jpeg", "png", "bmp", "webp", "lossless webp", "tiff"]
)
def test_a_picture_that_was_cut_off_is_refused(kind: str, probe: Probe) -> None:
    data = KINDS[kind]()
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        assert probe.ask("picture", data[: int(share * len(data))]).startswith("refused "), share


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
SMALL = {
    "jpeg": saved("JPEG", Image.fromarray(photo(40, 50))),
    "progressive jpeg": saved("JPEG", Image.fromarray(photo(40, 50)), progressive=True),
    "png": saved("PNG", Image.fromarray(photo(40, 50))),
    "bmp": saved("BMP", Image.fromarray(photo(40, 50)).quantize(60)),
    "webp": saved("WEBP", Image.fromarray(photo(40, 50))),
    "lossless webp": saved("WEBP", Image.fromarray(photo(40, 50)), lossless=True),
    "tiff": saved("TIFF", Image.fromarray(photo(40, 50)), compression="tiff_lzw"),
}


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw `data` with some bytes changed, mostly among the first ones, and perhaps cut or lengthened."""
    spoiled = bytearray(data)
    places = st.one_of(st.integers(0, min(120, len(data) - 1)), st.integers(0, len(data) - 1))
    for place in draw(st.lists(places, max_size=6)):
        spoiled[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    cut = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return bytes(spoiled[:cut]) + draw(st.binary(max_size=8))


@FUZZ
@given(data=st.data(), kind=st.sampled_from(sorted(SMALL)))
def test_damaged_pictures_are_read_or_refused(data: st.DataObject, kind: str, probe: Probe) -> None:
    probe.ask("picture", data.draw(damaged(SMALL[kind])))


@FUZZ
@given(data=st.data())
def test_damaged_facts_are_read_or_refused(data: st.DataObject, probe: Probe, shipped: Artifact) -> None:
    text = shipped.path_of("preprocess.txt").read_text()
    lines = text.splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    key, _, value = lines[number].partition(" ")
    other = data.draw(
        st.sampled_from(
            ["", "-1", "0", "1e999", "nan", "99999999999999999999", "0 0", "../x", "null", value * 2]
        )
        | st.text(max_size=12)
    )
    lines[number] = data.draw(
        st.sampled_from([f"{key} {other}", f"{other} {value}", other, f"{key}.{other} {value}"])
    )
    order = data.draw(
        st.sampled_from([lines, lines[::-1], lines + lines[number : number + 1], lines[:number]])
    )
    probe.ask("facts", "\n".join(order).encode("utf-8", "replace"))
    probe.ask("facts", data.draw(damaged(text.encode())))
    probe.ask("labels", data.draw(st.binary(max_size=40) | damaged(b"0 ant\n1 bee\n2 cat\n")))


@FUZZ
@given(data=st.data())
def test_damaged_archives_are_read_or_refused(data: st.DataObject, probe: Probe) -> None:
    stream = io.BytesIO()
    np.savez(stream, tensor=np.ones((2, 3), np.float32), picture=np.arange(9, dtype=np.uint8))
    whole = stream.getvalue()
    assert probe.ask("npz", whole) == "ok picture:9 tensor:24 "
    end = st.integers(len(whole) - 180, len(whole) - 1)  # where the archive's directory is
    spoiled = bytearray(data.draw(damaged(whole)))
    for place in data.draw(st.lists(end, max_size=4)):
        if place < len(spoiled):
            spoiled[place] = data.draw(st.sampled_from([0, 1, 0x7F, 0xFF]) | st.integers(0, 255))
    probe.ask("npz", bytes(spoiled))


@FUZZ
@given(data=st.binary(max_size=300))
def test_sha256(data: bytes, probe: Probe) -> None:
    assert probe.ask("sha256", data) == f"ok {hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("schema 2", "schema"),
        ("topk 0", "topk"),
        ("transform_ops.0 GaussianBlur", "GaussianBlur"),
        ("transform_ops.0.interpolation sinc", "ResizeImage.interpolation"),
        ("transform_ops.0.backend pil", "ResizeImage.backend"),
        ("transform_ops.2.channel_num 4", "NormalizeImage.channel_num"),
        ("transform_ops.2.std 0.229 0 0.225", "NormalizeImage.std"),
        ("transform_ops.2.order chw", "NormalizeImage.order"),
        ("transform_ops.0.sharpen true", "ResizeImage.sharpen"),
        ("decode.channel_first true", "DecodeImage.channel_first"),
        ("models.0.graph ../inference.json", "plain file name"),
        ("models.7.graph x", "models.7.graph"),
        ("layout nhwc", "layout"),
    ],
)
def test_what_cannot_be_honoured_is_refused(line: str, reason: str, probe: Probe, shipped: Artifact) -> None:
    key, value = line.split(" ", 1)
    text = shipped.path_of("preprocess.txt").read_text()
    lines = dict(given_.split(" ", 1) for given_ in text.splitlines())
    # A new parameter comes behind its op, a new fact at the end.
    changed = "".join(f"{k} {v}\n" for k, v in {**lines, key: value}.items())
    answer = probe.ask("facts", changed.encode())
    assert answer.startswith("refused ")
    assert reason in answer


@pytest.mark.parametrize("batch", [1, 3])
def test_golden_is_reached(program: Path, shipped: Artifact, engine: str, batch: int) -> None:
    done = run(program, shipped.folder, "--golden", "--engine", engine, "--batch", batch, "--threads", 1)
    assert done.returncode == 0, done.stderr
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [check["what"] for check in checks] == [
        "picture -> tensor",
        f"engine={engine}, tensor",
        f"engine={engine}, picture",
    ]
    assert all(check["passed"] for check in checks)
    assert [check["is_top1_equal"] for check in checks] == [None, True, True]


@pytest.mark.parametrize("array", ["tensor_logits", "picture_tensor", "picture_logits"])
def test_a_difference_from_golden_is_found(
    program: Path, shipped: Artifact, tmp_path: Path, array: str
) -> None:
    with np.load(shipped.path_of("golden.npz")) as arrays:
        golden = dict(arrays)
    golden[array] = golden[array] + np.linspace(0, 0.1, golden[array].shape[-1], dtype=np.float32)
    path = tmp_path / "golden.npz"
    np.savez(path, **golden)
    folder = spoilt(
        shipped,
        tmp_path / "copy",
        **{
            "files.golden.npz.sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "files.golden.npz.size_bytes": str(path.stat().st_size),
        },
    )
    shutil.copy(path, folder)
    done = run(program, folder, "--golden")
    assert done.returncode == 1, done.stderr
    assert "does not give the numbers" in done.stderr
    failed = [check for check in map(json.loads, done.stdout.splitlines()) if not check["passed"]]
    assert failed
    assert all("times of what is tolerated" in check["reason"] for check in failed)


@pytest.mark.parametrize("name", ["inference.pdmodel", "inference.pdiparams", "golden.npz", "labels.txt"])
@pytest.mark.parametrize("how", ["changed", "shortened", "missing"])
def test_a_file_that_was_changed_is_found(
    program: Path, shipped: Artifact, tmp_path: Path, name: str, how: str
) -> None:
    folder = spoilt(shipped, tmp_path / "copy")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).unlink()
    if how != "missing":
        (folder / name).write_bytes(data[: -1 if how == "shortened" else None])
    picture = tmp_path / "picture.png"
    picture.write_bytes(KINDS["png"]())
    asked = ["--golden"] if name == "golden.npz" else [picture]
    done = run(program, folder, "--engine", "openvino", *asked)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert name in done.stderr
    assert done.stdout == ""


def test_answers_are_those_of_python(
    program: Path, shipped: Artifact, engine: str, imagenet_samples: PictureSet
) -> None:
    folder = imagenet_samples.root / "images"
    pictures = list_pictures(folder)[::20]
    done = run(program, shipped.folder, "--engine", engine, "--batch", 4, *pictures)
    assert done.returncode == 0, done.stderr
    given_ = [json.loads(line) for line in done.stdout.splitlines()]
    with Classifier.from_artifact(shipped.folder, engine="native") as classifier:
        expected = [answer.to_dict() for answer in classifier.classify(pictures, batch_size=4)]
    assert len(given_) == len(expected) == 50
    for mine, python in zip(given_, expected):
        assert list(mine) == list(python)
        assert mine["file_name"] == python["file_name"]
        assert mine["class_ids"] == python["class_ids"]
        assert mine["label_names"] == python["label_names"] == [NAMES[i] for i in mine["class_ids"]]
        np.testing.assert_allclose(mine["scores"], python["scores"], atol=5e-3)


def test_logits_become_probabilities_and_classes_without_names_have_none(
    program: Path, tmp_path: Path
) -> None:
    logits = export_toy(make_toy(5), tmp_path / "logits", softmax=False, labels=None)
    picture = tmp_path / "picture.png"
    picture.write_bytes(KINDS["png"]())
    given_ = json.loads(run(program, logits.folder, picture).stdout)
    with Classifier.from_artifact(logits.folder, engine="native") as classifier:
        [expected] = (answer.to_dict() for answer in classifier.classify([picture]))
    assert given_["label_names"] == expected["label_names"] == []
    assert given_["class_ids"] == expected["class_ids"]
    np.testing.assert_allclose(given_["scores"], expected["scores"], atol=5e-3)
    assert run(program, logits.folder, "--golden").returncode == 0


def test_a_folder_with_broken_pictures(program: Path, shipped: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "deep" / "deeper.png").mkdir(parents=True)
    good = KINDS["png"]()
    for name in ("a.png", "c.JPG", "deep/e.png", "deep/deeper.png/f.bmp"):
        (folder / name).write_bytes(good)
    (folder / "b.png").write_bytes(b"")
    (folder / "d.jpeg").write_bytes(good[:99])
    (folder / "dangling.png").symlink_to("nowhere")
    (folder / "notes.txt").write_text("no picture")
    done = run(program, shipped.folder, f"{folder}//.", "--batch", 2, "--topk", 1)
    assert done.returncode == 1
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    readable = [path for path in list_pictures(folder) if path.exists() and path.read_bytes() == good]
    assert [answer["file_name"] for answer in answers] == [str(path) for path in readable]
    assert len(answers) == 4
    assert all(len(answer["class_ids"]) == 1 for answer in answers)
    for name in ("b.png", "d.jpeg", "dangling.png"):
        assert f"error: {folder / name}: " in done.stderr
    assert "3 of 7 pictures" in done.stderr


def test_the_only_picture_cannot_be_read(program: Path, shipped: Artifact, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    done = run(program, shipped.folder, tmp_path / "empty.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert "0 bytes" in done.stderr


def test_odd_file_names_stay_json(program: Path, shipped: Artifact, tmp_path: Path) -> None:
    good = KINDS["png"]()
    names = [
        b'a "quoted".png',
        b"back\\slash.png",
        b"new\nline.png",
        b"-dash.png",
        b"\xff\xed\xa0\x80.png",
        "山羊.png".encode(),
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(good)
    done = run(program, shipped.folder, tmp_path, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line)["file_name"] for line in done.stdout.splitlines()]
    assert told == [str(path) for path in list_pictures(tmp_path)]
    dashed = run(program, shipped.folder, "--", "-dash.png", cwd=tmp_path)
    assert json.loads(dashed.stdout)["file_name"] == "-dash.png"


def test_a_limit_on_pixels(program: Path, shipped: Artifact, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(KINDS["png"]())
    assert run(program, shipped.folder, picture, "--max-pixels", 300 * 400).returncode == 0
    done = run(program, shipped.folder, picture, "--max-pixels", 300 * 400 - 1)
    assert done.returncode == 2
    assert "400 x 300" in done.stderr


def test_results_that_cannot_be_written(program: Path, shipped: Artifact, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    picture = tmp_path / "picture.png"
    picture.write_bytes(KINDS["png"]())
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [program, shipped.folder, picture], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_benchmark(program: Path, shipped: Artifact, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(KINDS["png"]())
    (tmp_path / "broken.png").touch()
    done = run(
        program,
        shipped.folder,
        "--benchmark",
        "--runs",
        7,
        "--batch",
        2,
        "--threads",
        1,
        "--engine",
        "openvino",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["engine"], told["threads"], told["batch_size"], told["runs"]) == ("openvino", 1, 2, 7)
    assert (told["model"], told["version"]) == (shipped.facts.name, shipped.facts.version)
    latency = told["latency_ms"]
    order = [latency[key] for key in ("min", "p50", "p90", "p99", "max")]
    assert order == sorted(order)
    assert told["pictures_per_s"] == pytest.approx(2000 / latency["p50"], rel=1e-2)
    assert (told["end_to_end"]["pictures"], told["end_to_end"]["failures"]) == (5, 1)


def test_help_teaches(program: Path) -> None:
    done = run(program, "--help")
    assert done.returncode == 0
    for word in (
        "--golden",
        "--benchmark",
        "--threads",
        "--max-pixels",
        "examples:",
        "Exit codes",
        "openvino",
    ):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "No artifact is given"),
        (["ARTIFACT"], "No picture is given"),
        (["ARTIFACT", "--golden", "x.jpg"], "--golden"),
        (["ARTIFACT", "x.jpg", "--threads", "0"], "--threads"),
        (["ARTIFACT", "x.jpg", "--batch", "many"], "--batch"),
        (["ARTIFACT", "x.jpg", "--topk"], "--topk needs a value"),
        (["ARTIFACT", "x.jpg", "--fast"], "Unknown option '--fast'"),
        (["ARTIFACT", "nowhere.jpg"], "no picture or folder 'nowhere.jpg'"),
        (["ARTIFACT", "--golden", "--engine", "tpu"], "Compiled in: "),
        (["/nowhere", "--golden"], "There is no folder '/nowhere'"),
        (["/", "--golden"], "has no preprocess.txt"),
    ],
)
def test_what_cannot_be_done_as_asked(
    program: Path, shipped: Artifact, words: list[str], reason: str
) -> None:
    done = run(program, *(str(shipped.folder) if word == "ARTIFACT" else word for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr


def test_the_own_engine_is_made_of_what_python_makes_it_of() -> None:
    sources = {path.name for path in LIBRARY.folder.glob("*.c")}
    assert sources == {*LIBRARY.sources, *LIBRARY.kernels}
    assert {name for name in sources if name.startswith("kernels")} == set(LIBRARY.kernels)
    text = (SOURCE / "CMakeLists.txt").read_text()
    for name, flags in LIBRARY.instruction_sets["x86_64"].items():
        assert f"set(flags_{name} {' '.join(flags) or chr(34) * 2})" in text


@pytest.mark.parametrize("release", ["2", "3"])
def test_paddles_back_end_compiles_against_its_signatures(release: str) -> None:
    flags = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{SOURCE}/src")
    stub = (f"-I{SOURCE}/stubs/paddle/include", f"-DPPGHOST_STUB_OF_PADDLE_{release}")
    done = run(compiler(), *flags, *stub, SOURCE / "src" / "backend_paddle.cpp")
    assert done.returncode == 0, done.stderr


def test_without_an_engine_the_configuration_says_what_to_give(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here; apt-get install cmake")
    done = run("cmake", "-S", SOURCE, "-B", tmp_path, "-DPPGHOST_GHOST=OFF")
    if "OpenCV was not found" in done.stderr:
        pytest.skip("OpenCV's headers are not here; apt-get install libopencv-imgcodecs-dev")
    assert done.returncode != 0
    for words in ("-DPPGHOST_GHOST=ON", "-DOpenVINO_DIR", "-DPADDLE_INFERENCE_DIR"):
        assert words in done.stderr
