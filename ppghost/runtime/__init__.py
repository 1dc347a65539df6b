"""ppghost's own inference engine: a shipped GhostNet on a CPU, without Paddle and without any other package.

    with GhostPredictor("inference/inference.ghost", "inference/inference.pdiparams", threads=2) as predictor:
        scores = predictor(images)

The C sources beside this file are compiled once into the cache (`ppghost.native`); `engine.h` is their public
interface, for C++ programs as well. Pixels are rows of channels here, so the two halves of a ghost module lie
side by side and nothing is ever concatenated.

Ground: never paddle; of ours only the rock.
"""

from __future__ import annotations

from ppghost.runtime.predictor import GhostPredictor

__all__ = ["GhostPredictor"]
