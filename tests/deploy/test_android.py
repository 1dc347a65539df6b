"""The Android app: its Java core equals Python, before and after dx, and the package is well formed.

Nothing here runs on a phone: the app is compiled, packaged and looked into.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ppghost.bench.phone import problems_of, read_result
from ppghost.cache import cache_dir
from ppghost.cli.commands import build_parser
from ppghost.environments import LITE, is_made
from tests.conftest import ROOT, SHARED_DATA, PictureSet
from tests.deploy.android_golden import write_golden, write_model

ANDROID = ROOT / "deploy" / "lite" / "android"
MISSING = 3  # the exit code of build.sh that names a missing tool
PHOTOGRAPHS = 50


class Build:
    """build.sh with a build folder of its own; a missing tool skips the test with its reason."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: object, code: int = 0) -> str:
        done = subprocess.run(
            [str(ANDROID / "build.sh"), *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            env={**os.environ, "PPGHOST_ANDROID_BUILD": str(self.folder), "PPGHOST_HOME": str(cache_dir())},
        )
        if done.returncode == MISSING:
            pytest.skip(f"the app cannot be built here: {done.stderr.strip()}")
        assert done.returncode == code, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build(tmp_path_factory.mktemp("android"))


@pytest.fixture(scope="module")
def apk(build: Build) -> Path:
    """The app as a clean checkout makes it: no Paddle Lite, no models."""
    assert "packaged, not run" in build("apk")
    return build.folder / "ppghost-demo.apk"


@pytest.fixture(scope="module")
def golden(
    request: pytest.FixtureRequest,
    tiny_shapes: PictureSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """Golden files, removed when done.

    Of real photographs where they are, else of drawn pictures; with an exported folder where it can be made.
    """
    is_real = (SHARED_DATA / "imagenet_samples.tar").is_file()
    pictures: PictureSet = request.getfixturevalue("imagenet_samples") if is_real else tiny_shapes
    names = [line.split(" ")[0] for line in pictures.val_list.read_text(encoding="utf-8").splitlines()]
    folder = tmp_path_factory.mktemp("golden")
    write_golden(folder, [pictures.root / name for name in names[:PHOTOGRAPHS]])
    if is_made(LITE):
        shutil.copytree(request.getfixturevalue("lite_ghostnet").folder, folder / "exported")
    yield folder
    shutil.rmtree(folder)


def test_the_core_equals_python(build: Build, golden: Path) -> None:
    assert re.search(r"^OK \(\d\d+ tests\)$", build("test", golden), re.MULTILINE)
    # What Java wrote on the way is what the check of phones' results accepts.
    assert not list(problems_of(read_result(golden / "report.json")))


def test_the_core_is_the_same_after_dx(build: Build, golden: Path) -> None:
    assert re.search(r"^OK \(\d\d+ tests\)$", build("test-dex", golden), re.MULTILINE)


def test_real_photographs_were_compared(golden: Path, imagenet_samples: PictureSet) -> None:
    cases = json.loads((golden / "manifest.json").read_text(encoding="utf-8"))["pictures"]
    assert sum(case["rgb"].startswith("picture") for case in cases) == PHOTOGRAPHS


def test_what_the_exporter_wrote_was_read(golden: Path) -> None:
    if not (golden / "exported").is_dir():
        pytest.skip("Paddle Lite's converter is not here, so the Java tests read no exported folder")


def test_the_core_knows_no_android() -> None:
    for path in (ANDROID / "core").rglob("*.java"):
        imports = re.findall(r"^import (?:static )?([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(name.startswith("java.") for name in imports), path


def test_the_package_is_well_formed(build: Build, apk: Path) -> None:
    told = build("check", apk)
    for scheme in ("v1", "v2", "v3"):
        assert f"Verified using {scheme} scheme" in told
    assert "sdkVersion:'21'" in told
    assert "targetSdkVersion:'34'" in told
    assert "'zh'" in told
    assert "uses-permission" not in told
    assert "built without Paddle Lite" in told


def test_the_package_is_small_and_can_be_installed(apk: Path) -> None:
    assert apk.stat().st_size < 2_000_000
    with zipfile.ZipFile(apk) as archive:
        names = archive.namelist()
        # Android 11 and later refuse apps for it whose table of resources is compressed.
        assert archive.getinfo("resources.arsc").compress_type == zipfile.ZIP_STORED
        assert b"Lcom/baidu/paddle/lite/PaddlePredictor;" in archive.read("classes.dex")  # named, not defined
    assert "classes.dex" in names
    assert not [name for name in names if name.startswith(("lib/", "assets/"))]


def test_the_app_has_the_version_of_the_project() -> None:
    manifest = (ANDROID / "app" / "AndroidManifest.xml").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert f'android:versionName="{version}"' in manifest


def elf(machine: int, alignment: int) -> bytes:
    """Return a shared library without contents: an ELF header and one LOAD segment."""
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 120, 120, alignment)


@pytest.fixture(scope="module")
def jar(build: Build, apk: Path) -> bytes:
    """An archive of the stubs, which stands for Paddle Lite's."""
    classes = build.folder / "stub-classes"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(classes.rglob("*.class")):
            archive.write(path, path.relative_to(classes))
    return buffer.getvalue()


@pytest.fixture
def lite(jar: bytes, tmp_path: Path) -> Path:
    """A folder as fetch_lite.sh leaves it; the jar holds the stubs, the library nothing."""
    folder = tmp_path / "lite"
    (folder / "java" / "so").mkdir(parents=True)
    (folder / "java" / "jar").mkdir()
    (folder / "java" / "so" / "libpaddle_lite_jni.so").write_bytes(elf(183, 0x1000))
    (folder / "version").write_text("v2.13-rc\n", encoding="utf-8")
    (folder / "java" / "jar" / "PaddlePredictor.jar").write_bytes(jar)
    return folder


def test_the_library_models_and_samples_go_in(build: Build, lite: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "GhostNet_x0_5", np.random.default_rng(1))
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "dog.jpg").write_bytes(b"a picture")
    out = tmp_path / "with.apk"
    words = ("--lite", lite, "--models", tmp_path / "models", "--samples", tmp_path / "samples", "--out", out)
    told = build("apk", *words)
    assert "no Paddle Lite" not in told
    with zipfile.ZipFile(out) as archive:
        names = set(archive.namelist())
        assert archive.read("assets/lite/arm64-v8a") == b"v2.13-rc\n"
    assert {"lib/arm64-v8a/libpaddle_lite_jni.so", "assets/samples/dog.jpg"} <= names
    models = {name.rpartition("/")[2] for name in names if name.startswith("assets/models/GhostNet_x0_5/")}
    golden = {"golden_input.bin", "golden_output.bin"}
    assert models == {"ppghost.json", "labels.txt", "inference.armv8.fp32.nb", *golden}
    told = build("check", out)
    assert "native-code: 'arm64-v8a'" in told
    assert "LOAD segments aligned to 0x1000 (a phone with 16 KB pages needs 0x4000)" in told


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("java/jar/PaddlePredictor.jar", "has no java/jar/PaddlePredictor.jar"),
        ("version", "no file 'version'"),
        (
            "java/so/libpaddle_lite_jni.so",
            "has no java/jar/PaddlePredictor.jar and java/so/libpaddle_lite_jni.so",
        ),
    ],
)
def test_an_incomplete_library_is_refused(build: Build, lite: Path, change: str, sentence: str) -> None:
    (lite / change).unlink()
    assert sentence in build("apk", "--lite", lite, code=2)


