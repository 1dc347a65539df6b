"""Does an exported network compute the same on a 64-bit ARM processor? Without one, under qemu.

    python deploy/lite/check_arm64.py FOLDER

FOLDER was exported for Paddle. PyPI's paddlepaddle for aarch64 runs its golden inputs in an emulated
process, and the outputs are compared with those of the network where it was trained. This proves the graph
and the arithmetic of ARM, not Paddle Lite and no speed. Needs Debian 12 on x86-64 with `qemu-user-static`;
Debian's Python for arm64 and the wheels (500 MB in all) are fetched once, into the cache.

Exit codes: 0 the numbers agree; 1 they differ; 2 it cannot be done here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppghost.artifact import check_artifact, read_artifact, read_golden  # noqa: E402 - the checkout comes first
from ppghost.cache import cache_dir, locked  # noqa: E402
from ppghost.environments import Environment, ensure_environment  # noqa: E402
from ppghost.errors import ArtifactError, GhostError, ToolMissingError  # noqa: E402
from ppghost.export.verify import check_predictor  # noqa: E402
from ppghost.files import replaced_folder  # noqa: E402

RTOL = 1e-5
"""By which share of a row's largest logit a logit may differ."""
PACKAGES = ("paddlepaddle==3.2.2", "setuptools==84.2.1")
"""Paddle's newest for aarch64; it imports setuptools and asks for none."""
PYTHON = "python3.11"
_EMULATOR = "qemu-aarch64-static"
_DEBS = (f"{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "libgomp1", "libstdc++6")
_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")
_PIP = Environment(name="pip", python="3.11", requirements=("pip==25.3",))
_LINES_OF_OUTPUT = 6


def main(words: Sequence[str]) -> int:
    """Check one folder and return the exit code."""
    if len(words) != 1 or words[0] in ("-h", "--help"):
        sys.stdout.write(__doc__ or "")
        return 0 if words and words[0] in ("-h", "--help") else 2
    try:
        return check(Path(words[0]))
    except GhostError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def check(folder: Path) -> int:
    """Compare a folder's network on ARM with golden, tell, and return the exit code.

    Raises:
        GhostError: the folder cannot be used, or the emulated machine cannot be made or fails.
    """
    artifact = read_artifact(folder)
    if artifact.facts.target != "paddle":
        raise ArtifactError(
            f"{folder} was exported for '{artifact.facts.target}'; give a folder exported for Paddle."
        )
    check_artifact(artifact)
    model = artifact.facts.model("pdmodel")
    machine = ensure_machine()
    golden = read_golden(artifact)
    facts = {}

    def predictor(images: np.ndarray) -> np.ndarray:
        files = [artifact.path_of(model.graph), artifact.path_of(model.weights or "")]
        outputs, told = run_on(machine, files, images)
        facts.update(told)
        return outputs

    checks = list(check_predictor(predictor, artifact, golden, 0.0, RTOL, "arm64"))  # type: ignore[arg-type]
    for one in checks:
        share = (
            ""
            if one.share_of_tolerance is None
            else f", {one.share_of_tolerance * RTOL:.1e} of the largest logit"
        )
        sys.stdout.write(f"{'ok  ' if one.passed else 'FAIL'} {one}{share}\n")
    sys.stdout.write(
        f"{facts['machine']} under {_EMULATOR}, Paddle {facts['paddle']}; {facts['seconds']:.1f} s a picture "
        "in emulation says nothing about speed.\n"
    )
    return 0 if all(one.passed for one in checks) else 1


def run_on(machine: Path, files: Sequence[Path], images: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
    """Return the outputs for rows, and what the emulated process told about itself.

    Raises:
        GhostError: the process failed.
    """
    worker = Path(__file__).with_name("arm64_worker.py")
    system = machine / "system"
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        inputs, outputs = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        np.save(inputs, images)
        words = [_EMULATOR, "-L", str(system), str(system / "usr" / "bin" / PYTHON), str(worker)]
        words += [*(str(file.resolve()) for file in files), str(inputs), str(outputs)]
        variables = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "OMP_NUM_THREADS": "1"}
        variables |= {"PYTHONHOME": str(system / "usr"), "PYTHONPATH": str(machine / "site")}
        result = _run(words, env=variables)
        return np.load(outputs), json.loads(result.stdout.splitlines()[-1])


def ensure_machine() -> Path:
    """Return the folder of the emulated machine: Debian's Python for arm64, and Paddle's packages.

    Side effects: fetches both into the cache where they are missing; nothing is installed on this machine.

    Raises:
        ToolMissingError: apt, dpkg or qemu is missing, or something cannot be fetched.
    """
    for tool, package in ((_EMULATOR, "qemu-user-static"), ("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if shutil.which(tool) is None:
            raise ToolMissingError(f"{tool} is missing. On Debian 12: apt-get install {package}")
    folder = cache_dir() / "arm64" / "-".join((PYTHON, *PACKAGES)).replace("==", "-")
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            sys.stderr.write(f"Fetching Python and Paddle for arm64, once, into {folder}\n")
            with replaced_folder(folder) as made, tempfile.TemporaryDirectory(prefix="ppghost-") as scratch:
                _fetch_system(Path(scratch), made / "system")
                _fetch_packages(Path(scratch), made / "site")
    return folder


def _fetch_system(scratch: Path, system: Path) -> None:
    """Unpack Debian's Python for arm64 and what it needs, from where this machine takes its packages."""
    for place in ("state/lists/partial", "cache/archives/partial"):
        (scratch / place).mkdir(parents=True)
    (scratch / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::State": str(scratch / "state"),
        "Dir::State::status": str(scratch / "status"),
        "Dir::Cache": str(scratch / "cache"),
    }
    apt = ["apt-get", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "install", "--yes", "--download-only", "--no-install-recommends", *_DEBS])
    for deb in sorted((scratch / "cache" / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(deb), str(system)])


def _fetch_packages(scratch: Path, site: Path) -> None:
    """Unpack Paddle's wheel for aarch64 and those that it asks for."""
    wheels = scratch / "wheels"
    pip = [str(ensure_environment(_PIP)), "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
    pip += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"]
    _run([*pip, *(word for name in _PLATFORMS for word in ("--platform", name)), *PACKAGES])
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)


def _run(words: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    Raises:
        ToolMissingError: it failed; ends with the last lines that it printed.
    """
    result = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False, **options)  # type: ignore[call-overload]
    if result.returncode != 0:
        output = (result.stdout + result.stderr).strip().splitlines()[-_LINES_OF_OUTPUT:]
        raise ToolMissingError(
            "\n".join([f"This failed with code {result.returncode}: {' '.join(words)}", *output])
        )
    done: subprocess.CompletedProcess[str] = result
    return done


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
