"""Model files of engines that do not read ONNX: made once by the engine's own converter, kept in the cache.

Imports environments, the reader of ONNX headers, and the rock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ppghost.cache import cache_dir, locked
from ppghost.engines.onnx_header import read_onnx_header
from ppghost.engines.table import Engine
from ppghost.environments import MNN, NCNN, Environment, ensure_environment, run_python
from ppghost.errors import ArtifactError
from ppghost.files import replaced_folder, sha256_of

_LOG = logging.getLogger(__name__)

_NAMES = {"mnn": ("model.mnn",), "ncnn": ("model.param", "model.bin")}
_DIGESTS = "files.json"
_LINES_OF_OUTPUT = 6
# MNN's own program `mnnconvert` installs a package into whatever Python is first on PATH, to report its use.
_MNN_CONVERTER = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
# Its launcher imports PyTorch only to start this program.
_NCNN_CONVERTER = (
    "import importlib.util, os, subprocess, sys; "
    "[folder] = importlib.util.find_spec('pnnx').submodule_search_locations; "
    "sys.exit(subprocess.call([os.path.join(folder, 'pnnx'), *sys.argv[1:]]))"
)


def model_files(engine: Engine, model: Path, input_shape: Sequence[int]) -> tuple[Path, ...]:
    """Return the files that an engine reads for an ONNX file; what is missing or damaged is made.

    Raises:
        ArtifactError: the ONNX file cannot be read, or the engine's converter refuses it.
        ToolMissingError: the engine's environment, which has the converter, cannot be made.
        OutputError: the cache cannot be written.
    """
    try:
        digest = sha256_of(model)
    except OSError as error:
        raise ArtifactError(f"The model '{model}' cannot be read: {error.strerror or error}.") from error
    if engine.form == "onnx":
        return (model,)
    # Another converter may write another file.
    key = hashlib.sha256(f"{digest} {engine.environment.folder.name}".encode()).hexdigest()[:16]
    folder = cache_dir() / "models" / f"{engine.form}-{key}"
    if not _is_whole(folder):
        with locked(folder.with_name(folder.name + ".lock")):
            if not _is_whole(folder):
                _LOG.info("Making %s of %s, once, in %s", ", ".join(_NAMES[engine.form]), model, folder)
                _make(engine.form, model, folder, input_shape)
    return tuple(folder / name for name in _NAMES[engine.form])


def _is_whole(folder: Path) -> bool:
    """Say whether a folder holds what was made for it, unchanged."""
    try:
        digests = json.loads((folder / _DIGESTS).read_text(encoding="utf-8"))
        return all(sha256_of(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def _make(form: str, model: Path, folder: Path, input_shape: Sequence[int]) -> None:
    with replaced_folder(folder) as made:
        out = made / _NAMES[form][0]
        if form == "mnn":
            to_mnn(model, out)
        else:
            to_ncnn(model, out, input_shape)
        digests = {name: sha256_of(made / name) for name in _NAMES[form]}
        (made / _DIGESTS).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


def to_mnn(model: Path, out: Path) -> None:
    """Write MNN's file of an ONNX file.

    Raises:
        ToolMissingError: MNN's environment cannot be made.
        ArtifactError: its converter refuses the model.
    """
    words = [
        "-f",
        "ONNX",
        "--modelFile",
        str(model.resolve()),
        "--MNNModel",
        str(out),
        "--bizCode",
        "ppghost",
    ]
    run_converter(MNN, ["-c", _MNN_CONVERTER, *words], out)


def to_ncnn(model: Path, out: Path, input_shape: Sequence[int]) -> None:
    """Write ncnn's two files of an ONNX file: `out`, and beside it the weights with the suffix `.bin`.

    Raises:
        ToolMissingError: ncnn's environment cannot be made.
        ArtifactError: the model takes several rows at once, or the converter refuses it.
    """
    rows = rows_of(model)
    if rows not in (None, 1):
        raise ArtifactError(
            f"'{model}' takes {rows} rows at once, and ncnn takes one. "
            "Export it with --batch dynamic or --batch 1."
        )
    shape = ",".join(map(str, (1, *input_shape)))
    with tempfile.TemporaryDirectory(prefix="ppghost-") as folder:
        # The converter leaves files beside its input.
        link = Path(folder) / "model.onnx"
        link.write_bytes(model.read_bytes())
        words = [str(link), f"inputshape=[{shape}]", "fp16=0"]
        words += [f"ncnnparam={out}", f"ncnnbin={out.with_suffix('.bin')}"]
        leftovers = ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnpy")
        words += [f"{kind}={Path(folder) / kind}" for kind in leftovers]
        run_converter(NCNN, ["-c", _NCNN_CONVERTER, *words], out)


def rows_of(model: Path) -> Optional[int]:
    """Return how many rows an ONNX file takes at once; None for any number.

    Raises:
        ArtifactError: it cannot be read or is no ONNX file with an input.
    """
    inputs = read_onnx_header(model).inputs
    if not inputs or not inputs[0].shape:
        raise ArtifactError(f"'{model}' has no input of rows; export the network again.")
    return inputs[0].shape[0]


def run_converter(environment: Environment, words: Sequence[str], out: Path) -> None:
    """Run a converter in its environment.

    Args:
        environment: where it lives.
        words: of Python's command line.
        out: what it is to write.

    Raises:
        ToolMissingError: the environment cannot be made.
        ArtifactError: the converter failed or wrote nothing; ends with the last lines that it printed.
    """
    python = ensure_environment(environment)
    result = run_python(python, words, out.parent)
    if result.returncode != 0 or not out.exists():
        output = (result.stdout + result.stderr).strip().splitlines()[-_LINES_OF_OUTPUT:]
        raise ArtifactError(
            f"The converter of the environment '{environment.name}' wrote no {out.name} "
            f"(exit code {result.returncode}):\n" + "\n".join(output)
        )