def test_a_library_for_another_machine_is_refused(build: Build, lite: Path) -> None:
    (lite / "java" / "so" / "libpaddle_lite_jni.so").write_bytes(elf(243, 0x1000))
    assert "is no library for arm64-v8a, armeabi-v7a or x86_64" in build("apk", "--lite", lite, code=2)


def test_wrong_usage_is_told(build: Build, tmp_path: Path) -> None:
    assert "unknown: --speed" in build("apk", "--speed", "high", code=2)
    assert "needs a value" in build("apk", "--out", code=2)
    (tmp_path / "empty").mkdir()
    assert "empty/ has no ppghost.json" in build("apk", "--models", tmp_path, code=2)
    assert "there is no" in build("check", tmp_path / "none.apk", code=2)
    assert "holds no golden files" in build("test", tmp_path, code=2)


def fetch(*words: object, code: int) -> str:
    done = subprocess.run(
        [str(ANDROID / "fetch_lite.sh"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def archive_of(path: Path, names: dict[str, bytes]) -> str:
    """Write a tar.gz archive and return its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_library_is_taken_when_its_sum_is_named(tmp_path: Path) -> None:
    root = "inference_lite_lib.android.armv8.clang.c++_shared.with_extra.with_cv/java"
    library = elf(183, 0x1000)
    names = {f"{root}/jar/PaddlePredictor.jar": b"jar", f"{root}/so/libpaddle_lite_jni.so": library}
    archive, out = tmp_path / "lite.tar.gz", tmp_path / "lite"
    digest = archive_of(archive, names)
    told = fetch("--archive", archive, out, code=1)
    assert digest in told
    assert "Nobody compared this sum" in told
    assert not out.exists()
    wrong = "0" * 64
    assert "do not use it" in fetch("--archive", archive, "--sha256", wrong, out, code=1)
    assert "ready" in fetch("--archive", archive, "--sha256", digest, "--version", "v2.12", out, code=0)
    assert (out / "java" / "jar" / "PaddlePredictor.jar").read_bytes() == b"jar"
    assert (out / "java" / "so" / "libpaddle_lite_jni.so").read_bytes() == library
    assert (out / "version").read_text(encoding="utf-8") == "v2.12\n"
    assert "exists" in fetch("--archive", archive, out, code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lite", "lite.tar.gz"]


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    archive, out = tmp_path / "other.tar.gz", tmp_path / "lite"
    digest = archive_of(archive, {"README": b"something else"})
    words = ("--archive", archive, "--sha256", digest, out)
    assert "has no java/jar/PaddlePredictor.jar" in fetch(*words, code=2)
    assert "which folder?" in fetch(code=2)
    assert "accepted: arm64-v8a, armeabi-v7a" in fetch("--abi", "x86", out, code=2)
    assert "for arm64-v8a only" in fetch("--abi", "armeabi-v7a", "--fp16", out, code=2)
    assert "64 hexadecimal digits" in fetch("--sha256", "abc", out, code=2)
    assert "there is no" in fetch("--archive", tmp_path / "none", out, code=2)
    assert not out.exists()


def test_the_readme_names_what_exists() -> None:
    readme = (ANDROID / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", readme, re.MULTILINE)
    assert headings == ["What", "Needs", "Export", "Build", "Run", "Expected output", "Limits"]
    helps = {name: run_help(ANDROID / name) for name in ("build.sh", "fetch_lite.sh")}
    for name, words in re.findall(r"(build\.sh|fetch_lite\.sh) ([^\n`,]*)", readme):
        for option in re.findall(r"--[\w-]+", words):
            assert option in helps[name], f"{name} {option}"
    for verb in re.findall(r"build\.sh ([a-z-]+)", readme):
        assert f"build.sh {verb} " in helps["build.sh"], verb
    for extra in re.findall(r"--e[szil] (\w+)", readme):
        assert f'"{extra}"' in (ANDROID / "app/java/org/ppghost/demo/BenchActivity.java").read_text(
            encoding="utf-8"
        )
    commands = re.findall(r"^    ppghost ([a-z].*)$", readme, re.MULTILINE)
    assert commands
    for command in commands:
        build_parser().parse_args(shlex.split(command))  # ends the process on what is unknown
    for link in re.findall(r"\]\(([^)]+)\)", readme):
        assert (ANDROID / link).exists(), link


def run_help(program: Path) -> str:
    return subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout


def test_every_sentence_that_the_app_asks_for_exists() -> None:
    strings = (ANDROID / "app" / "res" / "values" / "strings.xml").read_text(encoding="utf-8")
    defined = set(re.findall(r'<string name="(\w+)"', strings))
    sources = "".join(path.read_text(encoding="utf-8") for path in (ANDROID / "app" / "java").rglob("*.java"))
    asked = set(re.findall(r'words\.get\(\s*"(\w+)"', sources))
    assert {"imported", "bench_done"} <= asked <= defined
    modes = re.findall(r'"LITE_POWER_(\w+)"', sources)
    assert {f"power_{mode.lower()}" for mode in modes} <= defined


def test_both_themes_define_the_same() -> None:
    def names(folder: str) -> set[str]:
        text = (ANDROID / "app" / "res" / folder / "styles.xml").read_text(encoding="utf-8")
        return set(re.findall(r'<(?:color|bool) name="(\w+)"', text))

    assert names("values") == names("values-night")


def test_other_apps_reach_the_first_screen_only() -> None:
    """The benchmark's screen is exported for adb's shell, whose permission no app can get."""
    text = (ANDROID / "app" / "AndroidManifest.xml").read_text(encoding="utf-8")
    exported = re.findall(r"<\w+\s[^>]*android:exported=\"true\"[^>]*>", text)
    open_to_all = [part for part in exported if "android:permission" not in part]
    assert len(exported) == 2
    assert re.findall(r'android:name="(\S+)"', open_to_all[0]) == [".MainActivity"]
    assert len(open_to_all) == 1
