"""The artifact: the folder that is shipped, and the wall between training and every device.

    inference.json + inference.pdiparams       or whatever files the target's models consist of
    inference.yml     the facts: PaddleClas' PreProcess and PostProcess, and the section Artifact
    preprocess.txt    the same facts as flat `key value` lines, for programs without a YAML reader
    labels.txt        `id name`, one class a line; absent where the classes have no names
    golden.npz        inputs with the outputs of the network that was exported
    verify.json, tuning.json      what was found out about it later: no part of what is shipped

An artifact is written once, whole, and never changed; every file in it is either hashed in inference.yml or
derived from it, so a change to any of them is found. The form is PaddleClas' (`export_for_fd`), so its
deployment programs read the same file.

Ground: never paddle; of ours the rock, `vision` and the binder of `config`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import yaml

from ppghost.config.bind import bind_plain
from ppghost.config.types import Choice, PositiveInt
from ppghost.errors import ArtifactError, ConfigError
from ppghost.files import check_replaceable, replaced_folder, sha256_of
from ppghost.vision import Labels, Pipeline, softmax
from ppghost.vision.checks import read_number
from ppghost.vision.decode import DecodeImage
from ppghost.vision.normalize import IMAGENET_MEAN, IMAGENET_STD, NormalizeImage, ToCHWImage
from ppghost.vision.op import build_op, describe
from ppghost.vision.variants import variant_of

SCHEMA = 1
FACTS_FILE = "inference.yml"
LINES_FILE = "preprocess.txt"
LABELS_FILE = "labels.txt"
GOLDEN_FILE = "golden.npz"
REPORT_FILE = "verify.json"
TUNING_FILE = "tuning.json"
GRAPHS = ("stock", "folded", "fused")
"""How the network is drawn: as trained, with folded batch norms, or as `ppghost.export.fuse` says besides."""
# What an export of ours or of PaddleClas writes into its folder; another export may replace these.
_OWN_NAMES = frozenset(
    {FACTS_FILE, LINES_FILE, LABELS_FILE, GOLDEN_FILE, REPORT_FILE, TUNING_FILE}
    | {f"inference.{suffix}" for suffix in ("json", "pdmodel", "ghost", "pdiparams", "pdiparams.info")}
    | {"ppghost.json", "golden_input.bin", "golden_output.bin", "golden_picture.png"}  # of the target lite
)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class ModelFile:
    """One form in which the network lies in the folder.

    Attributes:
        format: the target's name of the form: "json", "pdmodel", "onnx", "nb".
        graph: name of the file with the graph.
        weights: name of the file with the weights; None where the graph file holds them.
        input: name of the input tensor.
        output: name of the output tensor.
    """

    format: str
    graph: str
    weights: Optional[str]
    input: str
    output: str


@dataclass(frozen=True)
class FileDigest:
    """What a file must be: its SHA-256 in hex and its length in bytes."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Facts:
    """The section `Artifact` of inference.yml.

    Attributes:
        schema: version of this section's form.
        target: name of the target that wrote the folder and opens it.
        name: name of the model.
        version: the first 12 hex digits of the SHA-256 of the weights: which training this is.
        input_shape: channels, height, width of one picture; the batch dimension comes before them.
        class_num: length of one output row.
        output: "probabilities" (softmax is in the graph) or "logits".
        dtype: element type of input and output.
        graph: the network's graph, one of `GRAPHS`; the numbers are those of the trained network in each.
        precision: the numbers that most layers compute with; the golden outputs of "int8" are its own.
        decode: parameters of PaddleClas' DecodeImage, which PreProcess leaves out; empty means its defaults.
        models: the forms of the network, the preferred one first.
        tools: versions of what wrote the folder.
        files: what the files must be.
    """

    schema: int
    target: str
    name: str
    version: str
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    class_num: PositiveInt
    output: Annotated[str, Choice(("probabilities", "logits"))]
    models: tuple[ModelFile, ...]
    tools: Mapping[str, str]
    dtype: Annotated[str, Choice(("float32",))] = "float32"
    graph: Annotated[str, Choice(GRAPHS)] = "stock"
    precision: Annotated[str, Choice(("fp32", "int8"))] = "fp32"
    decode: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileDigest] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models is empty; accepted: at least one form of the network.")
        for name in (*self.files, *self.model_files()):
            if not _FILE_NAME.fullmatch(name):
                raise ValueError(f"'{name}' is no file name; accepted: a plain name in the folder itself.")

    def model_files(self) -> list[str]:
        """Return the names of the files that the models consist of, each once."""
        names = [name for model in self.models for name in (model.graph, model.weights) if name]
        return list(dict.fromkeys(names))

    def model(self, model_format: Optional[str] = None) -> ModelFile:
        """Return the model of the given form, or the preferred one.

        Raises:
            ArtifactError: there is no such form.
        """
        for model in self.models:
            if model_format in (None, model.format):
                return model
        held = ", ".join(model.format for model in self.models)
        raise ArtifactError(f"{self.name} has no model in the form '{model_format}'. Accepted: {held}.")


