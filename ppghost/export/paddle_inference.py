"""Paddle Inference: its engines as data, and the predictor that runs a graph with one of them.

An engine is a list of calls on `paddle.inference.Config`. The list is made without Paddle, so the settings of
hardware that is not at hand can be read and tested. Paddle is imported when an engine is checked or opened.
"""

from __future__ import annotations

import enum
import hashlib
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppghost.cache import cache_dir, make_folder
from ppghost.errors import ArtifactError, GhostError, ToolMissingError
from ppghost.files import sha256_of
from ppghost.machine import cpu_flags
from ppghost.runtime.predictor import PRECISIONS as GHOST_PRECISIONS

_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # the last one is ARM's
_GPU_REMEDY = (
    "On a machine with an NVIDIA GPU install the wheel 'paddlepaddle-gpu' in the place of 'paddlepaddle', "
    "from the index that Paddle's installation page names for your CUDA."
)


@dataclass(frozen=True)
class Engine:
    """What an engine takes.

    Attributes:
        forms: the forms of a graph that it reads, the better one first.
        precisions: what it computes in, the usual one first.
        needs_gpu: whether it runs on a GPU.
    """

    forms: tuple[str, ...]
    precisions: tuple[str, ...] = ("fp32",)
    needs_gpu: bool = False


# The fastest one of a CPU first, as measured. oneDNN loads a pdmodel in a third of the time of a json, but in
# bf16 it fails in Paddle 3.3 where a convolution of a pdmodel has a bias (elementwise_add).
ENGINES: Mapping[str, Engine] = {
    "ghost": Engine(("ghost",), GHOST_PRECISIONS),
    "openvino": Engine(("pdmodel",), ("fp32", "bf16")),
    "onednn": Engine(("pdmodel", "json")),
    "onednn_bf16": Engine(("json",), ("bf16",)),
    "native": Engine(("json", "pdmodel")),
    "tensorrt": Engine(("pdmodel",), ("fp32", "fp16"), needs_gpu=True),
    "gpu": Engine(("json", "pdmodel"), needs_gpu=True),
}


class PaddlePrecision(enum.Enum):
    """Paddle's names of the precisions, `paddle.inference.PrecisionType`."""

    FP32 = "Float32"
    FP16 = "Half"
    BF16 = "Bfloat16"


