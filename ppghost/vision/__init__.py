"""From picture files to network input, and from network output to labels: NumPy in, NumPy out.

    pipeline = Pipeline.from_list([{"DecodeImage": None}, {"ResizeImage": {"resize_short": 256}}, ...])
    chw = pipeline.to_chw(path.read_bytes())

Ops carry PaddleClas' names, parameters, defaults and numbers. This room runs where paddle is not installed
and must never import it, nor any other room of ours.
"""

from __future__ import annotations

from ppghost.vision import decode, geometry, normalize
from ppghost.vision.op import OPS, REFUSED_OPS, Op, Rng
from ppghost.vision.pipeline import Pipeline

__all__ = [
    "OPS",
    "REFUSED_OPS",
    "Op",
    "Pipeline",
    "Rng",
    "decode",
    "geometry",
    "normalize",
]
