"""The import contracts of the house: who may know whom, read from the source and proven in a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ppghost"

ROCK = (
    "ppghost.errors",
    "ppghost.registry",
    "ppghost.files",
    "ppghost.cache",
    "ppghost.arithmetic",
    "ppghost.native",
    "ppghost.machine",
    "ppghost.protobuf",
)
GROUND = (
    "ppghost.vision",
    "ppghost.config",
    "ppghost.artifact",
    "ppghost.predict",
    "ppghost.environments",
    "ppghost.engines",
    "ppghost.results",
    "ppghost.runtime",
    "ppghost.offline",
    "ppghost.accuracy",
    "ppghost.unpickle",
    "ppghost.zoo.card",
    "ppghost.zoo.cards",
    "ppghost.export.target",
)
BRICKS = ("ppghost.nets", "ppghost.data")
HOUSES = ("ppghost.train", "ppghost.zoo", "ppghost.export")
DOORS = ("ppghost.__main__", "ppghost.cli", "ppghost.bench", "ppghost.plugin")
PROGRAMS = ("ppghost.__main__", "ppghost.cli")
FACES = ("ppghost",)
"""`ppghost/__init__.py` names the public things of every floor and loads them when they are used."""

UPPER = (*BRICKS, "ppghost.train", "ppghost.zoo", "ppghost.export")
LEAVES = ("ppghost.cli", "tools", "deploy", "tests")
ENGINES = ("ppcls", "paddleclas")
FORBIDDEN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(ROCK, ("paddle", *GROUND, *UPPER, *DOORS)),
    "ppghost.errors": ("paddle", "ppghost"),
    "ppghost.registry": ("paddle", *ROCK[2:], *GROUND, *UPPER, *DOORS),
    **dict.fromkeys(GROUND, ("paddle", *UPPER, "ppghost.plugin")),
    "ppghost.nets": ("ppghost.config", "ppghost.data", "ppghost.zoo", "ppghost.train", "ppghost.export"),
    "ppghost.data": ("ppghost.nets", "ppghost.train", "ppghost.zoo", "ppghost.export"),
    "ppghost.zoo": ("ppghost.train", "ppghost.export", "ppghost.data", "ppghost.plugin"),
    "ppghost.train": ("ppghost.export", "ppghost.plugin"),
    "ppghost.export": ("ppghost.train", "ppghost.data", "ppghost.plugin"),
}
GROUND_INSIDE_A_HOUSE = ("ppghost.zoo.card", "ppghost.zoo.cards", "ppghost.export.target")


class Import(NamedTuple):
    """One import statement: the module named, and where."""

    module: str
    line: int


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def is_within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def imports_of(path: Path) -> Iterator[Import]:
    """Yield every import of a file, those inside functions too; not those that only a type checker sees."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imports_in(path.read_text(encoding="utf-8"), package)


def imports_in(text: str, package: str) -> Iterator[Import]:
    for node in _walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*home, *filter(None, [node.module])])
            yield Import(base, node.lineno)
            # `from ppghost import nets` names a module by its last part.
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        is_for_types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        if not is_for_types:
            yield from _walk(child)


def room_of(module: str) -> str:
    """Return the most particular room of the table that holds `module`."""
    rooms = [room for room in (*ROCK, *GROUND, *BRICKS, *HOUSES, *DOORS) if is_within(module, room)]
    if module in FACES:
        return module
    return max(rooms, key=len, default="")


def broken_contracts(path: Path) -> list[str]:
    module = module_name(path)
    room = room_of(module)
    forbidden = list(FORBIDDEN.get(room, ()))
    if not any(is_within(module, program) for program in PROGRAMS):
        forbidden += LEAVES
    if room != "ppghost.plugin":
        forbidden += ENGINES
    return [
        f"{path.relative_to(ROOT)}:{found.line}: {room} must not import {found.module}"
        for found in imports_of(path)
        if any(is_within(found.module, name) for name in forbidden)
        and not (_is_low(found.module) and room not in ROCK)
    ]


def _is_low(module: str) -> bool:
    return any(is_within(module, name) for name in GROUND_INSIDE_A_HOUSE)


def test_every_module_stands_on_a_floor() -> None:
    homeless = [
        module
        for module in map(module_name, PACKAGE.rglob("*.py"))
        if not room_of(module) and module not in FACES
    ]
    assert not homeless, f"Name the floor of {homeless} in {Path(__file__).name} and in the design."


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_what_its_floor_allows(path: Path) -> None:
    assert not broken_contracts(path)


SPEAKING_CALLS = ("print", "sys.exit", "exit", "quit", "logging.basicConfig", "input")


@pytest.mark.parametrize(
    "path",
    [path for path in sources() if room_of(module_name(path)) not in PROGRAMS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_libraries_speak_by_values_and_errors(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & set(SPEAKING_CALLS)
    assert "argparse" not in {found.module for found in imports_of(path)}


def test_ground_floor_runs_without_paddle() -> None:
    """Import every module of the lower floors, lazy names too, in a process that has no Paddle."""
    modules = sorted(
        module
        for module in map(module_name, PACKAGE.rglob("*.py"))
        if module in FACES or room_of(module) in (*ROCK, *GROUND)
    )
    program = f"""
import importlib, sys
sys.modules['paddle'] = None
for name in {modules!r}:
    module = importlib.import_module(name)
    for public in getattr(module, '__all__', ()) if name != 'ppghost' else ():
        getattr(module, public)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_the_reader_of_imports_sees_lazy_and_relative_ones() -> None:
    text = """
from . import op
from ..nets import blocks
if TYPE_CHECKING:
    import ppghost.train
def lazy():
    import paddle.nn
"""
    found = {each.module for each in imports_in(text, "ppghost.vision")}
    assert {"ppghost.vision.op", "ppghost.nets.blocks", "paddle.nn"} <= found
    assert "ppghost.train" not in found