@dataclass(frozen=True)
class Call:
    """One call on `paddle.inference.Config`; a `PaddlePrecision` in `named` stands for Paddle's own value."""

    name: str
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How a graph is run.

    Attributes:
        engine: a key of `ENGINES`, but not "ghost", which is no engine of Paddle.
        precision: one of the engine's.
        threads: of the CPU.
        input_shape: channels, height, width of one picture; OpenVINO and TensorRT build for it.
        usual_batch: for how many pictures TensorRT tunes itself.
        largest_batch: the most pictures in one run of TensorRT; it keeps memory for them.
        workspace_bytes: memory that TensorRT may use while it builds.
        smallest_subgraph: fewer operators than this stay with Paddle instead of going to TensorRT.
        gpu_memory_mb: what Paddle takes of the GPU's memory at once.
        optimizes_graph: whether Paddle may fuse operators; False is for finding faults.
    """

    engine: str
    precision: str = "fp32"
    threads: int = 1
    input_shape: tuple[int, ...] = (3, 224, 224)
    usual_batch: int = 1
    largest_batch: int = 32
    workspace_bytes: int = 1 << 30
    smallest_subgraph: int = 3
    gpu_memory_mb: int = 500
    optimizes_graph: bool = True

    def calls(self, input_name: str, cache: Path) -> tuple[Call, ...]:
        """Return the calls that set Paddle up.

        Args:
            input_name: the graph's input.
            cache: a folder that exists, for what the engine builds.
        """
        # enable_memory_optim is never among them: with the json form every Paddle 3 fails on it.
        common = (
            Call("disable_glog_info"),
            Call("set_cpu_math_library_num_threads", (self.threads,)),
            Call("switch_ir_optim", (self.optimizes_graph,)),
        )
        if ENGINES[self.engine].needs_gpu:
            return (*common, *self._gpu_calls(input_name, cache))
        return (Call("disable_gpu"), *common, *self._cpu_calls(cache))

    def _cpu_calls(self, cache: Path) -> tuple[Call, ...]:
        precision = PaddlePrecision[self.precision.upper()]
        if self.engine == "openvino":
            named = {"inference_precision": precision}
            return Call("set_optim_cache_dir", (str(cache),)), Call("enable_openvino_engine", (), named)
        if self.engine == "native":
            return (Call("disable_onednn"),)
        bf16 = (Call("enable_onednn_bfloat16"),) if precision is PaddlePrecision.BF16 else ()
        # As many input sizes as PaddleClas keeps prepared; without a limit memory grows with every new one.
        return Call("set_onednn_cache_capacity", (10,)), Call("enable_onednn"), *bf16

    def _gpu_calls(self, input_name: str, cache: Path) -> tuple[Call, ...]:
        gpu = Call("enable_use_gpu", (self.gpu_memory_mb, 0))
        if self.engine == "gpu":
            return (gpu,)
        engine = {
            "workspace_size": self.workspace_bytes,
            "max_batch_size": self.largest_batch,
            "min_subgraph_size": self.smallest_subgraph,
            "precision_mode": PaddlePrecision[self.precision.upper()],
            "use_static": True,  # what was built is stored, and the next start reads it
            "use_calib_mode": False,
        }
        batches = {"min": 1, "max": self.largest_batch, "optim": self.usual_batch}
        shapes = {
            f"{name}_input_shape": {input_name: [batch, *self.input_shape]} for name, batch in batches.items()
        }
        return (
            gpu,
            Call("set_optim_cache_dir", (str(cache),)),
            Call("enable_tensorrt_engine", (), engine),
            Call("set_trt_dynamic_shape_info", (), shapes),
        )


def check_engine(engine: str, precision: str) -> None:
    """Make sure that this machine has what an engine of Paddle needs.

    Raises:
        GhostError: the CPU cannot compute in that precision.
        ToolMissingError: Paddle, or the build of it that the engine needs, is missing; or there is no GPU.
    """
    if precision == "bf16" and not set(_BF16_FLAGS) & cpu_flags():
        raise GhostError(
            f"This CPU has no bf16 arithmetic (it tells none of {', '.join(_BF16_FLAGS)}). "
            "Take --precision fp32."
        )
    package = importlib.util.find_spec("paddle")
    if package is None or package.origin is None:
        raise ToolMissingError(f"The engine '{engine}' needs Paddle: pip install 'paddlepaddle>=3.0,<3.4'")
    libraries = Path(package.origin).parent / "libs"
    if engine == "openvino" and not any(libraries.glob("*openvino*cpu_plugin*")):
        raise ToolMissingError(
            "This build of Paddle carries no OpenVINO; Paddle's wheel for x86-64 Linux does. "
            "Take onednn or native."
        )
    if ENGINES[engine].needs_gpu:
        _check_gpu(engine)


def has_gpu_build() -> bool:
    """Say whether the installed Paddle is the wheel for GPUs; Paddle itself is not imported."""
    try:
        importlib.metadata.version("paddlepaddle-gpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_gpu(engine: str) -> None:
    import paddle

    if not paddle.is_compiled_with_cuda():
        raise ToolMissingError(
            f"The engine '{engine}' needs a GPU, and this Paddle is CPU only. {_GPU_REMEDY}"
        )
    if paddle.device.cuda.device_count() == 0:
        raise ToolMissingError(
            f"The engine '{engine}' needs a GPU, and Paddle finds none. Check the driver (nvidia-smi) and "
            "CUDA_VISIBLE_DEVICES, or take an engine of the CPU."
        )
    if engine != "tensorrt":
        return
    if paddle.inference.get_trt_compile_version() == (0, 0, 0):
        raise ToolMissingError(f"This Paddle was built without TensorRT. {_GPU_REMEDY}")
    if paddle.inference.get_trt_runtime_version() == (0, 0, 0):
        built = ".".join(map(str, paddle.inference.get_trt_compile_version()))
        raise ToolMissingError(
            f"TensorRT's libraries are missing; this Paddle was built with {built}. "
            f"Install them (pip install 'tensorrt=={built}.*', or NVIDIA's package) and put their folder on "
            "LD_LIBRARY_PATH."
        )


class PaddlePredictor:
    """A predictor of Paddle Inference; see `ppghost.predict.Predictor`.

    It has no `clone`, on purpose: Paddle holds Python's lock while it computes, so a second one would gain
    nothing, and in Paddle 3.3 the release of a clone takes the weights of a pdmodel from its original.

    Args:
        graph: the graph's file, .json or .pdmodel.
        weights: its .pdiparams.
        settings: how to run it; `check_engine` has passed.
        input_name: the graph's input, which TensorRT wants to know beforehand.

    Attributes:
        engine: a key of `ENGINES`.
        precision: the numbers that it computes with.

    Raises:
        ArtifactError: Paddle cannot load the files.
        OutputError: the cache, in which TensorRT keeps what it builds, cannot be written.
    """

    def __init__(self, graph: Path, weights: Path, settings: Settings, input_name: str = "x") -> None:
        from paddle import inference

        self._graph, self._settings = graph, settings
        self.engine, self.precision = settings.engine, settings.precision
        config = inference.Config(str(graph), str(weights))
        with ExitStack() as stack:
            # OpenVINO writes a copy of the network whenever it loads one, and reading that is no faster.
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ppghost-")))
            if settings.engine == "tensorrt":
                cache = make_folder(_engine_cache(settings, graph, weights))
            for call in settings.calls(input_name, cache):
                _apply(config, call, inference.PrecisionType)
            try:
                self._predictor = inference.create_predictor(config)
            except (RuntimeError, ValueError, OSError) as error:
                raise ArtifactError(_explained(graph, error)) from error
        # A graph has one input and one output.
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, class_num]` for `float32 [N, 3, H, W]`.

        Raises:
            GhostError: the pictures have another size than the graph was exported for, or Paddle fails.
        """
        # OpenVINO's engine in Paddle swallows its own refusals and gives the last answer once more.
        shape = self._settings.input_shape
        if images.ndim != 4 or images.shape[1:] != shape:
            raise GhostError(f"The network got {list(images.shape)}; accepted: [N, {str(list(shape))[1:]}.")
        self._input.copy_from_cpu(np.ascontiguousarray(images, dtype=np.float32))
        try:
            self._predictor.run()
        except (RuntimeError, ValueError, OSError) as error:
            raise GhostError(
                f"Paddle's engine '{self._settings.engine}' fails on {self._graph}: {_last_lines(error)} "
                "Take another --engine."
            ) from error
        output: np.ndarray = self._output.copy_to_cpu()
        return output

    def __enter__(self) -> PaddlePredictor:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Release the network's memory; OpenVINO's engine in Paddle keeps its own until the process ends."""
        del self._input, self._output, self._predictor


def _engine_cache(settings: Settings, graph: Path, weights: Path) -> Path:
    """Return the folder in the cache for what an engine builds of these files with these settings."""
    content = repr((settings, sha256_of(graph), sha256_of(weights)))
    return cache_dir() / settings.engine / hashlib.sha256(content.encode()).hexdigest()[:16]


def _apply(config: Any, call: Call, precisions: Any) -> None:
    """Make one call; Paddle before 3.1 knows oneDNN by its old name only."""
    name = call.name if hasattr(config, call.name) else call.name.replace("onednn", "mkldnn")
    named = {
        key: getattr(precisions, value.value) if isinstance(value, PaddlePrecision) else value
        for key, value in call.named.items()
    }
    getattr(config, name)(*call.arguments, **named)


def _explained(graph: Path, error: Exception) -> str:
    return (
        f"Paddle cannot load {graph}: {_last_lines(error)} "
        "An older Paddle cannot read a newer json form; the pdmodel form it can."
    )


def _last_lines(error: Exception) -> str:
    """Return what Paddle says at the end: the hint, and the operator where it names one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[-2:])
