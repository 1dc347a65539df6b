"""ncnn in float32. It has no batches: one row after the other."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from .loaded import Loaded


def load(job: dict[str, Any]) -> Loaded:
    """Load ncnn's two files, the graph and the weights.

    Raises:
        ValueError: ncnn refuses one of them.
    """
    import ncnn
    import numpy as np

    graph, weights = job["files"]
    net = ncnn.Net()
    net.opt.num_threads = job["threads"]
    # On ARM it would compute with three digits.
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{name}", False)
    if net.load_param(graph) or net.load_model(weights):
        raise ValueError("ncnn cannot read it")
    [source], [sink] = net.input_names(), net.output_names()

    def run(images: Any) -> Any:
        rows = []
        for image in images:
            extractor = net.create_extractor()
            extractor.input(source, ncnn.Mat(image))
            code, output = extractor.extract(sink)
            if code:
                raise ValueError(f"ncnn ended with code {code}")
            rows.append(np.array(output))
        return np.stack(rows)

    return Loaded(importlib.metadata.version("ncnn"), None, run)
