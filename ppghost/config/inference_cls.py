"""PaddleClas' `inference_cls.yaml`: what each key of its Python prediction program means here.

Every key that PaddleClas' program reads is honoured or refused; the ones that it never reads, though they
stand in its file, are accepted and mean nothing here either: `Global.enable_benchmark` and
`PostProcess.SavePreLabel`.

Ground: no paddle; of ours only the rock, the schema vocabulary and the tables of `ppghost.vision`.
Source: PaddleClas `deploy/configs/inference_cls.yaml`, `deploy/python/predict_cls.py`,
`deploy/utils/predictor.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Optional, Union

from ppghost.config.bind import bind
from ppghost.config.loading import TransformOps
from ppghost.config.reader import apply_overrides, read_file
from ppghost.config.types import Choice, PositiveInt, Refused
from ppghost.vision.decode import DecodeImage

_DEVICE = Refused("this device is not served here; predict on it with PaddleClas itself.")
_BENCHMARK = Refused("times are measured by `ppghost bench`; remove the key.")


@dataclass(frozen=True)
class Global:
    """What runs, and on what.

    Attributes:
        infer_imgs: a picture, or a folder of them.
        inference_model_dir: a folder that ppghost or PaddleClas exported.
        batch_size: pictures in one run of the network.
        use_gpu: compute on the GPU.
        enable_mkldnn: on the CPU, compute with oneDNN.
        cpu_num_threads: threads of the network on the CPU; no more are used than there are processors.
        use_tensorrt: on the GPU, compute with TensorRT.
        use_fp16: with TensorRT, compute in half precision.
        ir_optim: let Paddle fuse operators.
        gpu_mem: megabytes that Paddle takes of the GPU's memory at once.
        use_onnx: run the folder's `inference.onnx` by ONNX Runtime, on the CPU.
        engine: one of ours, such as "ghost", "openvino" or "auto", in the place of what use_gpu and
            enable_mkldnn choose. Not in PaddleClas.
    """

    infer_imgs: str
    inference_model_dir: str
    batch_size: PositiveInt = 1
    use_gpu: bool = False
    enable_mkldnn: bool = False
    cpu_num_threads: PositiveInt = 10
    use_tensorrt: bool = False
    use_fp16: bool = False
    ir_optim: bool = True
    gpu_mem: PositiveInt = 8000
    use_onnx: bool = False
    engine: Optional[str] = None

    refused_keys: ClassVar[Mapping[str, Refused]] = {
        "enable_benchmark": Refused("PaddleClas never reads it; write True or False.", (None, False, True)),
        "enable_profile": Refused("a profile is recorded by PaddleClas itself; write False."),
        "use_int8": Refused("quantised networks are not served here; write False."),
        "use_npu": _DEVICE,
        "use_xpu": _DEVICE,
        "use_mlu": _DEVICE,
        "benchmark": _BENCHMARK,
        "save_log_path": _BENCHMARK,
        "model_name": _BENCHMARK,
    }

    def __post_init__(self) -> None:
        if self.use_tensorrt and not self.use_gpu:
            raise ValueError("use_tensorrt needs a GPU; set use_gpu=True with it, or use_tensorrt=False")
        if self.use_fp16 and not self.use_tensorrt:
            raise ValueError("use_fp16 is TensorRT's; set use_tensorrt=True with it, or use_fp16=False")
        if self.use_onnx and (self.use_gpu or self.engine is not None):
            raise ValueError("use_onnx is ONNX Runtime on the CPU; set use_gpu=False, and no engine with it")
        if self.engine is not None and (self.use_gpu or not self.ir_optim):
            raise ValueError("engine chooses by itself; set use_gpu=False and ir_optim=True with it")


@dataclass(frozen=True)
class PreProcess:
    """From a decoded picture, RGB, to the network's input."""

    transform_ops: TransformOps

    def __post_init__(self) -> None:
        if any(isinstance(op, DecodeImage) for op in self.transform_ops):
            raise ValueError("the program decodes pictures before transform_ops; remove DecodeImage")


@dataclass(frozen=True)
class Topk:
    """Name the most probable classes.

    Attributes:
        topk: how many.
        class_id_map_file: file of lines "id name".
        delimiter: what parts id and name in that file; None means one space.
        label_list: the names in order, in the place of a file; a list, or a mapping id -> name.
    """

    topk: PositiveInt = 1
    class_id_map_file: Optional[str] = None
    delimiter: Optional[str] = None
    label_list: Optional[Union[tuple[str, ...], Mapping[str, str]]] = None


@dataclass(frozen=True)
class SavePreLabel:
    """What PaddleClas' program for classes never does, though its configuration names a folder for it."""

    save_dir: Optional[str] = None


@dataclass(frozen=True)
class PostProcess:
    """From probabilities to what is printed."""

    Topk: Topk
    main_indicator: Annotated[str, Choice(("Topk",))] = "Topk"
    SavePreLabel: Optional[Any] = None


@dataclass(frozen=True)
class InferenceCls:
    """The whole file."""

    Global: Global
    PreProcess: PreProcess
    PostProcess: PostProcess


def load_inference_cls(path: Union[str, Path], overrides: Iterable[str] = ()) -> InferenceCls:
    """Read PaddleClas' file, apply overrides and check everything.

    Args:
        path: the YAML file.
        overrides: `Global.use_gpu=False`, applied in order.

    Raises:
        ConfigError: the file cannot be read, or something in it cannot be honoured; a line for each problem.
    """
    checked: InferenceCls = bind(apply_overrides(read_file(path), overrides), InferenceCls)
    return checked
