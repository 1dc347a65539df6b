"""Engines that run an ONNX file: each importable here or living in an isolated environment.

    with open_engine("openvino", Path("model.onnx"), (3, 224, 224), threads=2) as network:
        scores = network(images)

    table        which engines there are, where each lives, what it reads
    network      an engine with a model as a predictor
    process      the bridge to a process of another Python
    files        model files of MNN and ncnn, made from ONNX once
    onnx_header  what an ONNX file says about itself, read without onnx
    inside/      one file for each engine; it runs wherever the engine is

A new engine is a file in `inside/` and a row in `table`. Ground: never paddle.
"""

from ppghost.engines.network import EngineNetwork, open_engine
from ppghost.engines.table import ENGINES, Engine, engine_named, is_at_hand

__all__ = ["ENGINES", "Engine", "EngineNetwork", "engine_named", "is_at_hand", "open_engine"]
