"""ONNX Runtime in a device's place: an ONNX file opened for one batch size. Ground: never paddle."""

from __future__ import annotations

from pathlib import Path

from ppghost.engines import EngineNetwork, open_engine
from ppghost.engines.onnx_header import read_onnx_header
from ppghost.errors import ArtifactError, ConfigError


def open_stand_in(
    model: Path, batch: int, threads: int, *, is_compiled: bool = False
) -> tuple[EngineNetwork, tuple[int, int, int]]:
    """Return the network of an ONNX file, and channels, height and width of its input.

    Side effects: makes ONNX Runtime's environment where this Python has no ONNX Runtime.

    Args:
        model: the file.
        batch: pictures at once.
        threads: how many the network may use.
        is_compiled: whether the device's compiler makes any batch of a file for one picture, so that here a
            batch goes through such a file picture by picture.

    Raises:
        ToolMissingError: the environment cannot be made.
        ConfigError: the file was exported for another batch size.
        ArtifactError: ONNX Runtime cannot use the file, or it does not take pictures alone.
    """
    shapes = [tensor.shape for tensor in read_onnx_header(model).inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        given = ", ".join(str(list(shape)) for shape in shapes) or "none"
        raise ArtifactError(f"The inputs of '{model}' are {given}; accepted: one, [N, 3, height, width].")
    [(size, *sides)] = shapes
    if size not in (None, batch, 1 if is_compiled else batch):
        raise ConfigError(
            f"The batch size is {batch}, but '{model}' was exported with {size}. Take {size}, or export it "
            "with a batch that is left open: ppghost export --target onnx --batch dynamic"
        )
    channels, height, width = (side or 0 for side in sides)
    shape = channels, height, width
    return open_engine("onnxruntime", model, shape, threads=threads, batch_size=batch), shape