@dataclass(frozen=True)
class Artifact:
    """A shipped network with everything that is needed to use and to check it.

    Attributes:
        folder: where it lies.
        facts: what is known about it.
        pipeline: from the bytes of a picture file to one row of the input.
        labels: names of the classes; None where they have none.
        topk: how many classes an answer names.
    """

    folder: Path
    facts: Facts
    pipeline: Pipeline
    labels: Optional[Labels] = field(default=None, repr=False)
    topk: int = 5

    def __post_init__(self) -> None:
        if self.labels is not None and set(self.labels.names) != set(range(self.facts.class_num)):
            raise ArtifactError(
                f"{self.labels.source} names {len(self.labels)} classes, but {self.facts.name} has "
                f"{self.facts.class_num}, from 0 to {self.facts.class_num - 1}. Give the label file "
                "(class_id_map_file) of the data that it was trained on, or none."
            )

    @property
    def class_names(self) -> Optional[list[str]]:
        """The names of the classes in the order of their ids; None where they have none."""
        return None if self.labels is None else [self.labels.names[i] for i in range(self.facts.class_num)]

    @property
    def preprocessing(self) -> str:
        """Which way a picture becomes an input: "paddleclas", "torchvision" or "other".

        The network's accuracy is that of this way; see `ppghost.vision.variants`.
        """
        return variant_of(self.pipeline)

    def path_of(self, name: str) -> Path:
        """Return the path of a file of the artifact."""
        return self.folder / name


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs with the outputs that the network gave for them when it was exported.

    Attributes:
        tensor: `float32 [N, 3, H, W]`, seeded noise.
        tensor_logits: `float32 [N, class_num]`.
        picture: the bytes of an encoded picture (PNG: every decoder gives the same pixels).
        picture_tensor: `float32 [3, H, W]`, the picture after the pipeline.
        picture_logits: `float32 [class_num]`.
    """

    tensor: np.ndarray
    tensor_logits: np.ndarray
    picture: bytes
    picture_tensor: np.ndarray
    picture_logits: np.ndarray

    def arrays(self) -> dict[str, Any]:
        """Return what golden.npz holds: the fields, and for readers without softmax the probabilities."""
        return {
            "tensor": self.tensor,
            "tensor_logits": self.tensor_logits,
            "tensor_probabilities": softmax(self.tensor_logits),
            "picture": np.frombuffer(self.picture, np.uint8),
            "picture_tensor": self.picture_tensor,
            "picture_logits": self.picture_logits,
            "picture_probabilities": softmax(self.picture_logits),
        }


def read_artifact(folder: Path) -> Artifact:
    """Return the artifact in `folder`; its files are not looked at (see `check_artifact`).

    Raises:
        ArtifactError: the folder is missing, is no artifact, or its inference.yml cannot be honoured.
    """
    folder = Path(folder)
    path = folder / FACTS_FILE
    if not os.path.isdir(folder):
        raise ArtifactError(f"There is no folder '{folder}'. Give the folder that an export wrote.")
    tree = _read_tree(path)
    section = tree.get("Artifact")
    if not isinstance(section, Mapping):
        raise ArtifactError(
            f"{path} has no section 'Artifact': another program wrote it. Export the model with ppghost."
        )
    if section.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{path} is written in form {section.get('schema')!r}; this ppghost reads form {SCHEMA}. "
            "Export again with this version, or install the version that wrote it."
        )
    try:
        facts = bind_plain(section, Facts, source=str(path), path="Artifact")
        ops = bind_plain(tree.get("PreProcess"), _PreProcess, source=str(path), path="PreProcess")
        post = bind_plain(tree.get("PostProcess"), _PostProcess, source=str(path), path="PostProcess")
        after_decoding = Pipeline.from_list(ops.transform_ops).ops
        pipeline = Pipeline((build_op("DecodeImage", facts.decode), *after_decoding))
    except (ConfigError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be used: {error}") from error
    _check_way(tree, pipeline, path)
    names = post.Topk.label_list
    labels = None if names is None else Labels(dict(enumerate(names)), str(path))
    return Artifact(folder, facts, pipeline, labels, post.Topk.topk)


def _check_way(tree: Mapping[str, Any], pipeline: Pipeline, path: Path) -> None:
    """Raise ArtifactError where inference.yml names another preprocessing than it describes."""
    section = tree.get("Global")
    named = section.get("preprocessing") if isinstance(section, Mapping) else None
    found = variant_of(pipeline)
    if named not in (None, found):
        raise ArtifactError(
            f"{path}: Global.preprocessing is {named!r}, but the ops of PreProcess are those of '{found}'. "
            "One of them was edited; export the model again."
        )


def read_golden(artifact: Artifact) -> Golden:
    """Return the golden inputs and outputs of an artifact.

    Raises:
        ArtifactError: the file is missing, broken, or of another network.
    """
    path = artifact.path_of(GOLDEN_FILE)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            golden = Golden(
                tensor=arrays["tensor"],
                tensor_logits=arrays["tensor_logits"],
                picture=arrays["picture"].tobytes(),
                picture_tensor=arrays["picture_tensor"],
                picture_logits=arrays["picture_logits"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Export the model again.") from error
    shape, class_num = artifact.facts.input_shape, artifact.facts.class_num
    rows = golden.tensor.shape[0] if golden.tensor.ndim else 0
    given = [golden.tensor.shape, golden.tensor_logits.shape]
    given += [golden.picture_tensor.shape, golden.picture_logits.shape]
    if not rows or given != [(rows, *shape), (rows, class_num), shape, (class_num,)]:
        raise ArtifactError(f"{path} holds arrays of another network: {given}. Export the model again.")
    return golden


@dataclass(frozen=True)
class _PreProcess:
    transform_ops: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class _Topk:
    topk: PositiveInt
    label_list: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class _PostProcess:
    Topk: _Topk


def _read_tree(path: Path) -> Mapping[str, Any]:
    try:
        tree = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(
            f"{path.parent} is no artifact: it has no {FACTS_FILE}. Give the folder that an export wrote."
        ) from None
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Export the model again.") from error
    if not isinstance(tree, Mapping):
        raise ArtifactError(f"{path} is no mapping of facts. Export the model again.")
    return tree


@contextmanager
def placed(out: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends well it becomes `out`, and an older export there is gone.

    Raises:
        OutputError: `out` is a file, holds something that no export wrote, or cannot be written.
    """
    out = Path(out)
    check_replaceable(out, _own_names(out))
    with replaced_folder(out) as staged:
        yield staged
        check_replaceable(out, _own_names(out))


