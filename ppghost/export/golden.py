"""Golden: the inputs with which an artifact proves itself, drawn the same way every time.

Never imports Paddle: the network comes in as a function of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import cv2
import numpy as np

from ppghost.artifact import Golden
from ppghost.errors import ArtifactError
from ppghost.vision import Pipeline

_SEED = 20191127  # the day on which GhostNet's paper appeared


def make_golden(
    network: Callable[[np.ndarray], np.ndarray], pipeline: Pipeline, input_shape: Sequence[int]
) -> Golden:
    """Return golden inputs with the network's outputs for them.

    Args:
        network: `float32 [N, 3, H, W]` to logits `float32 [N, class_num]`; called with N = 2 and N = 1.
        pipeline: from picture bytes to `float32 [3, H, W]`; it must not draw random numbers.
        input_shape: channels, height, width.

    Raises:
        ArtifactError: the pipeline draws random numbers or gives another shape, or an output is not finite.
    """
    rng = np.random.RandomState(_SEED)
    tensor = rng.standard_normal((2, *input_shape)).astype(np.float32)
    tensor[1] *= 0.25  # a calm input beside a wild one: where softmax saturates, differences hide
    picture = draw_picture(
        rng, height=max(48, input_shape[1] * 5 // 4), width=max(64, input_shape[2] * 3 // 2)
    )
    try:
        picture_tensor = pipeline.to_chw(picture)
    except ValueError as error:
        raise ArtifactError(f"The pipeline cannot be shipped: {error}") from error
    if picture_tensor.shape != tuple(input_shape):
        raise ArtifactError(
            f"The pipeline turns a picture into {list(picture_tensor.shape)}, but the network is exported "
            f"for {list(input_shape)}. Make Global.image_shape and the size of the crop agree."
        )
    tensor_logits, picture_logits = network(tensor), network(picture_tensor[np.newaxis])[0]
    if not (np.isfinite(tensor_logits).all() and np.isfinite(picture_logits).all()):
        raise ArtifactError("The network gives NaN or infinity: its weights are broken. Nothing is exported.")
    return Golden(tensor, tensor_logits, picture, picture_tensor, picture_logits)


def draw_picture(rng: np.random.RandomState, *, height: int, width: int) -> bytes:
    """Return the PNG bytes of a drawn picture: a slope of colour, some shapes, some noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([255 * rows / height, 255 * columns / width, 255 * (1 - rows / height)], axis=2)
    for _ in range(6):
        colour = tuple(int(level) for level in rng.randint(0, 256, 3))
        centre = (int(rng.randint(width)), int(rng.randint(height)))
        radius = int(rng.randint(3, max(4, min(height, width) // 4)))
        corner = (centre[0] + radius, centre[1] + 2 * radius)
        if rng.randint(2):
            cv2.circle(image, centre, radius, colour, thickness=-1)
        else:
            cv2.rectangle(image, centre, corner, colour, thickness=-1)
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    written, encoded = cv2.imencode(".png", image)
    assert written, "OpenCV writes any uint8 [H, W, 3] as PNG"
    return encoded.tobytes()
