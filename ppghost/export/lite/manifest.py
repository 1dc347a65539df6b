"""ppghost.json and the golden files: what programs in C++ and Java read of an artifact, and nothing else.

All of it is derived from the artifact, so a change to either is found. `deploy/lite/README.md` describes the
form. Imports the ground, never paddle.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ppghost.artifact import LABELS_FILE, Artifact, read_golden, shippable
from ppghost.errors import ArtifactError
from ppghost.export.lite.header import check_opt_version, read_nb_header
from ppghost.files import sha256_of
from ppghost.vision.checks import read_number
from ppghost.vision.geometry import CropImage, ResizeImage
from ppghost.vision.normalize import NormalizeImage, ToCHWImage

FORMAT = 1
MANIFEST_FILE = "ppghost.json"
GOLDEN_FILES = {
    "input": "golden_input.bin",
    "output": "golden_output.bin",
    "picture": "golden_picture.png",
}
RTOL = {"fp32": 1e-4, "fp16": 5e-2}
"""By which share of the largest output a device may be off; that of fp16 was never measured on one."""


def write_manifest(artifact: Artifact) -> None:
    """Write ppghost.json and the golden files into an artifact's folder.

    Raises:
        ArtifactError: its preprocessing is more than resize, crop and normalise, or a file cannot be read.
    """
    for name, data in _golden_bytes(artifact).items():
        artifact.path_of(GOLDEN_FILES[name]).write_bytes(data)
    text = json.dumps(manifest_of(artifact), indent=2, ensure_ascii=False) + "\n"
    artifact.path_of(MANIFEST_FILE).write_bytes(text.encode())


def check_manifest(artifact: Artifact) -> None:
    """Make sure that ppghost.json and the golden files are what the artifact says.

    Raises:
        ArtifactError: one is missing or was changed, or a `.nb` file is not to be read.
    """
    problems = []
    for name, data in _golden_bytes(artifact).items():
        file = GOLDEN_FILES[name]
        if _read(artifact.path_of(file)) != data:
            problems.append(f"{file} is not what golden.npz holds")
    try:
        manifest = json.loads(_read(artifact.path_of(MANIFEST_FILE)))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{artifact.path_of(MANIFEST_FILE)} cannot be read: {error}. {_REMEDY}"
        ) from error
    if manifest != json.loads(json.dumps(manifest_of(artifact))):
        problems.append(f"{MANIFEST_FILE} and inference.yml contradict each other: one of them was edited")
    if problems:
        raise ArtifactError(f"{artifact.folder} is not as it was exported: {'; '.join(problems)}. {_REMEDY}")


def manifest_of(artifact: Artifact) -> dict[str, Any]:
    """Return the content of ppghost.json; every `.nb` file's header is read.

    Raises:
        ArtifactError: as `write_manifest`.
    """
    facts = artifact.facts
    labels = facts.files.get(LABELS_FILE)
    model = facts.models[0]
    golden = {name: hashlib.sha256(data).hexdigest() for name, data in _golden_bytes(artifact).items()}
    return {
        "format": FORMAT,
        "name": facts.name,
        "version": facts.version,
        "graph": facts.graph,
        "class_num": facts.class_num,
        "topk": artifact.topk,
        "input": {"name": model.input, "shape": [1, *facts.input_shape]},
        "output": {"name": model.output, "softmax": facts.output == "probabilities"},
        "preprocess": preprocess_of(artifact),
        "labels": LABELS_FILE if labels else None,
        "labels_sha256": labels.sha256 if labels else None,
        "golden": {**GOLDEN_FILES, **{f"{name}_sha256": digest for name, digest in golden.items()}},
        "models": [_row(artifact, one.format, one.graph) for one in facts.models],
    }


def _row(artifact: Artifact, form: str, file: str) -> dict[str, Any]:
    """Return what ppghost.json says of one model; its form is "ARCH.PRECISION"."""
    path = artifact.path_of(file)
    header = read_nb_header(path)
    check_opt_version(header, path)
    arch, precision = form.split(".")
    return {
        "file": file,
        "arch": arch,
        "precision": precision,
        "size_bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "meta_version": header.meta_version,
        "opt_version": header.opt_version,
        "rtol": RTOL[precision],
    }


def preprocess_of(artifact: Artifact) -> dict[str, Any]:
    """Return the preprocessing in the words of ppghost.json.

    Raises:
        ArtifactError: it is more than resize, crop and normalise, or in another way than the programs know.
    """
    ops = shippable(artifact.pipeline).ops
    if [type(op) for op in ops[1:]] != [ResizeImage, CropImage, NormalizeImage, ToCHWImage]:
        raise _unknown(artifact, f"it is {', '.join(type(op).__name__ for op in ops)}")
    _, resize, crop, normalize, _ = ops
    assert isinstance(resize, ResizeImage), "it was compared"
    assert isinstance(crop, CropImage), "it was compared"
    assert isinstance(normalize, NormalizeImage), "it was compared"
    sides = artifact.facts.input_shape[1:]
    crops = {crop.size} if isinstance(crop.size, int) else set(crop.size)
    if not resize.resize_short or (resize.backend, resize.interpolation) not in (
        ("cv2", None),
        ("cv2", "bilinear"),
    ):
        raise _unknown(artifact, f"its resizing is {resize}")
    if crops != set(sides) or len(crops) != 1:
        raise _unknown(artifact, f"it crops {crop.size} for an input of {list(sides)}")
    if normalize.output_fp16 or normalize.channel_num != 3 or normalize.order not in ("", "hwc"):
        raise _unknown(artifact, f"its normalising is {normalize}")
    assert normalize.scale is not None, "shippable leaves no number to defaults"
    assert normalize.mean is not None, "likewise"
    assert normalize.std is not None, "likewise"
    return {
        "resize_short": resize.resize_short,
        "crop": crops.pop(),
        "interpolation": "bilinear",
        "channel_order": "RGB" if getattr(ops[0], "to_rgb", True) else "BGR",
        "scale": read_number("NormalizeImage.scale", normalize.scale),
        "mean": list(normalize.mean),
        "std": list(normalize.std),
    }


def _unknown(artifact: Artifact, why: str) -> ArtifactError:
    return ArtifactError(
        f"The preprocessing of {artifact.facts.name} cannot be done on a phone: {why}. Known there: "
        "ResizeImage (resize_short, bilinear, cv2), CropImage to the square input, NormalizeImage, "
        "ToCHWImage."
    )


def _golden_bytes(artifact: Artifact) -> dict[str, bytes]:
    """Return the content of the golden files."""
    golden = read_golden(artifact)
    is_softmax = artifact.facts.output == "probabilities"
    key = "picture_probabilities" if is_softmax else "picture_logits"
    output = golden.arrays()[key]
    return {
        "input": np.ascontiguousarray(golden.picture_tensor, "<f4").tobytes(),
        "output": np.ascontiguousarray(output, "<f4").tobytes(),
        "picture": golden.picture,
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path.parent} is no model folder for a phone: it has no {path.name}. {_REMEDY}"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}.") from error


_REMEDY = "Copy the folder again from where it was exported, or export again: ppghost export --target lite"
