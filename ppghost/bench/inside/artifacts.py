"""Our exports, made in a process of their own: the one that measures stays small and quick.

The orders are

    model, graph, out, size, weights     export the network; `graph` None takes the default form

Without `weights` the batch norms take the statistics of pictures and noise, so that numbers have the size
that they have in a trained network: a chain of untrained layers fades away, and what is all but zero is slow
to compute.
"""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

_PICTURES = 8
_CLASS_NUM = 1000
_CLASSIFIER = "fc_1.bias"


def prepare(_: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., dict[str, Any]]]:
    """Import what exports."""
    import paddle

    paddle.set_device("cpu")
    return {"framework": f"paddle {paddle.__version__}"}, export


def export(model: str, graph: Optional[str], out: str, size: int, weights: Optional[str]) -> dict[str, Any]:
    """Export one network to the folder `out`; the same words give the same weights."""
    import paddle

    build_model = importlib.import_module("ppghost.zoo").build_model
    export_network = importlib.import_module("ppghost.export.paddle").export_network
    read_weights = importlib.import_module("ppghost.zoo.weights").read_weights
    class_num = len(read_weights(weights)[_CLASSIFIER]) if weights else _CLASS_NUM
    pipeline = pipeline_of(model, size)
    paddle.seed(0)
    with paddle.utils.unique_name.guard():
        net = build_model(model, class_num=class_num, pretrained=weights or False)
        if not weights:
            calibrate(net, size)
        export_network(
            net, Path(out), name=model, image_shape=(3, size, size), pipeline=pipeline, graph=graph
        )
    return {}


def pipeline_of(model: str, size: int) -> Any:
    """Return the evaluation pipeline of a model's card, for pictures of another size in proportion."""
    card = importlib.import_module("ppghost.zoo.card").get_card(model)
    transforms = card.eval_transforms()
    by_name = {name: parameters for step in transforms for name, parameters in step.items()}
    by_name["ResizeImage"]["resize_short"] = round(card.resize_short * size / card.input_shape[-1])
    by_name["CropImage"]["size"] = size
    return importlib.import_module("ppghost.vision").Pipeline.from_list(transforms)


def calibrate(net: Any, size: int) -> None:
    """Give every batch norm the statistics of one batch: half drawn pictures, half noise, as golden is."""
    import paddle

    shapes = importlib.import_module("ppghost.vision.shapes")
    rng = np.random.RandomState(0)
    drawn = [
        shapes.draw(name, size, rng) for name, _ in zip(itertools.cycle(shapes.CLASSES), range(_PICTURES))
    ]
    pictures = (np.stack(drawn).transpose(0, 3, 1, 2).astype(np.float32) - 118.0) / 58.0
    images = np.concatenate([pictures, rng.standard_normal(pictures.shape).astype(np.float32)])
    norms = [layer for layer in net.sublayers() if hasattr(layer, "_momentum")]
    before = [layer._momentum for layer in norms]
    for layer in norms:
        layer._momentum = 0.0
    net.train()
    with paddle.no_grad():
        net(paddle.to_tensor(images))
    net.eval()
    for layer, momentum in zip(norms, before):
        layer._momentum = momentum
        # A channel that hardly moved in this batch would blow up whatever another picture puts in it.
        layer._variance.set_value(paddle.maximum(layer._variance, layer._variance.mean()))
