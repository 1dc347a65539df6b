"""Paddle Inference in Python: the artifact of a trained network, run by the engines of Paddle's own wheel.

ppghost's own engine, `ghost`, runs it too and needs no Paddle: nothing here imports Paddle before it must.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ppghost.artifact import Artifact, ModelFile, check_artifact
from ppghost.errors import ArtifactError, GhostError, ToolMissingError, suggest
from ppghost.export.paddle_inference import (
    ENGINES,
    PaddlePredictor,
    Settings,
    check_engine,
    has_gpu_build,
)
from ppghost.export.target import MissingTool, check_tools
from ppghost.export.tuning import Tuning, Wish, recall, tune
from ppghost.machine import usable_processors
from ppghost.runtime import GhostPredictor
from ppghost.runtime.library import load_engine

if TYPE_CHECKING:
    from paddle import nn

    from ppghost.predict import Predictor

# Loaded by its path, this module has no name below ppghost's, where the command line listens.
_LOG = logging.getLogger("ppghost.deploy.paddle")
_LARGEST_BATCH = 32


class PaddleTarget:
    """Exports a network with both of Paddle's graph forms; opens any form with any engine that reads it."""

    name = "paddle"
    consumes = "network"
    # Measured over all widths: 2.4e-6 of the largest logit; the engines add up in another order, no more.
    atol = 1e-6
    rtol = 1e-5
    engine_rtol: Mapping[str, float] = {}

    def tools(self) -> Sequence[MissingTool]:
        """Return what is missing: nothing, or Paddle."""
        if importlib.util.find_spec("paddle") is not None:
            return ()
        return (MissingTool("paddlepaddle", "pip install 'paddlepaddle>=3.0,<3.4'"),)

    def export(self, source: nn.Layer, out: Path, **options: Any) -> Artifact:
        """Write the artifact of a network; options as in `ppghost.export.paddle.export_network`."""
        check_tools(self)
        from ppghost.export.paddle import export_network

        return export_network(source, out, **options)

    def open(
        self,
        artifact: Artifact,
        *,
        engine: Optional[str] = None,
        model_format: Optional[str] = None,
        threads: Optional[int] = None,
        precision: Optional[str] = None,
        batch_size: int = 1,
    ) -> Predictor:
        """Return a predictor.

        Args:
            artifact: of this target; its files are checked first.
            engine: a key of `ppghost.export.paddle_inference.ENGINES`. "auto" measures those that this
                machine has, once, and takes the fastest. None takes what "auto" found earlier, else the first
                that works of ghost, openvino, onednn and native.
            model_format: "json", "pdmodel" or "ghost"; None takes the one that the engine runs best.
            threads: how many the engine may use; None takes all processors that this process may use.
            precision: "fp32", "bf16" or "fp16"; None takes the engine's usual one, fp32.
            batch_size: the usual number of pictures in a run: "auto" measures with it, TensorRT tunes itself
                for it. Any number may come, with TensorRT up to the larger of 32 and this one.

        Raises:
            GhostError: there is no such engine, it has no such precision, or `threads` is below 1.
            ArtifactError: a file was changed, there is no such form, or this Paddle cannot read it.
            ToolMissingError: what the engine needs is not installed; the message says how to get it.
        """
        if engine not in (None, "auto", *ENGINES):
            given = suggest(str(engine), ["auto", *ENGINES])
            raise GhostError(f"Unknown engine '{engine}' of the target 'paddle'. {given}")
        named = ENGINES.get(engine or "auto")
        usual = "fp32" if named is None else named.precisions[0]
        threads = usable_processors() if threads is None else threads
        wish = Wish(threads, batch_size, precision or usual, model_format)
        for name, number in (("threads", wish.threads), ("batch_size", wish.batch_size)):
            if number < 1:
                raise GhostError(f"{name} is {number}; accepted: at least 1.")
        check_artifact(artifact)
        if engine == "auto":
            return self._open_fastest(artifact, wish)
        return _open_usual(artifact, wish) if engine is None else _open(artifact, engine, wish)

    def _open_fastest(self, artifact: Artifact, wish: Wish) -> Predictor:
        candidates = _candidates(artifact, wish)
        tuning = recall(artifact, wish, candidates)
        if tuning is not None:
            try:
                return _open_tuned(artifact, tuning, wish)
            except ToolMissingError as error:  # another machine of this kind has it
                _LOG.info("The engine %s is left out: %s", tuning.engine, error)
                candidates.remove(tuning.engine)
        options = dataclasses.asdict(wish)
        tuning = tune(artifact, {name: {"engine": name, **options} for name in candidates}, wish, self.rtol)
        return _open_tuned(artifact, tuning, wish)

    def variants(self, artifact: Artifact) -> Sequence[Mapping[str, Any]]:
        """Return every pair of form and engine of a CPU in fp32 that this machine has."""
        return [
            {"engine": name, "model_format": model.format, "threads": 1}
            for name in ("native", "onednn", "openvino", "ghost")
            for model in artifact.facts.models
            if model.format in ENGINES[name].forms and _is_here(name)
        ]


