"""The programs whose inference is compared: ours by engine and graph, and the others as their users run them.

    ours, ours_bf16         the default graph with the default engine, what `ppghost export` and `infer` take
    ours:ENGINE:GRAPH       one engine on one form of the graph
    paddle, onnxruntime...  another program on its own stock export
    onnxruntime:GRAPH       the same program on what `ppghost export --graph GRAPH` writes for it

Door: imports environments, the ground, and the engines' facts from the export room.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Optional

from ppghost.artifact import GRAPHS
from ppghost.environments import (
    MNN,
    NCNN,
    ONNXRUNTIME,
    OPENVINO,
    PADDLECLAS,
    PADDLECLAS_2,
    TIMM,
    Environment,
)
from ppghost.errors import ConfigError, suggest
from ppghost.export.paddle_inference import ENGINES

TIMM_NAMES = {
    "GhostNet_x0_5": "ghostnet_050",
    "GhostNet_x1_0": "ghostnet_100",
    "GhostNet_x1_3": "ghostnet_130",
}
MODELS = tuple(TIMM_NAMES)
REFERENCE = "ours"
STOCK = GRAPHS[0]
STOCK_ONEDNN = ("paddle", "paddle2")
"""The stock export in Paddle Inference with oneDNN, on Paddle 3 and on Paddle 2."""

# How far outputs may be from the network's, as a share of its largest centred logit.
TOLERANCES = {"fp32": 1e-3, "bf16": 0.25}
"""bf16 keeps 8 bits: a wrong network is off by more than its own size, a right one by some percent."""


@dataclass(frozen=True)
class Program:
    """One of the compared programs.

    Attributes:
        name: what the command line and the table call it.
        title: what it is, in words.
        engine: the function of `inside/networks.py` that runs it.
        form: what it reads: "artifact" (ours), "paddle", "onnx", "mnn", "ncnn" or "timm".
        graph: one of `GRAPHS`; None for the default.
        precision: "fp32" or "bf16".
        environment: where it runs; None for this one.
        options: of the engine.
    """

    name: str
    title: str
    engine: str
    form: str
    graph: Optional[str] = STOCK
    precision: str = "fp32"
    environment: Optional[Environment] = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_ours(self) -> bool:
        """Whether it is ppghost."""
        return self.environment is None

    @property
    def is_rival(self) -> bool:
        """Whether it is another program on its own export, in the precision of the trained network."""
        return not self.is_ours and self.graph == STOCK and self.precision == "fp32"


# What the engines of ours on a CPU are called here, with the options of `open`.
OUR_ENGINES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        engine if precision == "fp32" else f"{engine}_{precision}": {"engine": engine, "precision": precision}
        for engine, kind in ENGINES.items()
        if not kind.needs_gpu
        for precision in kind.precisions
        if engine != "onednn_bf16"  # another name of onednn
    }
)

_PEERS = (
    Program(
        "paddle",
        "Paddle Inference 3, oneDNN",
        "paddle",
        "paddle",
        environment=PADDLECLAS,
        options={"form": "json", "memory_optim": False},
    ),
    Program(
        "paddle2",
        "Paddle Inference 2, oneDNN",
        "paddle",
        "paddle",
        environment=PADDLECLAS_2,
        options={"form": "pdmodel", "memory_optim": True},
    ),
    Program("onnxruntime", "ONNX Runtime", "onnxruntime", "onnx", environment=ONNXRUNTIME),
    Program(
        "openvino",
        "OpenVINO",
        "openvino",
        "onnx",
        environment=OPENVINO,
        options={"INFERENCE_PRECISION_HINT": "f32"},
    ),
    Program(
        "openvino_bf16",
        "OpenVINO, bf16",
        "openvino",
        "onnx",
        precision="bf16",
        environment=OPENVINO,
        options={"INFERENCE_PRECISION_HINT": "bf16"},
    ),
    Program("mnn", "MNN", "mnn", "mnn", environment=MNN),
    Program("ncnn", "ncnn", "ncnn", "ncnn", environment=NCNN),
    Program("timm", "timm, torch.compile", "timm", "timm", environment=TIMM),
)
_READ_OUR_GRAPHS = ("onnx", "mnn", "ncnn", "paddle")


def _ours() -> list[Program]:
    variants = [
        Program(
            f"ours:{engine}:{graph}",
            f"ppghost, {engine}, {graph}",
            "ours",
            "artifact",
            graph=graph,
            precision=options["precision"],
            options=options,
        )
        for graph in GRAPHS
        for engine, options in OUR_ENGINES.items()
    ]
    usual = Program(REFERENCE, "ppghost", "ours", "artifact", graph=None)
    low = replace(
        usual,
        name="ours_bf16",
        title="ppghost, bf16",
        precision="bf16",
        options={"precision": "bf16"},
    )
    return [usual, low, *variants]


PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {one.name: one for one in (*_ours(), *_PEERS)}
    | {
        f"{one.name}:{graph}": replace(
            one, name=f"{one.name}:{graph}", title=f"{one.title} on our {graph} export", graph=graph
        )
        for one in _PEERS
        if one.form in _READ_OUR_GRAPHS
        for graph in GRAPHS
        if graph != STOCK
    }
)
DEFAULT_PATTERNS = (
    REFERENCE,
    "ours_bf16",
    *(f"ours:{engine}:fused" for engine in OUR_ENGINES),
    *(one.name for one in _PEERS),
)


def programs_named(patterns: Sequence[str], graphs: Sequence[str] = ()) -> list[Program]:
    """Return the programs that shell patterns name, ours first, each once.

    Args:
        patterns: "ours", "ours:*:fused", "openvino"...
        graphs: forms of our graph that each of the other programs named is asked to run besides.

    Raises:
        ConfigError: a pattern names no program.
    """
    chosen: dict[str, Program] = {}
    for pattern in patterns:
        found = fnmatch.filter(PROGRAMS, pattern)
        if not found:
            raise ConfigError(f"No program is called '{pattern}'. {suggest(pattern, PROGRAMS)}")
        chosen.update((name, PROGRAMS[name]) for name in found)
    asked = [f"{name}:{graph}" for graph in graphs for name in chosen]
    chosen.update((name, PROGRAMS[name]) for name in asked if name in PROGRAMS)
    order = list(PROGRAMS)
    return sorted(chosen.values(), key=lambda one: order.index(one.name))
