"""The bundle: everything that VastStream's tools read of a network, in the folders of VastModelZOO.

<name>_<size>.onnx
vacc_code/build/<name>-<precision>.yaml           for `vamc build`
vacc_code/model_info/model_info_<...>.json        for sample_cls.py
vacc_code/vdsp_params/{sdk1.0,vamp}/<...>.json    for sample_cls.py and vamp
build_in/build/<name>-<precision>.yaml            for `vamc compile`
build_in/vdsp_params/<...>.json                   for classification.py and vamp
label/imagenet.txt, label/imagenet1000_clsid_to_human.txt
bundle.json                                       what it was made from
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from classes import dict_text, names_text
from vamc import BUILD_IN, CALIBRATIONS, VACC_CODE, Build, info_text, yaml_text
from vdsp import FORMS, file_name, vdsp_of, vdsp_text

from ppghost.artifact import Artifact
from ppghost.engines.onnx_header import OnnxHeader, read_onnx_header
from ppghost.errors import ArtifactError, OutputError
from ppghost.files import replaced_folder, sha256_of
from ppghost.vision.variants import PADDLECLAS, levels_of

SCHEMA = 1
# What VastModelZOO calls them, after timm.
_NAMES = {"GhostNet_x0_5": "ghostnet_050", "GhostNet_x1_0": "ghostnet_100", "GhostNet_x1_3": "ghostnet_130"}
CALIBRATION_PICTURES = "./ILSVRC2012_img_calib"


@dataclass(frozen=True)
class Plan:
    """What a bundle is made from.

    Attributes:
        artifact: the exported folder, for preprocessing, labels and name.
        onnx: the ONNX file.
        name: of the network in the bundle.
        pictures: folder of the calibration pictures, as the compiler will find it.
        suffix: of the calibration pictures, without dot.
    """

    artifact: Artifact
    onnx: Path
    name: str
    pictures: str = CALIBRATION_PICTURES
    suffix: str = "JPEG"

    @property
    def is_way_of_card(self) -> bool:
        """Whether the card resizes as the network's own preprocessing does."""
        return self.artifact.preprocessing == PADDLECLAS


def plan(
    artifact: Artifact,
    onnx: Optional[Path] = None,
    name: Optional[str] = None,
    pictures: str = CALIBRATION_PICTURES,
    suffix: str = "JPEG",
) -> Plan:
    """Return what a bundle will be made from.

    Args:
        artifact: the exported folder.
        onnx: its network as ONNX; None takes the one in the folder.
        name: None takes VastModelZOO's for this network.
        pictures: as in `Plan`.
        suffix: as in `Plan`.

    Raises:
        ArtifactError: there is no ONNX file.
    """
    if onnx is None:
        found = [model.graph for model in artifact.facts.models if model.format == "onnx"]
        if not found:
            raise ArtifactError(
                f"'{artifact.folder}' holds no ONNX file. Export one: ppghost export --target onnx --opset "
                "11 --batch 1 --input-name input; or name one: --onnx FILE"
            )
        onnx = artifact.path_of(found[0])
    return Plan(
        artifact, onnx, name or _NAMES.get(artifact.facts.name, artifact.facts.name), pictures, suffix
    )


def write_bundle(made_from: Plan, out: Path) -> list[str]:
    """Write a bundle; return the names of its files.

    Raises:
        ArtifactError: the ONNX file is of another network than the artifact.
        PipelineError: the card cannot prepare pictures as the network wants them.
        OutputError: the folder exists, or cannot be written.
    """
    if out.exists():
        raise OutputError(f"'{out}' exists, and compiled models may be in it. Choose another folder.")
    header = _checked_header(made_from)
    with replaced_folder(out) as staged:
        for name, text in _texts(made_from, header):
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        shutil.copyfile(made_from.onnx, staged / _onnx_name(made_from))
        return sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())