def _open_tuned(artifact: Artifact, tuning: Tuning, wish: Wish) -> Predictor:
    predictor = _open(artifact, tuning.engine, wish)
    _LOG.info("Engine %s, the fastest here: %s", tuning.engine, tuning)
    return predictor


def _open_usual(artifact: Artifact, wish: Wish) -> Predictor:
    """Return what "auto" found earlier, else the first engine that works.

    Raises:
        ToolMissingError: none does; the message says what each needs.
    """
    candidates = _candidates(artifact, wish)
    tuning = recall(artifact, wish, candidates)
    if tuning is not None:
        _LOG.info("As measured earlier: %s", tuning)
        candidates.sort(key=lambda name: name != tuning.engine)
    refusals = []
    for name in candidates:
        try:
            return _open(artifact, name, wish)
        except ToolMissingError as error:
            _LOG.info("The engine %s is passed over: %s", name, error)
            refusals.append(f"\n  {name}: {error}")
    raise ToolMissingError(f"No engine can run {artifact.facts.name} here:{''.join(refusals)}")


def _open(artifact: Artifact, engine: str, wish: Wish) -> Predictor:
    kind = ENGINES[engine]
    if wish.precision not in kind.precisions:
        others = [name for name, other in ENGINES.items() if wish.precision in other.precisions]
        there = f"; {wish.precision} is what {', '.join(others)} can do" if others else ""
        raise GhostError(
            f"The engine '{engine}' does not compute in {wish.precision}. "
            f"Accepted: {', '.join(kind.precisions)}{there}."
        )
    model = _model(artifact, engine, wish.model_format)
    graph, weights = artifact.path_of(model.graph), artifact.path_of(model.weights or "")
    if engine == "ghost":
        return GhostPredictor(graph, weights, wish.threads, wish.precision)
    check_engine(engine, wish.precision)
    settings = Settings(
        engine,
        wish.precision,
        wish.threads,
        artifact.facts.input_shape,
        usual_batch=wish.batch_size,
        largest_batch=max(_LARGEST_BATCH, wish.batch_size),
    )
    return PaddlePredictor(graph, weights, settings, model.input)


def _model(artifact: Artifact, engine: str, model_format: Optional[str]) -> ModelFile:
    """Return the form that an engine runs.

    Raises:
        ArtifactError: the artifact lacks it, or the engine does not read the one that is asked for.
    """
    forms = ENGINES[engine].forms
    if model_format is not None and model_format not in forms:
        raise ArtifactError(
            f"The engine '{engine}' does not read the form '{model_format}'. Accepted: {', '.join(forms)}."
        )
    held = {model.format for model in artifact.facts.models}
    wanted = [model_format] if model_format else [form for form in forms if form in held]
    return artifact.facts.model((wanted or forms)[0])


def _candidates(artifact: Artifact, wish: Wish) -> list[str]:
    """Return the engines that could run the artifact, the faster one of most CPUs first.

    Raises:
        ArtifactError: there is no such form.
        GhostError: no engine reads these forms in this precision.
    """
    artifact.facts.model(wish.model_format)
    held = {model.format for model in artifact.facts.models if wish.model_format in (None, model.format)}
    names = [
        name
        for name, engine in ENGINES.items()
        if wish.precision in engine.precisions and held.intersection(engine.forms)
        if has_gpu_build() or not engine.needs_gpu
    ]
    if not names:
        raise GhostError(
            f"No engine of this machine runs the forms {', '.join(sorted(held))} in {wish.precision}. "
            "Take --precision fp32, or name the engine: its refusal tells what it needs."
        )
    return names


def _is_here(engine: str) -> bool:
    """Say whether this machine has an engine of the CPU; the log tells why it has not."""
    try:
        if engine == "ghost":
            load_engine()
        else:
            check_engine(engine, "fp32")
    except ToolMissingError as error:
        _LOG.warning("The engine %s is not verified here: %s", engine, error)
        return False
    return True


TARGET = PaddleTarget()
