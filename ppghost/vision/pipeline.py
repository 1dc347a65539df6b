"""The pipeline: an ordered tuple of ops, read from a PaddleClas `transform_ops` list and written back as one.

Train, eval, infer and every Python deployment use this one object. Ground: never paddle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import cv2
import numpy as np

from ppghost.errors import DataError, PipelineError
from ppghost.vision.decode import DecodeImage
from ppghost.vision.normalize import ToCHWImage, ToTensor
from ppghost.vision.op import Op, Picture, Rng, Undrawable, build_ops, describe
from ppghost.vision.pictures import as_array


@dataclass(frozen=True)
class Pipeline:
    """What happens to one picture, from the bytes of its file to the numbers that the network reads.

    Attributes:
        ops: frozen ops, applied in order.
    """

    ops: tuple[Op, ...]

    @classmethod
    def from_list(cls, transform_ops: Sequence[Mapping[str, Optional[Mapping[str, Any]]]]) -> Pipeline:
        """Return the pipeline of a list `[{name: parameters}, ...]`, the form in which YAML holds it.

        Raises:
            ValueError: an entry is not a mapping with one key, or an op or parameter cannot be honoured; the
                message starts with the position in the list.
        """
        return cls(tuple(build_ops(transform_ops, "transform_ops")))

    def to_list(self) -> list[dict[str, Optional[dict[str, Any]]]]:
        """Return the list that builds this pipeline: plain YAML values, defaults left out."""
        return [describe(op) for op in self.ops]

    def __call__(self, picture: Picture, rng: Optional[Rng] = None) -> np.ndarray:
        """Return the picture after all ops.

        Args:
            picture: the bytes of a picture file, or `uint8 [H, W, 3] RGB`, or a Pillow image.
            rng: where random ops draw from; None refuses to draw.

        Raises:
            PipelineError: an op draws and `rng` is None, or cannot work on what the ops before it give.
            DataError: the picture cannot be decoded, is too small for a crop or too large.
        """
        image: Any = picture
        for position, op in enumerate(self.ops):
            name = type(op).__name__
            try:
                image = op(image, Undrawable(name) if rng is None else rng)
            except ValueError as error:
                raise PipelineError(f"{name}, at position {position} of the ops: {error}") from error
            except cv2.error as error:
                raise DataError(
                    f"{name}: OpenCV cannot change the picture so: {error.err or error}."
                ) from error
        return as_array(image)

    def to_chw(self, picture: Picture, rng: Optional[Rng] = None) -> np.ndarray:
        """Return `float32 [3, H, W]`, contiguous: what one row of a batch holds.

        The transpose is added unless the list does it (`ToCHWImage`, `ToTensor`, `channel_first`).
        Args and raises as in `__call__`.
        """
        image = self(picture, rng)
        if not self.gives_chw:
            image = image.transpose(2, 0, 1)
        return np.ascontiguousarray(image, dtype=np.float32)

    @property
    def gives_chw(self) -> bool:
        """Whether an op of the list puts the channels first."""
        return any(_puts_channels_first(op) for op in self.ops)


def _puts_channels_first(op: Op) -> bool:
    return (
        isinstance(op, ToCHWImage)
        or (isinstance(op, ToTensor) and op.data_format == "CHW")
        or (isinstance(op, DecodeImage) and op.to_np and op.channel_first)
    )
