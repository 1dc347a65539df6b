"""The shipped folder: what is written is read back, and every change to it is found."""

from __future__ import annotations

import dataclasses
import datetime
import shutil
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import PIPELINE

from ppghost.artifact import (
    SCHEMA,
    Artifact,
    Facts,
    Golden,
    ModelFile,
    check_artifact,
    read_artifact,
    read_golden,
    write_artifact,
)
from ppghost.errors import ArtifactError
from ppghost.vision import Labels, Pipeline

FILES = ("inference.json", "inference.pdmodel", "inference.pdiparams", "golden.npz", "labels.txt")
FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

line = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20).map(str.strip)
number = st.floats(1e-3, 1e3)
triple = st.tuples(number, number, number).map(list)
pipelines = st.tuples(
    st.sampled_from([None, {}, {"to_rgb": False}, {"backend": "pil"}]),
    st.sampled_from(
        [
            {"ResizeImage": {"resize_short": 40}},
            {"ResizeImage": {"size": [33, 40], "interpolation": "bicubic"}},
            {"ResizeImage": {"size": 34, "backend": "pil"}},
        ]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "scale": st.one_of(st.just("1.0/255.0"), number),
            "mean": triple,
            "std": triple,
            "order": st.sampled_from(["", "hwc"]),
        },
    ),
    st.booleans(),
).map(
    lambda parts: (
        [{"DecodeImage": parts[0]}, parts[1], {"CropImage": {"size": 32}}]
        + [{"NormalizeImage": {"order": "", **parts[2]}}]
        + ([{"ToCHWImage": None}] if parts[3] else [])
    )
)


