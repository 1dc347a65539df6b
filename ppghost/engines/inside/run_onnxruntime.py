"""ONNX Runtime on the CPU with all of its graph optimisations."""

from __future__ import annotations

from typing import Any

from .loaded import Loaded


def load(job: dict[str, Any]) -> Loaded:
    """Load an ONNX file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # it names each constant that it removes
    session = onnxruntime.InferenceSession(job["files"][0], options, providers=["CPUExecutionProvider"])
    [source] = session.get_inputs()
    rows = source.shape[0]
    return Loaded(
        onnxruntime.__version__,
        rows if isinstance(rows, int) else None,
        lambda images: session.run(None, {source.name: images})[0],
    )
