"""The wheel carries everything: installed anywhere, the package finds its recipes and programs."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("ppghost", "configs", "deploy", "README.md", "LICENSE", "pyproject.toml", "setup.py")


def run(*words: object, cwd: Path) -> str:
    """Run a command in `cwd` without anything of the checkout in its environment; return what it prints."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def installer(python: Path) -> list[str]:
    """Return the command that installs into the environment of `python` without dependencies."""
    # In a process of its own: looking for pip here would switch off setuptools' stand-in for distutils.
    if (
        subprocess.run(
            [sys.executable, "-m", "pip", "--version"], capture_output=True, check=False
        ).returncode
        == 0
    ):
        return [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    if shutil.which("uv"):
        return ["uv", "pip", "install", "--python", str(python), "--no-deps", "--no-index"]
    pytest.skip("neither pip nor uv is here to install the wheel; pip install pip")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that holds our wheel, and sees the packages of this one."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(source / 'dist')!r})"
    run(sys.executable, "-c", build, cwd=source)
    (wheel,) = (source / "dist").glob("*.whl")

    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    (packages,) = home.glob("lib/python*/site-packages")
    # Dependencies come from the running environment; a plain path, so its own editable installs stay unseen.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    run(*installer(scripts / "python"), wheel, cwd=home)
    return scripts


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return tmp_path


def test_package_comes_from_the_wheel(installed: Path, elsewhere: Path) -> None:
    where = run(installed / "python", "-c", "import ppghost; print(ppghost.__file__)", cwd=elsewhere)
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_recipes_are_found_by_name(installed: Path, elsewhere: Path) -> None:
    program = "from ppghost.config import load_config; print(load_config('GhostNet_x1_0').Arch.name)"
    assert run(installed / "python", "-c", program, cwd=elsewhere).strip() == "GhostNet_x1_0"


def test_command_line_works(installed: Path, elsewhere: Path) -> None:
    assert "VERB" in run(installed / "ppghost", "--help", cwd=elsewhere)
    assert "GhostNet_x1_0" in run(installed / "ppghost", "models", cwd=elsewhere)


def test_every_data_file_is_in_the_wheel(installed: Path) -> None:
    (packages,) = installed.parent.glob("lib/python*/site-packages/ppghost")
    for folder, place in (("ppghost", "."), ("configs", "configs"), ("deploy", "deploy")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (packages / place / path.relative_to(ROOT / folder)).is_file(), path
