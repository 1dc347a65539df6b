"""OpenVINO on the CPU, compiled for one batch size: for any size it is slower."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from .loaded import Loaded


def load(job: dict[str, Any]) -> Loaded:
    """Load an ONNX file."""
    import openvino

    core = openvino.Core()
    model = core.read_model(job["files"][0])
    shape = model.input(0).partial_shape
    rows = job["batch"] if shape[0].is_dynamic else shape[0].get_length()
    model.reshape([rows, *job["input_shape"]])
    settings = {
        "INFERENCE_NUM_THREADS": job["threads"],
        "PERFORMANCE_HINT": "LATENCY",
        # Where the CPU has bf16 it would be taken, with three digits.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return Loaded(
        importlib.metadata.version("openvino"),
        rows,
        lambda images: request.infer([images], share_inputs=True)[0].copy(),
    )
