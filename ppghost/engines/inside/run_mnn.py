"""MNN's interpreter in float32."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from .loaded import Loaded


def load(job: dict[str, Any]) -> Loaded:
    """Load an MNN file."""
    import MNN
    import numpy as np

    interpreter = MNN.Interpreter(job["files"][0])
    settings = {"backend": "CPU", "precision": "high", "numThread": job["threads"]}
    session = interpreter.createSession(settings)
    source = interpreter.getSessionInput(session)
    interpreter.resizeTensor(source, (job["batch"], *job["input_shape"]))
    interpreter.resizeSession(session)
    sink = interpreter.getSessionOutput(session)

    def host_tensor(array: Any) -> Any:
        return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)

    def run(images: Any) -> Any:
        source.copyFromHostTensor(host_tensor(images))
        interpreter.runSession(session)
        outputs = host_tensor(np.empty(sink.getShape(), np.float32))
        sink.copyToHostTensor(outputs)
        return np.array(outputs.getNumpyData())

    return Loaded(importlib.metadata.version("MNN"), job["batch"], run)
