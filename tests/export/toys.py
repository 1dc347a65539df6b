"""A toy network and its pipeline; everything small, nothing trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppghost.artifact import Artifact
from ppghost.vision import Labels, Pipeline

SIZE = 32
CLASS_NUM = 7


class Toy(nn.Layer):
    """Convolution, batch norm, dropout, linear layer: every kind of state that an export may disturb."""

    def __init__(self, class_num: int = CLASS_NUM, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2D(width)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(width * 4 * 4, class_num)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = nn.functional.relu(self.norm(self.conv(x)))
        x = nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)
        return self.fc(self.dropout(x))


def calibrated(net: nn.Layer, size: int = SIZE) -> nn.Layer:
    """Return `net` in training mode with batch statistics that fit its weights, as after training."""
    net.train()
    with paddle.no_grad():
        for _ in range(12):
            net(paddle.randn([8, 3, size, size]))
    return net


def make_toy(seed: int, **kwargs: int) -> nn.Layer:
    paddle.seed(seed)
    return calibrated(Toy(**kwargs))


def pipeline_of(size: int) -> Pipeline:
    return Pipeline.from_list(
        [
            {"DecodeImage": {"to_rgb": True, "channel_first": False}},
            {"ResizeImage": {"resize_short": size + size // 8}},
            {"CropImage": {"size": size}},
            {"NormalizeImage": {"scale": "1.0/255.0", "order": ""}},
        ]
    )


PIPELINE = pipeline_of(SIZE)
LABELS = Labels(dict(enumerate("ant bee cat dog elk fox 山羊".split())))


def export_toy(net: nn.Layer, out: Path, **changes: object) -> Artifact:
    from ppghost.export.paddle import export_network

    options = {"name": "Toy", "image_shape": (3, SIZE, SIZE), "pipeline": PIPELINE, "labels": LABELS}
    return export_network(net, out, **{**options, **changes})


def noise(seed: int, batch_size: int, size: int = SIZE) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal((batch_size, 3, size, size)).astype(np.float32)
