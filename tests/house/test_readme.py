"""The README is true: its table comes from the cards, its links lead somewhere, its commands parse."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from ppghost.zoo import get_card, list_models
from tools.write_model_table import BEGIN, END, main, table_of, with_table

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```shell\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Return every command of the README's shell blocks, split into words, comments removed."""
    lines = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def test_model_table_is_the_cards() -> None:
    assert main(["--check"]) == 0, "run python tools/write_model_table.py"
    assert with_table(README, table_of(map(get_card, list_models("*")))) == README


def test_an_old_table_is_found_and_written_anew(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--readme", str(readme), "--check"]) == 1
    assert main(["--readme", str(readme)]) == 0
    assert main(["--readme", str(readme), "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    readme.write_text(END + BEGIN)
    assert main(["--readme", str(readme)]) == 2


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)\s]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    if link.startswith("#"):
        headings = re.findall(r"^#+ (.+)$", README, re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
        assert link[1:] in anchors
    elif not link.startswith("http"):
        assert (ROOT / link).exists()


def test_every_target_is_in_the_table_of_what_works() -> None:
    for target in (ROOT / "deploy").glob("*/target.py"):
        assert f"(deploy/{target.parent.name}/README.md)" in README, target.parent.name


def test_programs_and_recipes_named_exist() -> None:
    named = set(re.findall(r"\b((?:tools|configs|deploy)/[\w./-]+\.\w+)", README))
    assert {"tools/train.py", "configs/GhostNet_x1_0.yaml"} <= named
    for path in named:
        assert (ROOT / path).exists(), path


def test_make_targets_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {words[-1] for words in commands() if words[0] == "make"} <= targets


PROGRAMS = {"tools/train.py": "train", "tools/eval.py": "eval", "tools/infer.py": "infer"}
PROGRAMS["tools/export_model.py"] = "export"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_arguments_are_accepted(words: list[str]) -> None:
    from ppghost.cli.commands import build_parser

    program = next(
        (word for word in words if word.startswith(("tools/", "tests/")) or word == "ppghost"), "make"
    )
    arguments = words[words.index(program) + 1 :] if program in words else []
    program, arguments = _without_launch(program, arguments)
    if program in PROGRAMS:
        options = build_parser().parse_args([PROGRAMS[program], *arguments])
        assert callable(options.run)
    elif program == "ppghost":
        assert callable(build_parser().parse_args(arguments).run)
    elif program.endswith(".py"):
        module = importlib.import_module(program[: -len(".py")].replace("/", "."))
        assert vars(module.parse_arguments(arguments))
    else:
        assert words[0] == "make"
    if program.startswith("tools/") and "-c" in arguments:
        _check_overrides(arguments)


def _without_launch(program: str, arguments: list[str]) -> tuple[str, list[str]]:
    """Return the program that `tools/launch.py` starts, and its words; another one as it is."""
    from tools import launch

    if program != "tools/launch.py":
        return program, arguments
    words, _ = launch.parse_arguments(arguments)
    return "tools/train.py", words[words.index("tools/train.py") + 1 :]


def _check_overrides(arguments: list[str]) -> None:
    """Bind the overrides of a command to a shipped recipe; `my.yaml` stands for any."""
    from ppghost.config import load_config

    recipe = arguments[arguments.index("-c") + 1]
    path = ROOT / (recipe if recipe.startswith("configs/") else "configs/GhostNet_x1_0.yaml")
    overrides = [value for flag, value in zip(arguments, arguments[1:]) if flag == "-o"]
    assert load_config(path, overrides).Arch.name.startswith(("GhostNet", "DistillationModel"))


def test_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["card"].name == "GhostNet_x1_0"  # type: ignore[attr-defined]
    assert names["net"].fc_1.weight.shape[-1] == 10  # type: ignore[attr-defined]
