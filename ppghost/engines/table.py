"""Which engines run an ONNX file, as data. Imports environments and the rock."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ppghost.environments import MNN, NCNN, ONNXRUNTIME, OPENVINO, Environment, is_made
from ppghost.errors import GhostError, suggest


@dataclass(frozen=True)
class Engine:
    """An engine.

    Attributes:
        name: what users call it; `inside/run_<name>.py` runs it.
        package: what is imported; where that can be done, no environment is made.
        environment: where it lives otherwise.
        form: what it reads: "onnx", or what `ppghost.engines.files` makes of it.
        rtol: by which share of a row's largest logit a logit may be off.
        is_alone: whether it runs in a process of its own even where it can be imported, since it writes to
            standard output, where results go.
    """

    name: str
    package: str
    environment: Environment
    form: str = "onnx"
    rtol: float = 1e-5
    is_alone: bool = False


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        engine.name: engine
        for engine in (
            Engine("onnxruntime", "onnxruntime", ONNXRUNTIME),
            Engine("openvino", "openvino", OPENVINO),
            Engine("ncnn", "ncnn", NCNN, form="ncnn", rtol=1e-3),
            Engine("mnn", "MNN", MNN, form="mnn", is_alone=True),
        )
    }
)


def engine_named(name: str) -> Engine:
    """Return an engine.

    Raises:
        GhostError: there is none of that name.
    """
    if name not in ENGINES:
        raise GhostError(f"Unknown engine '{name}' for ONNX. {suggest(name, ENGINES)}")
    return ENGINES[name]


def is_importable(engine: Engine) -> bool:
    """Say whether this Python has the engine's package; it is not imported."""
    return importlib.util.find_spec(engine.package) is not None


def is_at_hand(engine: Engine) -> bool:
    """Say whether the engine runs here without anything being installed first."""
    # What cannot be imported may still be needed to make the model file: that is in the environment too.
    return is_made(engine.environment) or (is_importable(engine) and engine.form == "onnx")
