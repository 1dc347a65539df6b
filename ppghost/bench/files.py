"""The model files that the compared programs read, all made from the same weights.

The exports of ours are made by `inside/artifacts.py`. Everything else starts at the stock export, or at one
of our other graphs where that is asked for: paddle2onnx writes ONNX, and MNN's and ncnn's converters read
that.

Door: imports environments, artifacts and the rock.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.artifact import read_artifact
from ppghost.bench.programs import TIMM_NAMES, Program
from ppghost.bench.workers import WorkerEnded, cpu_count, started_worker
from ppghost.environments import MNN, NCNN, PADDLE2ONNX, Environment, ensure_environment
from ppghost.errors import GhostError, ToolMissingError
from ppghost.export.paddle_inference import ENGINES

_LINES_OF_OUTPUT = 6
# MNN's own program `mnnconvert` installs a package into whatever Python is first on PATH, to report its use.
_MNN_CONVERTER = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
# Its launcher imports PyTorch only to start this program.
_NCNN_CONVERTER = (
    "import importlib.util, os, subprocess, sys; "
    "[folder] = importlib.util.find_spec('pnnx').submodule_search_locations; "
    "sys.exit(subprocess.call([os.path.join(folder, 'pnnx'), *sys.argv[1:]]))"
)


@dataclass(frozen=True)
class Subject:
    """A network that is measured.

    Attributes:
        model: name of its card.
        size: height and width of its input.
        weights: file with trained weights; None for random ones with calibrated batch norms, 1000 classes.
    """

    model: str
    size: int = 224
    weights: Optional[Path] = None


@dataclass
class ModelFiles:
    """Makes the files of one network on demand, each once.

    Attributes:
        subject: the network.
        folder: where they are put.
    """

    subject: Subject
    folder: Path
    _made: dict[str, Path] = field(default_factory=dict)
    _failed: dict[str, GhostError] = field(default_factory=dict)

    def artifact(self, graph: Optional[str]) -> Path:
        """Return the exported folder with a form of the graph; None for the default.

        Raises:
            GhostError: it cannot be made.
        """
        return self._once(f"artifact-{graph or 'default'}", lambda out: self._export(graph, out))

    def onnx(self, graph: str) -> Path:
        """Return the ONNX file that paddle2onnx makes of an exported folder.

        Raises:
            GhostError: it cannot be made.
        """
        return self._once(f"{graph}.onnx", lambda out: self._to_onnx(graph, out))

    def mnn(self, graph: str) -> Path:
        """Return MNN's file, made from the ONNX file.

        Raises:
            GhostError: it cannot be made.
        """
        return self._once(f"{graph}.mnn", lambda out: self._to_mnn(graph, out))

    def ncnn(self, graph: str) -> Path:
        """Return ncnn's graph file, made from the ONNX file; its weights lie beside it as `.bin`.

        Raises:
            GhostError: it cannot be made.
        """
        return self._once(f"{graph}.ncnn.param", lambda out: self._to_ncnn(graph, out))

    def job_of(self, program: Program, threads: int) -> tuple[dict[str, Any], list[Path]]:
        """Return what the program's worker is told, and the files that the network consists of.

        Raises:
            GhostError: its files cannot be made.
        """
        stock = self.artifact("stock")
        side = self.subject.size
        job: dict[str, Any] = {
            "part": "networks",
            "engine": program.engine,
            "threads": threads,
            "golden": str(stock / "golden.npz"),
            "input_shape": [3, side, side],
            "options": dict(program.options),
        }
        files: list[Path] = []
        graph = program.graph or "stock"
        if program.form == "artifact":
            folder = self.artifact(program.graph)
            job["artifact"] = str(folder)
            held = {model.format: model for model in read_artifact(folder).facts.models}
            forms = ENGINES[program.options.get("engine", "ghost")].forms
            model = next((held[form] for form in forms if form in held), next(iter(held.values())))
            files = [folder / model.graph, folder / (model.weights or "")]
        elif program.form == "paddle":
            folder = self.artifact(graph)
            model = read_artifact(folder).facts.model(str(program.options["form"]))
            files = [folder / model.graph, folder / (model.weights or "")]
        elif program.form == "ncnn":
            files = [self.ncnn(graph), self.ncnn(graph).with_suffix(".bin")]
        elif program.form == "timm":
            job["options"] = {
                "network": TIMM_NAMES[self.subject.model],
                "class_num": read_artifact(stock).facts.class_num,
            }
        else:
            files = [{"onnx": self.onnx, "mnn": self.mnn}[program.form](graph)]
        if files:
            job["file"], job["weights"] = str(files[0]), str(files[-1])
        return job, files

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        """Make a file or folder when it is asked for first; what failed once fails again the same way."""
        if name in self._failed:
            raise self._failed[name]
        path = self.folder / name
        if not path.exists():
            try:
                make(path)
            except GhostError as error:
                self._failed[name] = error
                raise
        return path

    def _export(self, graph: Optional[str], out: Path) -> None:
        subject = self.subject
        job, threads = {"part": "artifacts"}, cpu_count()
        try:
            with started_worker(job, Path(sys.executable), threads, is_ours=True) as worker:
                worker.hear()
                worker.ask(
                    model=subject.model,
                    graph=graph,
                    out=str(out),
                    size=subject.size,
                    weights=str(subject.weights) if subject.weights else None,
                )
        except WorkerEnded as error:
            raise ToolMissingError(
                f"{subject.model} with the graph '{graph or 'default'}' cannot be exported: {error}"
            ) from error

    def _to_onnx(self, graph: str, out: Path) -> None:
        model = read_artifact(self.artifact(graph)).facts.model("json")
        words = ["--model_dir", str(self.artifact(graph)), "--model_filename", model.graph]
        words += ["--params_filename", str(model.weights), "--save_file", str(out)]
        # Its default optimiser installs packages while it runs; engines optimise the graph by themselves.
        words += ["--optimize_tool", "None"]
        _convert(PADDLE2ONNX, ["-c", "from paddle2onnx.command import main; main()", *words], out)

    def _to_mnn(self, graph: str, out: Path) -> None:
        words = ["-f", "ONNX", "--modelFile", str(self.onnx(graph)), "--MNNModel", str(out)]
        _convert(MNN, ["-c", _MNN_CONVERTER, *words, "--bizCode", "ppghost"], out)

    def _to_ncnn(self, graph: str, out: Path) -> None:
        side, weights = self.subject.size, out.with_suffix(".bin")
        words = [str(self.onnx(graph)), f"inputshape=[1,3,{side},{side}]", "fp16=0"]
        words += [f"ncnnparam={out}", f"ncnnbin={weights}"]
        words += [f"{kind}={out}.{kind}" for kind in ("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnpy")]
        _convert(NCNN, ["-c", _NCNN_CONVERTER, *words], out)


def _convert(environment: Environment, words: Sequence[str], out: Path) -> None:
    """Run a converter in its environment.

    Raises:
        ToolMissingError: there is no such environment, or the converter wrote nothing.
    """
    python = ensure_environment(environment)
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [str(python), *words],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=variables,
        cwd=out.parent,
    )
    if result.returncode != 0 or not out.exists():
        output = (result.stdout + result.stderr).strip().splitlines()[-_LINES_OF_OUTPUT:]
        raise ToolMissingError(
            f"The converter of the environment '{environment.name}' wrote no {out.name} "
            f"(exit code {result.returncode}):\n" + "\n".join(output)
        )
