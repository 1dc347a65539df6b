"""What VastStream's compiler `vamc` reads in both generations, and where its compiled files are.

    vacc_code   `vamc build FILE`, makes <model>-<precision>-3_224_224-vacc/<model>.so, .json, .params
    build_in    `vamc compile FILE`, makes <name>/mod.so, .json, .params

Source: the published configurations of ghostnet_100 in Vastai/VastModelZOO, in its first and second edition.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import yaml

from ppghost.errors import ConfigError, ToolMissingError
from ppghost.vision.normalize import Triple

VACC_CODE, BUILD_IN = "vacc_code", "build_in"
CALIBRATIONS = ("percentile", "kl_divergence")
WORKSPACE = "./deploy_weights/"
# How many pictures the published configurations calibrate with.
_PICTURES = {VACC_CODE: 1000, BUILD_IN: 50}
_VERBS = {VACC_CODE: "build", BUILD_IN: "compile"}
REMEDY = "It comes with VastStream's SDK, on a machine that VastaiTech supports; this project has none of it."


@dataclass(frozen=True)
class Build:
    """One compilation of a network.

    Attributes:
        name: of the network, "ghostnet_100".
        onnx: path of the ONNX file, as the compiler finds it.
        input: name of its input.
        shape: batch, channels, height, width.
        needs_softmax: whether the compiler has to put softmax behind the network.
        resize: length of both sides of a calibration picture before its centre is cut out.
        mean: of the channels R, G, B of levels from 0 to 1.
        std: the deviation.
        calibration: how int8 is calibrated, "percentile" or "kl_divergence"; None compiles to fp16.
        pictures: folder of the pictures to calibrate with.
        suffix: of the calibration pictures, without dot.
    """

    name: str
    onnx: str
    input: str
    shape: tuple[int, int, int, int]
    needs_softmax: bool
    resize: int
    mean: Triple
    std: Triple
    calibration: Optional[str]
    pictures: str
    suffix: str = "JPEG"

    @property
    def full_name(self) -> str:
        """Name and precision: "ghostnet_100-int8-percentile"."""
        return f"{self.name}-{self._precision}" + (f"-{self.calibration}" if self.calibration else "")

    @property
    def _precision(self) -> str:
        return "int8" if self.calibration else "fp16"

    def vacc_code(self) -> dict[str, Any]:
        """Return the content of the first generation's YAML."""
        return {
            "model": {
                "name": self.name,
                "inputs": {self.input: list(self.shape)},
                "checkpoint": self.onnx,
            },
            "engine": {
                "type": "vacc",
                "common": {"do_quantization": self.calibration is not None},
                "add_extra_ops_to_graph": {"type": "softmax" if self.needs_softmax else None},
                # Without quantisation the published configurations name a mode all the same.
                "calibration": {"quant_mode": self.calibration or CALIBRATIONS[0], "per_channel": True},
            },
            "dataset": {
                "path": self.pictures,
                "sampler": self._sampler(VACC_CODE),
                "transform_ops": self._steps(),
            },
            "workspace": {"work_dir": WORKSPACE, "enable_ir": False, "save_log": False},
        }

    def build_in(self) -> dict[str, Any]:
        """Return the content of the second generation's YAML."""
        extra = {"graph": {"extra_ops": {"type": "softmax"}}} if self.needs_softmax else {}
        return {
            "name": self.full_name,
            "frontend": {
                "shape": {self.input: list(self.shape)},
                "type": "onnx",
                "checkpoint": self.onnx,
                "dtype": "fp32",
            },
            "backend": {
                "type": "tvm_vacc",
                "dtype": self._precision,
                "compile": {"cluster_mode": 0},
                "quantize": {
                    "calibrate_mode": self.calibration or CALIBRATIONS[0],
                    "quantize_per_channel": True,
                },
            },
            **extra,
            "dataset": {
                "type": "tvm",
                "path": self.pictures,
                "sampler": self._sampler(BUILD_IN),
                "process_ops": self._steps(),
            },
            "workspace": {"path": WORKSPACE},
        }

    def _sampler(self, generation: str) -> dict[str, Any]:
        return {"suffix": self.suffix, "get_data_num": _PICTURES[generation]}

    def _steps(self) -> list[dict[str, Any]]:
        return [
            {"type": "DecodeImage"},
            {"type": "Resize", "size": [self.resize, self.resize]},
            {"type": "CenterCrop", "crop_size": list(self.shape[2:])},
            {"type": "Normalize", "mean": list(self.mean), "std": list(self.std)},
            {"type": "ToTensor"},
        ]

    def compiled(self, generation: str) -> str:
        """Return the common beginning of the paths of the compiled files, which `vamp -m` takes."""
        if generation == BUILD_IN:
            return f"{WORKSPACE}{self.full_name}/mod"
        # The first generation's compiler names the folder itself.
        mode = self.calibration or "none"
        sides = "_".join(map(str, self.shape[1:]))
        return f"{WORKSPACE}{self.name}-{self._precision}-{mode}-{sides}-vacc/{self.name}"

    def model_info(self) -> dict[str, str]:
        """Return the content of the file that tells sample_cls.py where the compiled files are."""
        prefix = self.compiled(VACC_CODE)
        return {
            "model_name": self.name,
            "model_lib_path": f"{prefix}.so",
            "model_graph_path": f"{prefix}.json",
            "model_params_path": f"{prefix}.params",
            "hw_config_file": "hw_conf.bin",
        }


def yaml_text(build: Build, generation: str) -> str:
    """Return the YAML file of a generation."""
    tree = build.vacc_code() if generation == VACC_CODE else build.build_in()
    # As published: lists on one line in the first generation, an item a line in the second.
    style = None if generation == VACC_CODE else False
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=style, allow_unicode=True, width=1000)


def info_text(build: Build) -> str:
    """Return the file of `Build.model_info`."""
    return json.dumps(build.model_info(), indent=4, ensure_ascii=False)


def generation_of(path: Path) -> str:
    """Return the generation of a YAML file.

    Raises:
        ConfigError: it cannot be read, or is of none.
    """
    try:
        tree = yaml.safe_load(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"The configuration '{path}' cannot be read: {error}.") from error
    keys = set(tree) if isinstance(tree, Mapping) else set()
    if {"model", "engine"} <= keys:
        return VACC_CODE
    if {"frontend", "backend"} <= keys:
        return BUILD_IN
    raise ConfigError(
        f"'{path}' is no configuration of vamc: it has neither 'model' and 'engine' nor 'frontend' and "
        "'backend'. Write one: vaststream.py bundle"
    )


def vamc_command(path: Path) -> list[str]:
    """Return the words of the command that compiles a configuration.

    Raises:
        ConfigError: the file is no configuration.
    """
    return ["vamc", _VERBS[generation_of(path)], str(path)]


def is_installed() -> bool:
    """Say whether `vamc` is on PATH."""
    return shutil.which("vamc") is not None


def compile_model(command: list[str], folder: Path) -> None:
    """Run `vamc` in a folder, from which its paths count; what it prints goes to the terminal.

    Raises:
        ToolMissingError: it is not installed, or it failed.
    """
    if not is_installed():
        raise ToolMissingError(f"vamc is not on PATH. {REMEDY}")
    code = subprocess.run(command, cwd=folder, check=False).returncode
    if code:
        raise ToolMissingError(f"vamc ended with code {code}. The command was: {' '.join(command)}")
