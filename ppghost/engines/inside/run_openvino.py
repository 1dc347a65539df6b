"""OpenVINO on the CPU, compiled for one batch size: for any size it is slower."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .loaded import Loaded


def compiled(job: dict[str, Any], batch: int, settings: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Return the model of an ONNX file, compiled for `batch` rows, or for as many as it takes, in float32.

    Args:
        job: what to load.
        batch: how many rows.
        settings: OpenVINO's own, in place of ours.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(job["files"][0])
    rows = model.input(0).partial_shape[0]
    model.reshape([batch if rows.is_dynamic else rows.get_length(), *job["input_shape"]])
    ours = {
        "INFERENCE_NUM_THREADS": job["threads"],
        "PERFORMANCE_HINT": "LATENCY",
        # Where the CPU has bf16 it would be taken, with three digits.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return core.compile_model(model, "CPU", {**ours, **settings})


def load(job: dict[str, Any]) -> Loaded:
    """Load an ONNX file."""
    model = compiled(job, job["batch"])
    request = model.create_infer_request()
    return Loaded(
        importlib.metadata.version("openvino"),
        model.input(0).shape[0],
        lambda images: request.infer([images], share_inputs=True)[0].copy(),
    )