def _own_names(folder: Path) -> frozenset[str]:
    """Return the names of the files in `folder` that an export wrote."""
    try:
        return _OWN_NAMES | set(read_artifact(folder).facts.files)
    except ArtifactError:
        return _OWN_NAMES


def write_artifact(artifact: Artifact, golden: Golden) -> Artifact:
    """Complete a folder that holds the model files: golden, labels and facts are written beside them.

    Args:
        artifact: what to write, `folder` included; `facts.files` and `facts.decode` are filled in here.
        golden: inputs and expected outputs.

    Returns:
        The artifact as `read_artifact` reads it.

    Raises:
        ArtifactError: a model file is missing, or the facts cannot be written in the artifact's form.
    """
    artifact = dataclasses.replace(artifact, pipeline=shippable(artifact.pipeline))
    np.savez(artifact.path_of(GOLDEN_FILE), **golden.arrays())
    names = [*artifact.facts.model_files(), GOLDEN_FILE]
    if artifact.class_names is not None:
        artifact.path_of(LABELS_FILE).write_bytes(_label_lines(artifact.class_names).encode())
        names.append(LABELS_FILE)
    facts = dataclasses.replace(
        artifact.facts,
        decode=describe(artifact.pipeline.ops[0])["DecodeImage"] or {},
        files={name: digest_of(artifact.path_of(name)) for name in names},
    )
    tree = _tree(dataclasses.replace(artifact, facts=facts))
    artifact.path_of(LINES_FILE).write_bytes("".join(f"{line}\n" for line in _lines(tree)).encode())
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)
    artifact.path_of(FACTS_FILE).write_bytes(text.encode())
    return read_artifact(artifact.folder)


def digest_of(path: Path) -> FileDigest:
    """Return what a file is.

    Raises:
        ArtifactError: it cannot be read.
    """
    try:
        return FileDigest(sha256_of(path), path.stat().st_size)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}.") from error


