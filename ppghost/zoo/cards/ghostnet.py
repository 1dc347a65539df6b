"""Cards of GhostNet (arXiv:1911.11907) in PaddleClas' variant. A new width is one more `add_card`.

Accuracy, parameters and `paddle_flops` are PaddleClas' `docs/zh_CN/models/ImageNet1k/model_list.md`;
`documented_gflops` is its `GhostNet.md`. No checksum of a weight file is published.

Ground: no paddle.
"""

from __future__ import annotations

from typing import Any

from ppghost.zoo.card import Accuracy, Card, WeightsTag, add_card

_FILES = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"
_MODEL_LIST = (
    "https://github.com/PaddlePaddle/PaddleClas/blob/release/2.6/docs/zh_CN/models/ImageNet1k/model_list.md"
)


def _weights(tag: str, file_name: str) -> tuple[WeightsTag, ...]:
    return (WeightsTag(tag, f"{_FILES}/{file_name}"),)


def _ghostnet(name: str, scale: float, top1: float, top5: float, **facts: Any) -> Card:
    """Return a card with what all GhostNets share filled in."""
    return Card(
        name=name,
        arch="ppghost.nets.ghostnet.GhostNet",
        kwargs={"scale": scale},
        paper="https://arxiv.org/abs/1911.11907",
        source="https://github.com/PaddlePaddle/PaddleClas",
        licence="Apache-2.0",
        published=Accuracy(top1, top5, source=_MODEL_LIST),
        **facts,
    )


_WIDTH_1_3 = {
    "params": 7_352_622,
    "params_with_statistics": 7_383_718,
    "macs": 226_995_784,
    "paddle_flops": 236_893_688,
    "documented_gflops": 0.440,
}

add_card(
    _ghostnet(
        "GhostNet_x0_5",
        0.5,
        top1=0.6688,
        top5=0.8695,
        params=2_588_232,
        params_with_statistics=2_601_776,
        macs=42_327_816,
        paddle_flops=46_146_200,
        documented_gflops=0.082,
        weights=_weights("imagenet", "GhostNet_x0_5_pretrained.pdparams"),
        recipe="configs/GhostNet_x0_5.yaml",
    )
)
add_card(
    _ghostnet(
        "GhostNet_x1_0",
        1.0,
        top1=0.7402,
        top5=0.9165,
        params=5_183_016,
        params_with_statistics=5_207_544,
        macs=141_149_744,
        paddle_flops=148_783_952,
        documented_gflops=0.294,
        weights=_weights("imagenet", "GhostNet_x1_0_pretrained.pdparams"),
        recipe="configs/GhostNet_x1_0.yaml",
    )
)
add_card(
    _ghostnet(
        "GhostNet_x1_3",
        1.3,
        top1=0.7579,
        top5=0.9254,
        weights=_weights("imagenet", "GhostNet_x1_3_pretrained.pdparams")
        + _weights("ssld", "GhostNet_x1_3_ssld_pretrained.pdparams"),
        recipe="configs/GhostNet_x1_3.yaml",
        **_WIDTH_1_3,
    )
)
# The same network as GhostNet_x1_3, taught by a larger one (SSLD): its own name, weights and accuracy.
add_card(
    _ghostnet(
        "GhostNet_x1_3_ssld",
        1.3,
        top1=0.7938,
        top5=0.9449,
        weights=_weights("ssld", "GhostNet_x1_3_ssld_pretrained.pdparams"),
        **_WIDTH_1_3,
    )
)
