"""Isolated Python environments, made on demand: for upstream packages that freeze an older world.

The core talks to such an environment through files and processes, never by import. An environment is made
once, in the cache, and counts only when its completeness marker stands in it.

Ground: standard library and the rock; no paddle.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from ppghost.cache import cache_dir, locked
from ppghost.errors import ToolMissingError

logger = logging.getLogger(__name__)

_MARKER = "complete.json"
_LINES_OF_OUTPUT = 12
_IS_WINDOWS = os.name == "nt"


@dataclass(frozen=True)
class Environment:
    """What an isolated environment holds.

    Attributes:
        name: short name, part of the folder's.
        python: version of the interpreter, "3.10".
        requirements: exact versions, as pip takes them.
        bare_requirements: the same, installed afterwards without their dependencies: packages whose pins
            cannot be met together with `requirements`.
        needs_pip: take pip even where uv runs: uv does not read pip's settings, so it may find other builds.
    """

    name: str
    python: str
    requirements: tuple[str, ...]
    bare_requirements: tuple[str, ...] = ()
    needs_pip: bool = False

    @property
    def folder(self) -> Path:
        """The folder in the cache; another content is another folder."""
        # Who installs changes nothing in what is asked for.
        facts = {key: value for key, value in asdict(self).items() if key != "needs_pip"}
        content = json.dumps(facts, sort_keys=True)
        return (
            cache_dir() / "environments" / f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        )


# The wheel's own pins (numpy==1.24.4, opencv-python<=4.6.0.66, gast==0.3.3) do not fit Paddle 3; these do.
PADDLECLAS = Environment(
    name="paddleclas",
    python="3.10",
    requirements=(
        "paddlepaddle==3.3.1",
        "faiss-cpu==1.15.1",
        "numpy==1.26.4",
        "opencv-python-headless==4.11.0.86",
        "pillow==12.3.0",
        "prettytable==3.18.0",
        "PyYAML==6.0.3",
        "requests==2.34.2",
        "scikit-learn==1.7.2",
        "setuptools==84.2.1",
        "six==1.17.0",
        "tqdm==4.70.1",
    ),
    bare_requirements=("paddleclas==2.6.0",),
)

# PyTorch's own GhostNets, to compare speed with. timm asks for torchvision, of any version.
TIMM = Environment(
    name="timm",
    python="3.11",
    requirements=("torch==2.13.0", "numpy==2.4.6", "timm==1.0.31"),
    needs_pip=True,  # PyTorch's build for the CPU alone, where pip is set up for it, is gigabytes smaller
)

# PaddleClas' newest wheel on the newest Paddle 2: its predictor is faster there than on Paddle 3.
PADDLECLAS_2 = Environment(
    name="paddleclas2",
    python="3.10",
    requirements=(
        "paddlepaddle==2.6.2",
        "faiss-cpu==1.15.1",
        "numpy==1.26.4",
        "opencv-python-headless==4.11.0.86",
        "pillow==12.3.0",
        "prettytable==3.18.0",
        "PyYAML==6.0.3",
        "requests==2.34.2",
        "scikit-learn==1.7.2",
        "setuptools==84.2.1",
        "six==1.17.0",
        "tqdm==4.70.1",
    ),
    bare_requirements=("paddleclas==2.6.0",),
)

# What turns an export into ONNX. It imports packaging and asks for none; and it asks for onnx 1.17, which
# ends before the operator sets that the engines read.
PADDLE2ONNX = Environment(
    name="paddle2onnx",
    python="3.11",
    requirements=(
        "paddlepaddle==3.3.1",
        "onnx==1.23.2",
        "numpy==2.4.6",
        "packaging==26.3",
        "setuptools==84.2.1",
    ),
    bare_requirements=("paddle2onnx==2.1.0",),
)

# Other engines, to compare the speed of inference with; each runs what PADDLE2ONNX makes.
ONNXRUNTIME = Environment(
    name="onnxruntime", python="3.11", requirements=("onnxruntime==1.31.1", "numpy==2.4.6")
)
# The same with what writes ONNX files, for its quantiser.
ONNX_QUANTIZER = Environment(
    name="onnx-quantization",
    python="3.11",
    requirements=("onnxruntime==1.31.1", "onnx==1.23.2", "numpy==2.4.6"),
)
OPENVINO = Environment(name="openvino", python="3.11", requirements=("openvino==2026.4.1", "numpy==2.4.6"))
MNN = Environment(name="mnn", python="3.11", requirements=("MNN==3.6.1", "numpy==2.4.6"))
# pnnx, the converter, asks for PyTorch (gigabytes), which it does not need to read ONNX; ncnn asks for what
# downloads its model zoo.
NCNN = Environment(
    name="ncnn",
    python="3.11",
    requirements=("numpy==2.4.6",),
    bare_requirements=("ncnn==1.0.20261020", "pnnx==20261020"),
)

# Paddle Lite's converter and its engine for x86; there is no wheel for Python 3.9, or for 3.11 and later.
LITE = Environment(name="lite", python="3.10", requirements=("paddlelite==2.13rc0", "numpy==1.26.4"))

# Paddle Serving's last release has no wheel for a newer Python, and asks for versions that no Paddle of today
# goes with: everything is named, as in deploy/serving/requirements.txt, and nothing is looked up besides.
SERVING = Environment(
    name="serving",
    python="3.9",
    requirements=(),
    bare_requirements=(
        "aiohappyeyeballs==2.6.1",
        "aiohttp==3.13.5",
        "aiosignal==1.4.0",
        "anyio==4.12.1",
        "astor==0.8.1",
        "async-timeout==5.0.1",
        "attrs==26.1.0",
        "certifi==2026.10.18",
        "charset-normalizer==3.5.2",
        "decorator==5.3.1",
        "exceptiongroup==1.3.1",
        "frozenlist==1.8.0",
        "func-timeout==4.3.5",
        "grpcio==1.80.1",
        "h11==0.16.0",
        "httpcore==1.0.9",
        "httpx==0.28.1",
        "idna==3.20",
        "iniconfig==2.1.0",
        "multidict==6.7.1",
        "numpy==1.26.4",
        "opencv-python-headless==4.11.0.86",
        "opt-einsum==3.3.0",
        "packaging==26.3",
        "paddle-serving-app==0.9.0",
        "paddle-serving-client==0.9.0",
        "paddle-serving-server==0.9.0",
        "paddlepaddle==2.6.2",
        "pillow==11.3.0",
        "pluggy==1.6.0",
        "propcache==0.4.1",
        "protobuf==3.20.3",
        "Pygments==2.21.0",
        "pytest==8.4.2",
        "PyYAML==6.0.3",
        "requests==2.32.5",
        "setuptools==80.9.0",
        "six==1.17.0",
        "tomli==2.5.0",
        "tqdm==4.67.1",
        "typing_extensions==4.16.0",
        "urllib3==2.6.3",
        "yarl==1.22.0",
    ),
)


def ensure_environment(environment: Environment) -> Path:
    """Return the interpreter of an environment, making the environment where it is missing or incomplete.

    Uses uv where it runs, else venv and pip. One process makes it, others wait.

    Raises:
        ToolMissingError: no such interpreter, or a requirement cannot be installed; ends with the last lines
            that the installer printed.
        OutputError: the cache cannot be written.
    """
    folder = environment.folder
    python = _python_in(folder)
    if is_made(environment):
        return python
    with locked(folder.with_name(folder.name + ".lock")):
        if not is_made(environment):
            logger.info("Making the environment '%s' in %s", environment.name, folder)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                _install(environment, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return python


def is_made(environment: Environment) -> bool:
    """Say whether an environment is there and complete."""
    return (environment.folder / _MARKER).is_file()


def find_python(version: str) -> Path:
    """Return an interpreter of a version, "3.10", that really runs.

    Asked in turn: the running one, every `pythonX.Y` on PATH (a pyenv shim may exist and answer "command not
    found"), pyenv's versions, and uv's, which uv may install.

    Raises:
        ToolMissingError: none; the message says how to get one.
    """
    for candidate in _candidates(version):
        if _version_of(candidate) == version:
            return candidate
    raise ToolMissingError(
        f"Python {version} is needed and was not found on PATH, in pyenv or in uv. "
        f"Install it, for example: uv python install {version}, or: pyenv install {version}"
    )


def run_python(python: Path, words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of an environment to its end and collect what it prints.

    Args:
        python: interpreter of the environment.
        words: of its command line.
        folder: where it works.
    """
    return subprocess.run(
        [str(python), *words],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=variables_for_others(),
        cwd=folder,
    )


def variables_for_others() -> dict[str, str]:
    """Return the variables of this process, but for those that lead an interpreter to this one's packages."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def _candidates(version: str) -> Iterator[Path]:
    yield Path(sys.executable)
    program = f"python{version}.exe" if _IS_WINDOWS else f"python{version}"
    for folder in os.get_exec_path():
        yield Path(folder) / program
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(versions.glob(f"{version}.*/bin/python"), reverse=True)
    uv = _find_uv()
    if uv is not None:
        yield from _uv_pythons(uv, version)


def _uv_pythons(uv: str, version: str) -> Iterator[Path]:
    """Yield uv's interpreter of a version; if it has none, let it install one."""
    for _ in range(2):
        found = _run([uv, "python", "find", version])
        if found.returncode == 0:
            yield Path(found.stdout.strip())
            return
        logger.info("uv has no Python %s; asking it to install one", version)
        _run([uv, "python", "install", version])


def _version_of(python: Path) -> Optional[str]:
    """Return "X.Y" as the interpreter itself says, None if it does not run."""
    if not python.is_file():
        return None
    answer = _run([str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    return answer.stdout.strip() if answer.returncode == 0 else None


def _find_uv() -> Optional[str]:
    """Return uv's path if it is there and runs."""
    uv = shutil.which("uv")
    return uv if uv is not None and _run([uv, "--version"]).returncode == 0 else None


def _install(environment: Environment, folder: Path) -> None:
    base = find_python(environment.python)
    uv = None if environment.needs_pip else _find_uv()
    python = str(_python_in(folder))
    if uv is not None:
        _must(environment, [uv, "venv", "--quiet", "--python", str(base), str(folder)])
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        _must(environment, [str(base), "-m", "venv", str(folder)])
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if environment.requirements:
        _must(environment, [*install, *environment.requirements])
    if environment.bare_requirements:
        _must(environment, [*install, "--no-deps", *environment.bare_requirements])
    (folder / _MARKER).write_text(json.dumps(asdict(environment), indent=2) + "\n", encoding="utf-8")


def _must(environment: Environment, command: Sequence[str]) -> None:
    """Run a step of the installation.

    Raises:
        ToolMissingError: it failed.
    """
    result = _run(command)
    if result.returncode != 0:
        output = (result.stdout + result.stderr).strip().splitlines()[-_LINES_OF_OUTPUT:]
        raise ToolMissingError(
            f"The environment '{environment.name}' could not be made. This failed: {' '.join(command)}\n"
            + "\n".join(output)
        )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and collect what it prints; a program that cannot start counts as failed."""
    # Where a virtual environment is active, uv and pyenv would take it for the target.
    hidden = {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"}
    variables = {key: value for key, value in os.environ.items() if key not in hidden}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, env=variables
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if _IS_WINDOWS else "bin/python")
