"""The model files that the compared programs read, all made from the same weights.

The exports of ours are made by `inside/artifacts.py`. Others start at what paddle2onnx writes of the stock
export, as it is; where one of our other graphs is asked for, at what `ppghost export --target onnx` writes.
MNN's and ncnn's converters read those.

Door: imports artifacts, engines' files, environments and the export room.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from ppghost.artifact import read_artifact
from ppghost.bench.programs import STOCK, TIMM_NAMES, Program
from ppghost.bench.workers import WorkerEnded, started_worker
from ppghost.engines.files import run_converter, to_mnn, to_ncnn
from ppghost.environments import PADDLE2ONNX
from ppghost.errors import GhostError, ToolMissingError
from ppghost.export.onnx import OnnxOptions, convert_to_onnx
from ppghost.export.paddle_inference import ENGINES
from ppghost.machine import usable_processors


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
        """Return the ONNX file of a form of the graph: of the stock one as paddle2onnx writes it, else ours.

        Raises:
            GhostError: it cannot be made.
        """
        return self._once(f"{graph}.onnx", lambda out: self._to_onnx(graph, out))

    def mnn(self, graph: str) -> Path:
        """Return MNN's file, made from the ONNX file.

        Raises:
            GhostError: it cannot be made.
        """
        return self._once(f"{graph}.mnn", lambda out: to_mnn(self.onnx(graph), out))

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
        stock = self.artifact(STOCK)
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
        graph = program.graph or STOCK
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
        job["files"] = [str(file) for file in files]
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
        job, threads = {"part": "artifacts"}, usable_processors()
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
        source = read_artifact(self.artifact(graph))
        if graph != STOCK:
            convert_to_onnx(source, out, OnnxOptions())
            return
        model = source.facts.model("json")
        words = ["--model_dir", str(source.folder), "--model_filename", model.graph]
        words += ["--params_filename", str(model.weights), "--save_file", str(out)]
        # Its default optimiser installs packages while it runs; engines optimise the graph by themselves.
        words += ["--optimize_tool", "None"]
        run_converter(PADDLE2ONNX, ["-c", "from paddle2onnx.command import main; main()", *words], out)

    def _to_ncnn(self, graph: str, out: Path) -> None:
        to_ncnn(self.onnx(graph), out, (3, self.subject.size, self.subject.size))