def shippable(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline as devices read it: decoding first, transpose last, no number left to defaults.

    Raises:
        ArtifactError: a picture is decoded later than first.
    """
    ops = list(pipeline.ops)
    if not ops or not isinstance(ops[0], DecodeImage):
        ops.insert(0, DecodeImage())
    for position, op in enumerate(ops):
        if isinstance(op, DecodeImage) and position:
            raise ArtifactError(f"DecodeImage is at position {position} of the pipeline; it must come first.")
        if isinstance(op, NormalizeImage):
            scale = 1.0 / 255.0 if op.scale is None else read_number("NormalizeImage.scale", op.scale)
            ops[position] = dataclasses.replace(
                op, scale=scale, mean=op.mean or IMAGENET_MEAN, std=op.std or IMAGENET_STD
            )
    if not pipeline.gives_chw:
        ops.append(ToCHWImage())
    return Pipeline(tuple(ops))


def _tree(artifact: Artifact) -> dict[str, Any]:
    """Return the content of inference.yml as plain values."""
    ops = []
    for op in artifact.pipeline.ops[1:]:
        [(name, params)] = describe(op).items()
        if isinstance(op, NormalizeImage):  # PaddleClas' readers want these two even where they are defaults
            params = {**(params or {}), "order": op.order, "channel_num": op.channel_num}
        ops.append({name: params})
    topk: dict[str, Any] = {"topk": artifact.topk}
    if artifact.class_names is not None:
        topk["label_list"] = artifact.class_names
    facts = dataclasses.asdict(artifact.facts)
    return {
        "Global": {"model_name": artifact.facts.name, "preprocessing": artifact.preprocessing},
        "Artifact": {
            **facts,
            "input_shape": list(artifact.facts.input_shape),
            "models": list(facts["models"]),
            "tools": dict(artifact.facts.tools),
            "decode": dict(artifact.facts.decode),
        },
        "PreProcess": {"transform_ops": ops},
        "PostProcess": {"Topk": topk},
    }


def _lines(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of preprocess.txt: key, one space, value.

    Keys are paths with dots; list positions count from 0. A list of numbers is one value, joined by spaces;
    null and the empty text are nothing; truth is `true` or `false`. An op is the line
    `transform_ops.<position> <name>`, its parameters are the lines below that path. Labels are in labels.txt.
    """
    for key, value in tree["Artifact"].items():
        yield from _flat(key, value)
    yield from _flat("topk", tree["PostProcess"]["Topk"]["topk"])
    for position, op in enumerate(tree["PreProcess"]["transform_ops"]):
        [(name, params)] = op.items()
        yield f"transform_ops.{position} {name}"
        yield from _flat(f"transform_ops.{position}", params or {})


def _flat(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(f"{key}.{name}", item)
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list, str)) for item in value):
        for position, item in enumerate(value):
            yield from _flat(f"{key}.{position}", item)
    else:
        text = " ".join(map(_text, value)) if isinstance(value, list) else _text(value)
        if len(key.split()) != 1 or len(text.splitlines()) > 1:
            raise ArtifactError(f"{key!r}: {text!r} does not fit on one line of {LINES_FILE}.")
        yield f"{key} {text}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _label_lines(names: list[str]) -> str:
    for class_id, name in enumerate(names):
        if len(name.splitlines()) > 1 or name != name.strip():
            raise ArtifactError(f"The name of class {class_id}, {name!r}, does not fit on one line.")
    return "".join(f"{class_id} {name}\n" for class_id, name in enumerate(names))


def check_artifact(artifact: Artifact) -> None:
    """Make sure that every file of the artifact is there and is what was exported.

    Raises:
        ArtifactError: with one line for each file that is missing, changed or at odds with inference.yml.
    """
    problems = list(_file_problems(artifact))
    tree = _read_tree(artifact.path_of(FACTS_FILE))
    derived = {LINES_FILE: "".join(f"{line}\n" for line in _lines(tree))}
    if artifact.class_names is not None:
        derived[LABELS_FILE] = _label_lines(artifact.class_names)
    for name, text in derived.items():
        if _read_text(artifact.path_of(name)) not in (None, text):
            problems.append(f"{name} and {FACTS_FILE} contradict each other: one of them was edited")
        elif not artifact.path_of(name).exists() and name not in artifact.facts.files:
            problems.append(f"{name} is missing")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise ArtifactError(
            f"{artifact.folder} is not as it was exported:{listed}\n"
            "Copy the folder again from where it was exported, or export again."
        )


def _file_problems(artifact: Artifact) -> Iterator[str]:
    unlisted = [name for name in artifact.facts.model_files() if name not in artifact.facts.files]
    yield from (f"{name} has no checksum in {FACTS_FILE}" for name in unlisted)
    for name, expected in artifact.facts.files.items():
        path = artifact.path_of(name)
        if not path.is_file():
            yield f"{name} is missing"
            continue
        found = digest_of(path)
        if found.size_bytes != expected.size_bytes:
            yield f"{name} has {found.size_bytes} bytes instead of {expected.size_bytes}"
        elif found != expected:
            yield f"{name} was changed: its SHA-256 is {found.sha256}, not {expected.sha256}"


def _read_text(path: Path) -> Optional[str]:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}.") from error
