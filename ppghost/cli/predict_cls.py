"""The verb `predict_cls`: PaddleClas' Python prediction with its own configuration and its own result lines.

Program: may print. Paddle is imported when the engine opens.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
from tqdm import tqdm

from ppghost.artifact import FACTS_FILE, Artifact, check_artifact, read_artifact, shippable
from ppghost.cli.console import logging_to
from ppghost.cli.ship import answers_of, pictures_at, read_labels, tell, threads_of
from ppghost.config.inference_cls import Global, InferenceCls, Topk, load_inference_cls
from ppghost.engines import open_engine
from ppghost.errors import ArtifactError, DataError, GhostError, ToolMissingError
from ppghost.export.onnx import MODEL_FILE
from ppghost.export.paddle_inference import ENGINES, PaddlePredictor, Settings, check_engine
from ppghost.export.target import load_target
from ppghost.machine import usable_processors
from ppghost.predict import Classifier, Predictor
from ppghost.results import printable
from ppghost.vision import Labels, Pipeline
from ppghost.vision.decode import DecodeImage

_LOG = logging.getLogger(__name__)

WEIGHTS = "inference.pdiparams"


def predict_cls(options: argparse.Namespace) -> int:
    """Classify pictures as PaddleClas' deploy/python/predict_cls.py does: its YAML, its -o, its result lines.

    Runs folders that PaddleClas exported as well as ours. Broken pictures are reported and skipped, and the
    exit code is then 1.
    """
    config = load_inference_cls(options.config, options.override)
    with logging_to(None, terminal=sys.stderr):
        pictures = pictures_at([(config.Global.infer_imgs, None)])
        answers = answers_of(open_classifier(config), pictures, config.Global.batch_size, threads_of(None))
        return tell(answers, pictures, None, lambda result: tqdm.write(result_line(result)))


def result_line(result: Mapping[str, Any]) -> str:
    """Return PaddleClas' line for one picture, from a result in PaddleClas' form; it can be encoded."""
    scores = ", ".join(f"{score:.2f}" for score in result["scores"])
    return printable(
        f"{Path(result['file_name']).name}:\tclass id(s): {result['class_ids']}, score(s): [{scores}], "
        f"label_name(s): {result['label_names']}"
    )


def open_classifier(config: InferenceCls) -> Classifier:
    """Return what the configuration describes.

    Raises:
        GhostError: the folder, the engine, the preprocessing or the labels cannot be used.
    """
    folder = Path(config.Global.inference_model_dir)
    artifact = read_artifact(folder) if _is_artifact(folder) else None
    pipeline = Pipeline((DecodeImage(), *config.PreProcess.transform_ops))
    shape = pipeline.to_chw(np.zeros((1024, 1024, 3), np.uint8)).shape
    if artifact is not None:
        check_artifact(artifact)
        _compare(pipeline, shape, artifact)
    topk = config.PostProcess.Topk
    return Classifier(
        _open(config.Global, folder, artifact, shape),
        pipeline,
        _labels_of(topk, artifact),
        topk.topk,
        gives_logits=artifact is not None and artifact.facts.output == "logits",
    )


def _is_artifact(folder: Path) -> bool:
    """Say whether the folder claims to be an artifact of ours; PaddleClas writes an inference.yml as well."""
    path = folder / FACTS_FILE
    return path.is_file() and b"\nArtifact:" in b"\n" + path.read_bytes()


def _open(general: Global, folder: Path, artifact: Optional[Artifact], shape: tuple[int, ...]) -> Predictor:
    threads = min(general.cpu_num_threads, usable_processors())
    if threads < general.cpu_num_threads and not general.use_gpu:
        _LOG.info("%d threads instead of Global.cpu_num_threads: there are no more processors.", threads)
    if general.engine is not None:
        if artifact is None:
            raise ArtifactError(
                f"Global.engine runs what ppghost exported, and {folder} is not; leave Global.engine out."
            )
        target = load_target(artifact.facts.target)
        return target.open(artifact, engine=general.engine, threads=threads, batch_size=general.batch_size)
    if general.use_onnx:
        return _open_onnx(folder / MODEL_FILE, shape, threads, general.batch_size)
    settings = Settings(
        _engine_of(general),
        "fp16" if general.use_fp16 else "fp32",
        threads,
        shape,
        usual_batch=general.batch_size,
        largest_batch=general.batch_size,
        gpu_memory_mb=general.gpu_mem,
        optimizes_graph=general.ir_optim,
    )
    try:
        check_engine(settings.engine, settings.precision)
    except ToolMissingError as error:
        hint = " Or compute on the CPU: -o Global.use_gpu=False" if general.use_gpu else ""
        hint += " -o Global.use_tensorrt=False" if general.use_tensorrt else ""
        raise ToolMissingError(f"{error}{hint}") from error
    graph, weights = _model_files(folder, ENGINES[settings.engine].forms)
    return PaddlePredictor(graph, weights, settings)


def _open_onnx(model: Path, shape: tuple[int, ...], threads: int, batch_size: int) -> Predictor:
    """Open an ONNX file with ONNX Runtime, whoever wrote it.

    Raises:
        ArtifactError: it is not there or cannot be loaded.
        ToolMissingError: ONNX Runtime is not installed and its environment cannot be made.
    """
    if not model.is_file():
        raise ArtifactError(
            f"{model} is not there. Make a folder that has it (ppghost export --artifact {model.parent} "
            "--target onnx) and set Global.inference_model_dir to it, or set Global.use_onnx=False."
        )
    channels, height, width = shape
    return open_engine(
        "onnxruntime", model, (channels, height, width), threads=threads, batch_size=batch_size
    )


def _engine_of(general: Global) -> str:
    if general.use_gpu:
        return "tensorrt" if general.use_tensorrt else "gpu"
    return "onednn" if general.enable_mkldnn else "native"


def _model_files(folder: Path, forms: tuple[str, ...]) -> tuple[Path, Path]:
    """Return graph and weights of an exported folder, the first of `forms` that is there."""
    if not folder.is_dir():
        raise ArtifactError(
            f"There is no folder '{folder}'. Set Global.inference_model_dir to an exported one."
        )
    if (folder / "inference_int8.pdiparams").exists():
        raise ArtifactError(f"{folder} holds a quantised network (inference_int8), which is not served here.")
    graphs = [folder / f"inference.{form}" for form in forms]
    for graph in graphs:
        if graph.is_file() and (folder / WEIGHTS).is_file():
            return graph, folder / WEIGHTS
    names = " or ".join(graph.name for graph in graphs)
    remedy = (
        "Set Global.use_onnx=True." if (folder / MODEL_FILE).is_file() else "Set Global.inference_model_dir."
    )
    raise ArtifactError(f"{folder} holds no exported network: {names}, and {WEIGHTS} are needed. {remedy}")


def _compare(pipeline: Pipeline, shape: tuple[int, ...], artifact: Artifact) -> None:
    """Tell once where the configuration prepares pictures otherwise than the artifact.

    Raises:
        GhostError: the pictures would not even have the network's size.
    """
    facts = artifact.facts
    if shape != facts.input_shape:
        raise GhostError(
            f"PreProcess gives pictures of {list(shape)}, but {facts.name} takes {list(facts.input_shape)}. "
            f"Write PreProcess as in {artifact.path_of(FACTS_FILE)}."
        )
    if not _is_same(shippable(pipeline).to_list(), artifact.pipeline.to_list()):
        _LOG.warning(
            "PreProcess differs from that of the exported network, and is followed: scores will be worse. "
            "What the network expects stands in %s.",
            artifact.path_of(FACTS_FILE),
        )


def _is_same(one: Any, other: Any) -> bool:
    """Compare plain values; PaddleClas writes 1/255 with six digits."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5)
    return bool(one == other)


def _labels_of(topk: Topk, artifact: Optional[Artifact]) -> Optional[Labels]:
    """Return the names of the classes; where PaddleClas passes over a missing file, others stand in.

    Raises:
        DataError: the file is missing and nothing fitting stands in, or it is no label file.
    """
    if topk.label_list:
        listed = topk.label_list
        names = listed.items() if isinstance(listed, Mapping) else enumerate(listed)
        return Labels({int(index): name for index, name in names}, "PostProcess.Topk.label_list")
    if topk.class_id_map_file is None:
        return None
    path = Path(topk.class_id_map_file)
    own = None if artifact is None else artifact.labels
    labels = read_labels(path, topk.delimiter, "PostProcess.Topk.class_id_map_file", own)
    if artifact is not None and not path.exists() and len(labels) != artifact.facts.class_num:
        raise DataError(
            f"{path} is not there, and the {len(labels)} ImageNet names that come with ppghost do not fit "
            f"the {artifact.facts.class_num} classes of {artifact.facts.name}. "
            "Set PostProcess.Topk.class_id_map_file to the file of its classes, or to null."
        )
    return labels
