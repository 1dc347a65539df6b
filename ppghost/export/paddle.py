"""From a network to Paddle's static graph files: inference.json, inference.pdmodel and their weights.

Paddle 3 reads the json form (its new intermediate representation); Paddle 2, Paddle Lite and Paddle Serving
read the pdmodel form. Both are traced from one converted copy of the network (see `ppghost.export.fuse`), and
both read the same weights file.
"""

from __future__ import annotations

import filecmp
import platform
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
import paddle
from paddle import Tensor, nn

import ppghost
from ppghost.artifact import (
    SCHEMA,
    Artifact,
    Facts,
    ModelFile,
    digest_of,
    placed,
    read_artifact,
    shippable,
    write_artifact,
)
from ppghost.errors import VerificationError
from ppghost.export.fuse import fastest_graph, to_graph
from ppghost.export.golden import make_golden
from ppghost.export.program import write_program
from ppghost.export.target import Target, load_target
from ppghost.export.verify import verify
from ppghost.nets.ghostnet import GhostNet
from ppghost.vision import Labels, Pipeline

INPUT_NAME = "x"
STEM = "inference"
# Tracing switches Paddle's mode for the whole process.
_TRACING = threading.Lock()


class _Shipped(nn.Layer):
    """A network with the last step that devices should not have to do."""

    def __init__(self, net: nn.Layer, *, softmax: bool) -> None:
        super().__init__()
        self.net = net
        self._softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities, or logits, `float32 [N, class_num]`."""
        logits = self._logits(x)
        return nn.functional.softmax(logits, axis=-1) if self._softmax else logits

    # Tracing records what Python runs; rewriting all of its source first takes twice as long again and serves
    # only networks that branch on values, which no device could follow anyway.
    @paddle.jit.not_to_static
    def _logits(self, x: Tensor) -> Tensor:
        return self.net(x)


def export_network(
    net: nn.Layer,
    out: Path,
    *,
    name: str,
    image_shape: Sequence[int],
    pipeline: Pipeline,
    labels: Optional[Labels] = None,
    topk: int = 5,
    softmax: bool = True,
    graph: Optional[str] = None,
) -> Artifact:
    """Write the artifact of a network to `out` and prove that it computes what the network computes.

    The files have PaddleClas' names and the input is called `x`. The artifact appears in `out` only after
    both forms have given the outputs of `net`; until then, and on any error, `out` is as it was.

    Args:
        net: the trained network, `float32 [N, 3, H, W]` to logits `float32 [N, class_num]`. Its weights,
            gradients and mode stay as they are (the mode is switched for a moment: do not train meanwhile).
        out: a folder that is missing, empty, or holds an earlier export, which is replaced as a whole.
        name: name of the model.
        image_shape: channels, height, width of one picture; the batch size stays open.
        pipeline: from picture bytes to one input row, as in evaluation.
        labels: names of the classes, one for each; None if they have none.
        topk: how many classes an answer names; cut to the number of classes.
        softmax: give probabilities instead of logits.
        graph: one of `ppghost.artifact.GRAPHS`; None takes the one that measures fastest for this network.
            It is recorded in the artifact. Golden holds the outputs of `net` itself in any case.

    Raises:
        GhostError: `net` has no such graph.
        ArtifactError: pipeline or labels do not fit the network, or its outputs are not finite.
        OutputError: `out` cannot be written, or holds files that no export wrote.
        VerificationError: a written form does not give the network's outputs.
    """
    target = load_target("paddle")
    graph = fastest_graph(net) if graph is None else graph
    pipeline = shippable(pipeline)
    with placed(out) as folder:
        with _TRACING:
            golden = make_golden(NetworkPredictor(net), pipeline, image_shape)
            models = _save(net, folder, image_shape, graph=graph, softmax=softmax)
        if type(net) is GhostNet and graph != "stock":  # our engine knows these weights
            models = (*models, _save_program(net, folder, models[0], softmax=softmax))
        class_num = len(golden.picture_logits)
        facts = Facts(
            schema=SCHEMA,
            target="paddle",
            name=name,
            version=digest_of(folder / f"{STEM}.pdiparams").sha256[:12],
            input_shape=(image_shape[0], image_shape[1], image_shape[2]),
            class_num=class_num,
            output="probabilities" if softmax else "logits",
            graph=graph,
            models=models,
            tools=_tool_versions(),
        )
        draft = Artifact(folder, facts, pipeline, labels, topk=min(topk, class_num))
        _prove(target, write_artifact(draft, golden))
    return read_artifact(out)


def _prove(target: Target, artifact: Artifact) -> None:
    """Verify; where a converted graph fails, say how the network is exported without the conversion.

    Raises:
        VerificationError: a written form does not give the network's outputs.
    """
    try:
        verify(target, artifact)
    except VerificationError as error:
        if artifact.facts.graph == "stock":
            raise
        raise VerificationError(
            f"{error}\nThe graph '{artifact.facts.graph}' adds up in another order than the network. Where "
            "that shows, the network's maps come near the limits of float32, mostly because its batch norms "
            "saw too little training. Train longer, or export the graph as it was trained: --graph stock"
        ) from error


class NetworkPredictor:
    """A network in memory as a predictor (see `ppghost.predict.Predictor`) that gives logits.

    Each call puts the network into evaluation mode, and every layer back into its own mode afterwards.

    Args:
        net: `float32 [N, 3, H, W]` to logits `float32 [N, class_num]`.
    """

    def __init__(self, net: nn.Layer) -> None:
        self._net = net

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return `float32 [N, class_num]`."""
        modes = [(layer, layer.training) for layer in self._net.sublayers(include_self=True)]
        self._net.eval()
        try:
            with paddle.no_grad():
                return np.asarray(self._net(paddle.to_tensor(images)))
        finally:
            for layer, mode in modes:
                layer.training = mode

    def __enter__(self) -> NetworkPredictor:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: the network belongs to the caller."""


def _save(
    net: nn.Layer, folder: Path, image_shape: Sequence[int], *, graph: str, softmax: bool
) -> tuple[ModelFile, ...]:
    """Write both forms and their one weights file into `folder`.

    Raises:
        OSError: the disk is full.
        VerificationError: Paddle gave the two forms different weights.
    """
    with paddle.utils.unique_name.guard():
        shipped = to_graph(net, graph)
        static = _static(_Shipped(shipped, softmax=softmax), image_shape)
        paddle.jit.save(static, str(folder / STEM))
        static = _static(_Shipped(shipped, softmax=softmax), image_shape)
        with paddle.pir_utils.OldIrGuard():  # in it Paddle 3 traces and writes what Paddle 2 reads
            paddle.jit.save(static, str(folder / "old" / STEM))
    weights, twin = folder / f"{STEM}.pdiparams", folder / "old" / f"{STEM}.pdiparams"
    is_same = filecmp.cmp(weights, twin, shallow=False)
    if is_same:
        twin.unlink()
    _check_space(folder, weights.stat().st_size + 1)
    if not is_same:
        raise VerificationError(
            f"Paddle {paddle.__version__} wrote different weights for the json and the pdmodel form. "
            "Install the Paddle version of ppghost's requirements and export again."
        )
    (folder / "old" / f"{STEM}.pdmodel").rename(folder / f"{STEM}.pdmodel")
    (folder / "old" / f"{STEM}.pdiparams.info").unlink()  # names for fine-tuning; nothing that runs reads it
    (folder / "old").rmdir()
    return _model_file(folder, "json"), _model_file(folder, "pdmodel")


def _save_program(net: GhostNet, folder: Path, paddles: ModelFile, *, softmax: bool) -> ModelFile:
    """Write the form of ppghost's own engine, which reads the weights file of Paddle's forms."""
    weights = f"{STEM}.pdiparams"
    write_program(net, folder / weights, folder / f"{STEM}.ghost", softmax=softmax)
    return ModelFile("ghost", f"{STEM}.ghost", weights, paddles.input, paddles.output)


def _static(shipped: nn.Layer, image_shape: Sequence[int]) -> nn.Layer:
    """Return `shipped` ready for `paddle.jit.save`, which traces it: call this outside of OldIrGuard."""
    shipped.eval()
    spec = paddle.static.InputSpec([None, *image_shape], "float32", INPUT_NAME)
    return paddle.jit.to_static(shipped, input_spec=[spec], full_graph=True)


def _check_space(folder: Path, size_bytes: int) -> None:
    """Write as many bytes once more: on a full disk Paddle writes short files in silence, Python raises."""
    probe = folder / "probe"
    probe.write_bytes(bytes(size_bytes))
    probe.unlink()


def _model_file(folder: Path, model_format: str) -> ModelFile:
    """Return the facts of one form; the tensor names are asked of Paddle, which chooses the output's."""
    graph, weights = f"{STEM}.{model_format}", f"{STEM}.pdiparams"
    config = paddle.inference.Config(str(folder / graph), str(folder / weights))
    config.disable_gpu()
    config.disable_glog_info()
    config.switch_ir_optim(False)
    predictor = paddle.inference.create_predictor(config)
    [input_name], [output_name] = predictor.get_input_names(), predictor.get_output_names()
    return ModelFile(model_format, graph, weights, input_name, output_name)


def _tool_versions() -> dict[str, str]:
    return {
        "ppghost": ppghost.__version__,
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
    }