def write(
    folder: Path, transform_ops: list[dict[str, Any]], names: Optional[list[str]], name: str
) -> Artifact:
    """Write an artifact whose model files are four bytes long; an earlier one there goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    class_num = 3 if names is None else len(names)
    for file in FILES[:3]:
        (folder / file).write_bytes(b"code")
    facts = Facts(
        schema=SCHEMA,
        target="paddle",
        name=name,
        version="123456789012",  # digits only: must come back as text
        input_shape=(3, 32, 32),
        class_num=class_num,
        output="logits",
        models=(ModelFile("json", "inference.json", "inference.pdiparams", "x", "out put"),)
        + (ModelFile("pdmodel", "inference.pdmodel", None, "x", "y"),),
        tools={"paddle": "3.3"},
    )
    pipeline = Pipeline.from_list(transform_ops)
    picture = np.full((32, 32, 3), 100, np.uint8)
    golden = Golden(
        tensor=np.ones((2, 3, 32, 32), np.float32),
        tensor_logits=np.ones((2, class_num), np.float32),
        picture=picture.tobytes(),
        picture_tensor=np.ones((3, 32, 32), np.float32),
        picture_logits=np.ones(class_num, np.float32),
    )
    labels = None if names is None else Labels(dict(enumerate(names)))
    return write_artifact(Artifact(folder, facts, pipeline, labels, topk=2), golden)


def as_words(value: Any) -> str:
    """Return a value of inference.yml as preprocess.txt has to spell it, without the code under test."""
    if isinstance(value, list):
        return " ".join(map(as_words, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def leaves(tree: Any, path: str) -> dict[str, str]:
    if isinstance(tree, dict):
        items = [(f"{path}.{key}", value) for key, value in tree.items()]
    elif isinstance(tree, list) and tree and not all(isinstance(item, (int, float)) for item in tree):
        items = [(f"{path}.{position}", value) for position, value in enumerate(tree)]
    else:
        return {path: as_words(tree)}
    return {key: text for name, value in items for key, text in leaves(value, name).items()}


def expected_lines(folder: Path) -> dict[str, str]:
    """Return key -> value as a C++ reader must find them, computed from inference.yml."""
    tree = yaml.safe_load((folder / "inference.yml").read_text(encoding="utf-8"))
    expected = {"topk": str(tree["PostProcess"]["Topk"]["topk"])}
    for key, value in tree["Artifact"].items():
        expected.update(leaves(value, key))
    for position, op in enumerate(tree["PreProcess"]["transform_ops"]):
        [(name, params)] = op.items()
        expected[f"transform_ops.{position}"] = name
        expected.update(leaves(params or {}, f"transform_ops.{position}"))
    return expected


@FEW
@given(pipelines, st.one_of(st.none(), st.lists(line, min_size=1, max_size=6)), line)
def test_what_is_written_is_read_and_both_files_say_the_same(
    tmp_path: Path, transform_ops: list[dict[str, Any]], names: Optional[list[str]], name: str
) -> None:
    written = write(tmp_path / "inference", transform_ops, names, name)
    read = read_artifact(tmp_path / "inference")
    assert written == read
    assert read.class_names == names
    assert read.facts.name == name
    assert read.facts.version == "123456789012"
    check_artifact(read)
    lines = (read.folder / "preprocess.txt").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    found = dict(each.split(" ", 1) for each in lines)
    assert len(found) == len(lines)
    assert found == expected_lines(read.folder)


@FEW
@given(pipelines, st.integers(0, 2**31))
def test_the_shipped_pipeline_computes_the_same(
    tmp_path: Path, transform_ops: list[dict[str, Any]], seed: int
) -> None:
    shipped = write(tmp_path / "inference", transform_ops, None, "Toy").pipeline
    picture = np.random.RandomState(seed).randint(0, 256, (45, 50, 3)).astype(np.uint8)
    pipeline = Pipeline.from_list(transform_ops)
    assert (shipped.to_chw(picture) == pipeline.to_chw(picture)).all()
    assert shipped(picture).shape == (3, 32, 32)  # channels first without our help: PaddleClas adds nothing


def test_golden_comes_back(shipped: Artifact, toy: Any) -> None:
    golden = read_golden(shipped)
    assert golden.tensor.dtype == golden.picture_logits.dtype == np.float32
    assert (PIPELINE.to_chw(golden.picture) == golden.picture_tensor).all()
    with np.load(shipped.folder / "golden.npz") as arrays:
        assert np.allclose(arrays["tensor_probabilities"].sum(axis=1), 1)


def test_an_artifact_is_frozen_and_printable(shipped: Artifact) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        shipped.topk = 1  # type: ignore[misc]
    assert "Toy" in repr(shipped)
    assert "dog" not in repr(shipped)


@pytest.mark.parametrize("name", [*FILES, "preprocess.txt"])
def test_one_changed_byte_is_found(copied: Callable[[], Artifact], name: str) -> None:
    artifact = copied()
    path = artifact.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=name):
        check_artifact(artifact)


@pytest.mark.parametrize("name", [*FILES, "preprocess.txt"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_missing_or_truncated_file_is_found(
    copied: Callable[[], Artifact], name: str, spoil: Callable[[Path], object]
) -> None:
    artifact = copied()
    spoil(artifact.folder / name)
    with pytest.raises(ArtifactError, match=name):
        check_artifact(artifact)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "inference.yml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(tree)
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["PreProcess"]["transform_ops"][1]["CropImage"].update(size=30),
        lambda tree: tree["PostProcess"]["Topk"].update(topk=3),
        lambda tree: tree["PostProcess"]["Topk"]["label_list"].reverse(),
        lambda tree: tree["Artifact"]["files"].pop("inference.pdmodel"),
        lambda tree: tree["Artifact"]["files"].pop("golden.npz"),
    ],
    ids=["crop", "topk", "labels", "checksum", "golden"],
)
def test_edited_facts_are_found(
    copied: Callable[[], Artifact], change: Callable[[dict[str, Any]], object]
) -> None:
    artifact = copied()
    edit(artifact.folder, change)
    with pytest.raises(ArtifactError, match="is not as it was exported"):
        check_artifact(read_artifact(artifact.folder))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tree: tree.pop("Artifact"), "no section 'Artifact': another program"),
        (lambda tree: tree["Artifact"].update(schema=99), "form 99; this ppghost reads form 1"),
        (lambda tree: tree["Artifact"].pop("models"), "'models' is missing"),
        (lambda tree: tree["Artifact"].update(models=[]), "models is empty"),
        (lambda tree: tree["Artifact"].update(output="scores"), "'probabilities' or 'logits'"),
        (lambda tree: tree["Artifact"]["models"][0].update(graph="../../etc/passwd"), "no file name"),
        (lambda tree: tree["Artifact"].update(class_num=9), "names 7 classes, but Toy has 9"),
        (lambda tree: tree["PreProcess"]["transform_ops"].append({"CropImagee": None}), "CropImage"),
        (lambda tree: tree["Artifact"].update(tools={"day": datetime.date(2026, 1, 1)}), "a date cannot"),
        (lambda tree: tree.pop("PreProcess"), "PreProcess"),
        (lambda tree: tree.pop("PostProcess"), "PostProcess"),
    ],
)
def test_facts_that_cannot_be_honoured(
    copied: Callable[[], Artifact], change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    artifact = copied()
    edit(artifact.folder, change)
    with pytest.raises(ArtifactError, match=sentence):
        read_artifact(artifact.folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a: [1",
        b"[" * 5000,
        b"a: 2026-13-01",
        b"\xff\xfe\x00",
        b"- 1\n- 2\n",
        b"a: !!python/object:os.system x",
    ],
)
def test_a_facts_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "inference.yml").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"inference\.yml"):
        read_artifact(tmp_path)


def test_folders_that_are_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no folder"):
        read_artifact(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="There is no folder"):
        read_artifact(tmp_path / ("x" * 300))
    with pytest.raises(ArtifactError, match="is no artifact"):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tensor": np.ones((2, 3, 8, 8), np.float32)}, "of another network"),
        ({"tensor": np.ones((0, 3, 32, 32), np.float32)}, "of another network"),
        ({"picture_logits": np.ones(3, np.float32)}, "of another network"),
        ({"picture_tensor": None}, "cannot be read"),
        ({"picture": np.array([{}], dtype=object)}, "cannot be read"),
    ],
    ids=["size", "empty", "classes", "absent", "pickle"],
)
def test_golden_of_something_else(
    copied: Callable[[], Artifact], changes: dict[str, Any], sentence: str
) -> None:
    artifact = copied()
    with np.load(artifact.folder / "golden.npz") as arrays:
        content = {**dict(arrays), **changes}
    content = {key: value for key, value in content.items() if value is not None}
    np.savez(artifact.folder / "golden.npz", **content)
    with pytest.raises(ArtifactError, match=sentence):
        read_golden(artifact)


def test_a_label_that_would_break_its_line_is_refused(tmp_path: Path) -> None:
    for name in ("two\nlines", "tail ", "\u2028"):
        with pytest.raises(ArtifactError, match="does not fit on one line"):
            write(tmp_path / "x", PIPELINE.to_list(), [name], "Toy")
