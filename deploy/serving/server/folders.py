"""The server and client folders of Paddle Serving, from an artifact: model files and their descriptions.

Paddle Serving's own converter imports a module that Paddle removed, so its message `GeneralModelConfig` is
written here, as text (`.prototxt`) and in protobuf's wire format (`.stream.prototxt`). No Paddle Serving.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppghost.artifact import Artifact
from ppghost.cache import try_lock
from ppghost.errors import OutputError
from ppghost.files import check_replaceable, replaced_folder

SERVER_FOLDER = "serving_server"
CLIENT_FOLDER = "serving_client"
FETCH_ALIAS = "prediction"
_LOCK = "lock"
_FLOAT32 = 1
_MODEL_FILES = ("inference.pdmodel", "inference.pdiparams")
_DESCRIPTIONS = tuple(
    f"serving_{side}_conf{kind}.prototxt" for side in ("server", "client") for kind in ("", ".stream")
)


@dataclass(frozen=True)
class Variable:
    """A feed or fetch variable of `GeneralModelConfig`, float32.

    Attributes:
        kind: "feed" or "fetch".
        name: of the tensor in the graph.
        alias: by which requests call it. For a feed it must be the name: Paddle Serving's local predictor
            looks its type up by alias and its value by name.
        shape: without the batch dimension.
    """

    kind: str
    name: str
    alias: str
    shape: Sequence[int]

    def to_text(self) -> str:
        """Return it in protobuf's text format."""
        fields = [f'name: "{self.name}"', f'alias_name: "{self.alias}"', "is_lod_tensor: false"]
        fields += [f"{self.kind}_type: {_FLOAT32}", *(f"shape: {size}" for size in self.shape)]
        body = "".join(f"  {line}\n" for line in fields)
        return f"{self.kind}_var {{\n{body}}}\n"

    def to_wire(self) -> bytes:
        """Return it in protobuf's wire format, as a field of `GeneralModelConfig`."""
        body = _text_field(1, self.name) + _text_field(2, self.alias) + _number_field(3, 0)
        body += _number_field(4, _FLOAT32) + b"".join(_number_field(5, size) for size in self.shape)
        return _bytes_field(1 if self.kind == "feed" else 2, body)


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it for one server; the system frees it when that dies, however it dies.

    A second server would replace the model files and the board under the first one's workers.

    Raises:
        OutputError: it cannot be written, or another server holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / _LOCK).open("ab")
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be written ({error.strerror}). Name another one: --folder."
        ) from error
    with stream:
        if not try_lock(stream):
            raise OutputError(
                f"The folder {folder} belongs to another server that runs. Name another one: --folder."
            )
        yield


def write_folders(artifact: Artifact, folder: Path) -> tuple[Path, Path]:
    """Write `serving_server` and `serving_client` into a folder, and return their paths.

    Side effects: earlier ones are replaced.

    Raises:
        ArtifactError: the artifact has no model in the form "pdmodel".
        OutputError: they cannot be written, or hold files that this does not write.
    """
    model = artifact.facts.model("pdmodel")
    variables = [
        Variable("feed", model.input, model.input, artifact.facts.input_shape),
        Variable("fetch", model.output, FETCH_ALIAS, (artifact.facts.class_num,)),
    ]
    sources = [artifact.path_of(model.graph), artifact.path_of(model.weights or "")]
    paths = folder / SERVER_FOLDER, folder / CLIENT_FOLDER
    for path, side in zip(paths, ("server", "client")):
        check_replaceable(path, (*_MODEL_FILES, *_DESCRIPTIONS))
        with replaced_folder(path) as staged:
            _describe(variables, staged / f"serving_{side}_conf")
            if side == "server":
                for source, name in zip(sources, _MODEL_FILES):
                    shutil.copyfile(source, staged / name)
    return paths


def _describe(variables: Sequence[Variable], stem: Path) -> None:
    text = "".join(variable.to_text() for variable in variables)
    stem.with_name(stem.name + ".prototxt").write_text(text, encoding="utf-8")
    wire = b"".join(variable.to_wire() for variable in variables)
    stem.with_name(stem.name + ".stream.prototxt").write_bytes(wire)


def _varint(number: int) -> bytes:
    """Return a number of at least 0, seven bits a byte, the lowest first."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _number_field(tag: int, number: int) -> bytes:
    return _varint(tag << 3) + _varint(number)


def _bytes_field(tag: int, body: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(body)) + body


def _text_field(tag: int, text: str) -> bytes:
    return _bytes_field(tag, text.encode())