def _checked_header(made_from: Plan) -> OnnxHeader:
    """Return the header of the ONNX file.

    Raises:
        ArtifactError: it is of another network than the artifact.
    """
    header, facts = read_onnx_header(made_from.onnx), made_from.artifact.facts
    inputs = [tensor.shape for tensor in header.inputs]
    if inputs not in ([(None, *facts.input_shape)], [(1, *facts.input_shape)]):
        raise ArtifactError(
            f"'{made_from.onnx}' takes {[list(shape) for shape in inputs]}; accepted: one input "
            f"{[1, *facts.input_shape]}, as '{made_from.artifact.folder}' says. Export it with --batch 1."
        )
    version = header.metadata.get("version", facts.version)
    if version != facts.version:
        raise ArtifactError(
            f"'{made_from.onnx}' is version {version} of a network, and '{made_from.artifact.folder}' is "
            f"{facts.version}: they are of different trainings."
        )
    # Exporters leave sides of the output open; what they tell must be right.
    classes = header.outputs[0].shape[1:]
    if classes not in ((facts.class_num,), (None,), ()):
        raise ArtifactError(
            f"'{made_from.onnx}' gives {list(header.outputs[0].shape)}, and '{made_from.artifact.folder}' "
            f"has {facts.class_num} classes: they are of different networks."
        )
    return header


def _onnx_name(made_from: Plan) -> str:
    return f"{made_from.name}_{made_from.artifact.facts.input_shape[2]}.onnx"


def _texts(made_from: Plan, header: OnnxHeader) -> Iterator[tuple[str, str]]:
    """Yield name and content of every file but the network."""
    yield from _descriptions(made_from)
    for build in _builds(made_from, header):
        for generation in (VACC_CODE, BUILD_IN):
            yield f"{generation}/build/{build.full_name}.yaml", yaml_text(build, generation)
        yield f"{VACC_CODE}/model_info/model_info_{build.full_name}.json", info_text(build)
    class_names = made_from.artifact.class_names
    if class_names is not None:
        yield "label/imagenet.txt", names_text(class_names)
        yield "label/imagenet1000_clsid_to_human.txt", dict_text(class_names)
    facts = made_from.artifact.facts
    origin = {
        "schema": SCHEMA,
        "name": made_from.name,
        "network": facts.name,
        "version": facts.version,
        "onnx_sha256": sha256_of(made_from.onnx),
        "preprocessing": made_from.artifact.preprocessing,
        "transform_ops": made_from.artifact.pipeline.to_list(),
        "ends_in_softmax": header.ends_in_softmax,
    }
    yield "bundle.json", json.dumps(origin, indent=2, ensure_ascii=False) + "\n"


def _descriptions(made_from: Plan) -> Iterator[tuple[str, str]]:
    whole, shape = vdsp_of(made_from.artifact.pipeline), made_from.artifact.facts.input_shape
    if shape != (3, whole.crop, whole.crop):
        raise ArtifactError(
            f"'{made_from.artifact.folder}' takes {list(shape)}, and its preprocessing gives "
            f"{[3, whole.crop, whole.crop]}. Export the network again."
        )
    for vdsp, is_cropped in ((whole, False), (whole.cropped(), True)):
        for form in FORMS:
            folder = "build_in/vdsp_params" if form == BUILD_IN else f"{VACC_CODE}/vdsp_params/{form}"
            yield f"{folder}/{file_name(made_from.name, is_cropped=is_cropped)}", vdsp_text(vdsp, form)


def _builds(made_from: Plan, header: OnnxHeader) -> Iterator[Build]:
    [tensor] = header.inputs
    mean, std = levels_of(made_from.artifact.pipeline)
    channels, height, width = made_from.artifact.facts.input_shape
    for calibration in (*CALIBRATIONS, None):
        yield Build(
            made_from.name,
            f"./{_onnx_name(made_from)}",
            tensor.name,
            (1, channels, height, width),
            not header.ends_in_softmax,
            vdsp_of(made_from.artifact.pipeline).resize,
            mean,
            std,
            calibration,
            made_from.pictures,
            made_from.suffix,
        )
