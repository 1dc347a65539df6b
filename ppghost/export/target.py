"""Targets: what a folder of `deploy/` offers when it holds a `target.py`.

A target turns its source into an artifact and opens an artifact as a predictor. The choices of the command
line, the README's table and the tests are the folders found here, so a new target is a new folder and nothing
else. This module never imports Paddle; a target imports its engine when it exports or opens.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ppghost
from ppghost.artifact import Artifact
from ppghost.errors import GhostError, ToolMissingError, suggest
from ppghost.predict import Predictor


@dataclass(frozen=True)
class MissingTool:
    """Something that a target needs and this machine lacks.

    Attributes:
        name: what it is called where it is installed from.
        remedy: the command or the place that provides it.
    """

    name: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.remedy}"


class Target(Protocol):
    """One way to ship a network. `target.py` ends with `TARGET = ...`, an instance.

    Attributes:
        name: the name of its folder.
        consumes: "network" (a `paddle.nn.Layer`), or the name of the target whose artifact it converts.
        atol: the absolute difference from golden that is tolerated everywhere.
        rtol: by which share of a row's largest logit a logit may differ from golden besides.
        engine_rtol: the same for engines that have a share of their own.

    One that consumes an artifact may also have `graph`: the graph that its engine runs fastest, where that is
    not Paddle's fastest.
    """

    name: str
    consumes: str
    atol: float
    rtol: float
    engine_rtol: Mapping[str, float]

    def tools(self) -> Sequence[MissingTool]:
        """Return what is missing on this machine; empty where the target works."""
        ...

    def export(self, source: Any, out: Path, *args: Any, **options: Any) -> Artifact:
        """Write an artifact to `out`, verified before it appears there, and return it."""
        ...

    def open(self, artifact: Artifact, *args: Any, **options: Any) -> Predictor:
        """Return a predictor for an artifact of this target; the options choose engine, threads, form."""
        ...

    def variants(self, artifact: Artifact) -> Sequence[Mapping[str, Any]]:
        """Return the options of `open` with which the artifact has to be verified on this machine."""
        ...


def find_targets() -> dict[str, Path]:
    """Return name -> `target.py` of every target, from `deploy/` of the checkout or the installed package."""
    package = Path(ppghost.__file__).parent
    installed = package / "deploy"
    folder = installed if installed.is_dir() else package.parent / "deploy"
    return {path.parent.name: path for path in sorted(folder.glob("*/target.py"))}


def load_target(name: str) -> Target:
    """Return the target called `name`.

    Raises:
        GhostError: there is no such target; the message lists the near names.
        ToolMissingError: its `target.py` needs a package that is not installed.
    """
    targets = find_targets()
    if name not in targets:
        raise GhostError(f"Unknown target '{name}'. {suggest(name, targets)}")
    return _load(name, targets[name])


def check_tools(target: Target) -> None:
    """Make sure that nothing is missing for `target` on this machine.

    Raises:
        ToolMissingError: with one line for each missing tool and its remedy.
    """
    missing = target.tools()
    if missing:
        listed = "".join(f"\n  {tool}" for tool in missing)
        raise ToolMissingError(f"The target '{target.name}' needs what this machine lacks:{listed}")


@functools.cache
def _load(name: str, path: Path) -> Target:
    # Loaded by path: deploy/ is a folder of programs, not a package that the core may import.
    module_name = f"_ppghost_target_{name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise GhostError(f"{path} cannot be loaded as a Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise ToolMissingError(
            f"The target '{name}' cannot be loaded: {error}. See {path.parent / 'requirements.txt'}."
        ) from error
    if not hasattr(module, "TARGET"):
        raise GhostError(f"{path} has no TARGET; a target ends with `TARGET = ...`.")
    target: Target = module.TARGET
    return target
