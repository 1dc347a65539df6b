"""From picture files to network input, and from network output to labels: NumPy in, NumPy out.

    pipeline = Pipeline.from_list([{"DecodeImage": None}, {"ResizeImage": {"resize_short": 256}}, ...])
    chw = pipeline.to_chw(path.read_bytes())

Ops carry PaddleClas' names, parameters, defaults and numbers. This room runs where paddle is not installed
and must never import it, nor any other room of ours.
"""

from __future__ import annotations

# The modules are imported because ops register themselves.
from ppghost.vision import (
    augmix,
    autoaugment,
    colour,
    decode,
    erase,
    geometry,
    normalize,
    pad,
    paddle_geometry,
    timm_autoaugment,
)
from ppghost.vision.batch import BATCH_OPS, BatchOp
from ppghost.vision.op import OPS, REFUSED_OPS, Op, Rng
from ppghost.vision.pipeline import Pipeline
from ppghost.vision.postprocess import (
    POSTPROCESS,
    Labels,
    Prediction,
    softmax,
    to_results,
    top_k,
)

__all__ = [
    "BATCH_OPS",
    "OPS",
    "POSTPROCESS",
    "REFUSED_OPS",
    "BatchOp",
    "Labels",
    "Op",
    "Pipeline",
    "Prediction",
    "Rng",
    "augmix",
    "autoaugment",
    "colour",
    "decode",
    "erase",
    "geometry",
    "normalize",
    "pad",
    "paddle_geometry",
    "softmax",
    "timm_autoaugment",
    "to_results",
    "top_k",
]
