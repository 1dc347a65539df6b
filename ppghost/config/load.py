"""From a path and overrides to one checked, frozen `Config`; and the arguments that all programs share.

Ground: no paddle, no argparse; programs hand their parser in.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional, Protocol, Union

import ppghost
from ppghost.config.bind import Problem, check_none, try_bind
from ppghost.config.reader import (
    MappingNode,
    Node,
    Place,
    ScalarNode,
    SequenceNode,
    apply_overrides,
    node_of_text,
    parse_profiler_options,
    read_file,
)
from ppghost.config.sections import REFUSED_ARCHS, Config, Sections
from ppghost.errors import ConfigError, suggest

_LOG = logging.getLogger(__name__)
_YES_NO = {
    "yes": True,
    "true": True,
    "t": True,
    "1": True,
    "no": False,
    "false": False,
    "f": False,
    "0": False,
}


def load_config(
    path: Union[str, Path],
    overrides: Iterable[str] = (),
    *,
    arch_names: Optional[Iterable[str]] = None,
    profiler_options: Optional[str] = None,
) -> Config:
    """Read a configuration file, apply overrides and check everything.

    Args:
        path: a YAML file, or the bare name of a shipped configuration, `GhostNet_x1_0`.
        overrides: `a.b.0.c=value`, applied in order.
        arch_names: the known architectures; None does not check `Arch.name`.
        profiler_options: "key1=value1;key2=[10,20]", instead of `profiler_options` in the file.

    Raises:
        ConfigError: the file cannot be read, or something in it cannot be honoured; one line for each problem
            with file, line, path, what was given and what is accepted.
    """
    found = find_config(path)
    tree = _without_deprecated(apply_overrides(read_file(found), overrides))
    if profiler_options is not None:
        place = Place("in --profiler_options")
        text = ScalarNode(profiler_options, place, profiler_options)
        tree = _with_entry(tree, "profiler_options", text)
    bindable, problems = _named_arch(_parsed_profiler(tree), arch_names)
    sections, others = try_bind(bindable, Sections)
    check_none(problems + others)
    values = {spec.name: getattr(sections, spec.name) for spec in dataclasses.fields(Sections)}
    return Config(**values, source=str(found), tree=tree)


def find_config(path: Union[str, Path]) -> Path:
    """Return the file that `path` names: itself, or the shipped configuration of that bare name.

    Raises:
        ConfigError: neither exists; the message lists the near names.
    """
    given = Path(path)
    if os.path.exists(given) or given.suffix or len(given.parts) != 1:
        return given
    shipped = shipped_configs()
    if given.name not in shipped:
        raise ConfigError(
            f"There is no file '{path}' and no shipped configuration of that name. "
            f"{suggest(given.name, shipped)} Or give the path of a YAML file."
        )
    return shipped[given.name]


def shipped_configs() -> dict[str, Path]:
    """Return the configurations that come with the package: bare name -> file.

    Of two with one name, the one in the outer folder counts.
    """
    files = _shipped_folder().rglob("*.yaml")
    return {file.stem: file for file in sorted(files, key=lambda file: (-len(file.parts), file))}


def shipped_file(name: str) -> Optional[Path]:
    """Return the file of that name beside the shipped configurations, such as a label list; None if none."""
    file = _shipped_folder() / name
    return file if file.is_file() else None


def _shipped_folder() -> Path:
    """Return `configs/`: it lies inside an installed package, and beside it in a checkout."""
    package = Path(ppghost.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _with_entry(tree: MappingNode, key: str, node: Node) -> MappingNode:
    keys = {**tree.keys, key: node.place}
    return dataclasses.replace(tree, entries={**tree.entries, key: node}, keys=keys)


def _without_deprecated(tree: MappingNode) -> MappingNode:
    """Resolve what PaddleClas reads and overrules, with a warning.

    `Global.class_num` moves to `Arch.class_num`, unless that is given; the lengths that a schedule states go.
    """
    tree = _without_lengths(tree)
    general, arch = tree.entries.get("Global"), tree.entries.get("Arch")
    if not isinstance(general, MappingNode) or "class_num" not in general.entries:
        return tree
    rest = dict(general.entries)
    class_num = rest.pop("class_num")
    place = general.place_of("class_num")
    tree = _with_entry(tree, "Global", dataclasses.replace(general, entries=rest))
    if not isinstance(arch, MappingNode) or "class_num" in arch.entries:
        _LOG.warning("%s: Global.class_num is deprecated and ignored: Arch.class_num holds.", place)
        return tree
    _LOG.warning("%s: Global.class_num is deprecated: write it as Arch.class_num, where it is used.", place)
    moved = dataclasses.replace(
        arch,
        entries={**arch.entries, "class_num": class_num},
        keys={**arch.keys, "class_num": place},
    )
    return _with_entry(tree, "Arch", moved)


def _without_lengths(tree: MappingNode) -> MappingNode:
    """Take `epochs` and `step_each_epoch` out of `Optimizer.lr`: the run and its data decide them."""
    optimizer = tree.entries.get("Optimizer")
    schedule = optimizer.entries.get("lr") if isinstance(optimizer, MappingNode) else None
    if not isinstance(optimizer, MappingNode) or not isinstance(schedule, MappingNode):
        return tree
    kept = dict(schedule.entries)
    for key in ("epochs", "step_each_epoch"):
        if kept.pop(key, None) is not None:
            _LOG.warning(
                "%s: Optimizer.lr.%s has no effect, as in PaddleClas: Global.epochs and the data decide.",
                schedule.place_of(key),
                key,
            )
    return _with_entry(
        tree, "Optimizer", _with_entry(optimizer, "lr", dataclasses.replace(schedule, entries=kept))
    )


def _parsed_profiler(tree: MappingNode) -> MappingNode:
    """Replace the text of `profiler_options` by the mapping that it stands for."""
    node = tree.entries.get("profiler_options")
    if not isinstance(node, ScalarNode) or node.text is None:
        return tree
    options = parse_profiler_options(node.text)
    entries = {key: _option_node(value, node.place) for key, value in options.items()}
    return _with_entry(tree, "profiler_options", MappingNode(entries, node.place))


def _option_node(text: str, place: Place) -> Node:
    if text.lower() in _YES_NO:
        return ScalarNode(_YES_NO[text.lower()], place, text)
    return node_of_text(text, place)


def _named_arch(tree: MappingNode, arch_names: Optional[Iterable[str]]) -> tuple[MappingNode, list[Problem]]:
    """Check `Arch.name`; a refused one leaves `Arch` out of what is bound, since its keys are others."""
    arch = tree.entries.get("Arch")
    name = arch.entries.get("name") if isinstance(arch, MappingNode) else None
    if not isinstance(arch, MappingNode) or not isinstance(name, ScalarNode) or name.text is None:
        return tree, []
    if name.text in REFUSED_ARCHS:
        problem = Problem(
            name.place, "Arch.name", f"'{name.text}' is not served here: {REFUSED_ARCHS[name.text]}."
        )
        only_name = dataclasses.replace(arch, entries={"name": name})
        return _with_entry(tree, "Arch", only_name), [problem]
    known = None if arch_names is None else set(arch_names)
    named = _named_members(arch) if name.text == "DistillationModel" else {"Arch.name": name}
    return tree, [
        Problem(node.place, path, f"unknown architecture {node.text!r}. {suggest(node.text, known)}")
        for path, node in named.items()
        if known is not None and node.text is not None and node.text not in known
    ]


def _named_members(arch: MappingNode) -> dict[str, ScalarNode]:
    """Return path -> name of each network of a `DistillationModel` that has to be one of ours.

    One that is not trained may come from elsewhere: whoever builds it knows where to look.
    """
    models, freezes = arch.entries.get("models"), arch.entries.get("freeze_params_list")
    entries = models.items if isinstance(models, SequenceNode) else ()
    frozen = [
        index
        for index, item in enumerate(freezes.items if isinstance(freezes, SequenceNode) else ())
        if isinstance(item, ScalarNode) and item.value is True
    ]
    return {
        f"Arch.models.{index}.{key}.name": name
        for index, entry in enumerate(entries)
        if isinstance(entry, MappingNode) and index not in frozen
        for key, member in entry.entries.items()
        if isinstance(member, MappingNode)
        for name in [member.entries.get("name")]
        if isinstance(name, ScalarNode)
    }


class ArgumentTaker(Protocol):
    """What is needed of an `argparse.ArgumentParser`."""

    def add_argument(self, *names: str, **settings: Any) -> Any:
        """Declare one argument."""
        ...


def add_config_arguments(parser: ArgumentTaker, *, required: bool = True) -> None:
    """Declare PaddleClas' arguments `-c`, `-o` and `-p` on a program's parser."""
    parser.add_argument(
        "-c", "--config", required=required, help="YAML file, or the name of a shipped one: GhostNet_x1_0"
    )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace or add a value: Global.epochs=10; may be repeated",
    )
    parser.add_argument(
        "-p",
        "--profiler_options",
        default=None,
        help='record a part of the training: "batch_range=[10,20];profile_path=model.profile"',
    )


def load_from_arguments(
    config: str,
    override: Sequence[str],
    profiler_options: Optional[str] = None,
    *,
    arch_names: Optional[Iterable[str]] = None,
) -> Config:
    """Load what `add_config_arguments` declared; the names are those of the parsed arguments."""
    return load_config(config, override, arch_names=arch_names, profiler_options=profiler_options)
