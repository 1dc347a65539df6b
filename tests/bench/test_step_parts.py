"""A training step taken apart: nothing is lost, nothing counts twice, and names are those of operators."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ppghost.bench.step_parts import REST, StepParts, kind_of_event, take_step_apart
from ppghost.config import load_config
from ppghost.errors import ConfigError
from ppghost.nets.depthwise import DepthwiseConv2D
from ppghost.nets.ghostnet import GhostNet
from ppghost.nets.native import native_kernels

OVERRIDES = [
    "Global.device=cpu",
    "Global.image_shape=[3,32,32]",
    "DataLoader.Train.sampler.batch_size=2",
    "DataLoader.Train.dataset.image_root=/nowhere",
]


@pytest.fixture(scope="module")
def parts() -> StepParts:
    return take_step_apart(load_config("GhostNet_x0_5", OVERRIDES), steps=2)


def test_the_parts_add_up_to_the_step(parts: StepParts) -> None:
    assert sum(part.total_ms for part in parts.parts) == pytest.approx(parts.profiled_ms)
    assert all(ms >= 0 for part in parts.parts for ms in part.ms.values())
    assert [part.total_ms for part in parts.parts] == sorted((p.total_ms for p in parts.parts), reverse=True)
    by_kind = {part.kind: part for part in parts.parts}
    assert len(by_kind) == len(parts.parts)
    assert by_kind["conv2d"].calls == 2, "the stem, forward and backward"
    assert by_kind["conv2d"].ms["backward"] > 0
    assert by_kind[REST].ms["update"] > 0


@pytest.mark.skipif(native_kernels() is None, reason="no compiled kernels here: install a C compiler")
def test_every_native_layer_is_seen_forward_and_backward(parts: StepParts) -> None:
    layers = [layer for layer in GhostNet(0.5).sublayers() if isinstance(layer, DepthwiseConv2D)]
    [depthwise] = [part for part in parts.parts if part.kind == "native depthwise"]
    assert depthwise.calls == 2 * len(layers)
    assert depthwise.ms["forward"] > 0
    assert depthwise.ms["backward"] > 0


def test_names_of_events() -> None:
    names = {
        "conv2d dygraph": "conv2d",
        "Global_Conv2dGradNode": "conv2d",
        "Global_DepthwiseConv2dGradNode": "depthwise_conv2d",
        "Global_CrossEntropyWithSoftmaxGradNode": "cross_entropy_with_softmax",
        "native depthwise_forward": "native depthwise",
        "native pointwise_backward": "native pointwise",
        "conv2d infer_meta": "",
        "Global_GradNodePyLayer_NativeConvolution": "",
        "GhostBottleneck": "",
    }
    assert {name: kind_of_event(name) for name in names} == names


def test_only_a_cpu_is_taken_apart() -> None:
    with pytest.raises(ConfigError, match=r"Global\.device=cpu"):
        take_step_apart(load_config("GhostNet_x0_5", ["Global.device=gpu"]), steps=1)


def test_the_program_prints_the_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tools.profile_step import main

    words = [word for override in OVERRIDES for word in ("-o", override)]
    file = tmp_path / "parts.json"
    monkeypatch.setattr(sys, "argv", ["", "-c", "GhostNet_x0_5", *words, "--steps", "1", "--json", str(file)])
    assert main() == 0
    printed = capsys.readouterr().out
    assert "A step of 2 pictures of 3 x 32 x 32" in printed
    written = json.loads(file.read_text())
    assert written["image_shape"] == [3, 32, 32]
    assert all(f"\n{part['kind']} " in printed for part in written["parts"])
    monkeypatch.setattr(sys, "argv", ["", "-c", "GhostNet_x0_5", "--steps", "0"])
    with pytest.raises(SystemExit):
        main()
    assert "--steps is 0" in capsys.readouterr().err
