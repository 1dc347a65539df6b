"""With the real PaddleClas: the wheel in an environment of its own, and its engine from a source tree."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ppghost
from ppghost.environments import PADDLECLAS, ensure_environment
from ppghost.errors import ToolMissingError

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["GhostNet_x0_5", "GhostNet_x1_0", "GhostNet_x1_3"]
RELATIVE_TOLERANCE = 1e-6


def run(python: Path, *arguments: str, path: tuple[Path, ...] = (), cwd: Path) -> str:
    """Run a program that sees our checkout; return what it printed."""
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(folder) for folder in (ROOT, *path)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    result = subprocess.run(
        [str(python), "-W", "ignore", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
        cwd=cwd,
    )
    assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


def wheel() -> tuple[Path, tuple[Path, ...]]:
    """Return an interpreter that has the paddleclas wheel."""
    try:
        return ensure_environment(PADDLECLAS), ()
    except ToolMissingError as error:
        pytest.skip(f"No environment for the paddleclas wheel. {error}")


def source_tree() -> tuple[Path, tuple[Path, ...]]:
    """Return an interpreter and the PaddleClas source tree that it can run."""
    tree, python = os.environ.get("PADDLECLAS_ROOT"), os.environ.get("PADDLECLAS_PYTHON")
    if not (tree and python):
        pytest.skip(
            "Set PADDLECLAS_ROOT to a checkout of PaddleClas and PADDLECLAS_PYTHON to an interpreter that "
            "runs its tools/train.py (Python 3.10 with Paddle 3 and PaddleClas' requirements)."
        )
    return Path(python), (Path(tree),)


@pytest.fixture(scope="module", params=["paddleclas.ppcls.arch", "ppcls.arch"])
def answer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a session in PaddleClas found out, from the wheel and from the source tree."""
    python, path = wheel() if request.param.startswith("paddleclas") else source_tree()
    folder = tmp_path_factory.mktemp("session")
    script = str(Path(__file__).with_name("session.py"))
    output = run(python, script, request.param, str(folder), path=path, cwd=folder)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert found["modules"] == [request.param]
    return found


def test_registration_adds_what_is_new_and_leaves_what_is_theirs(answer: dict[str, Any]) -> None:
    assert answer["registered"] == ["GhostNet_x1_3_ssld"]
    assert answer["left"] == NAMES
    assert answer["kept"]
    assert answer["built"] == ["ppghost.nets.ghostnet", [1280, 10]]


def test_forced_registration_replaces_and_two_networks_fit_in_one_process(answer: dict[str, Any]) -> None:
    assert answer["forced"] == ["ppghost.nets.ghostnet"] * 2
    assert answer["forced_left"] == []


@pytest.mark.parametrize("name", NAMES)
def test_weights_travel_both_ways_and_give_the_same_logits(answer: dict[str, Any], name: str) -> None:
    found = answer["exchanged"][name]
    assert found["same_keys"]
    assert found["same_shapes"]
    assert found["there"] <= RELATIVE_TOLERANCE
    assert found["and_back"] <= RELATIVE_TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_the_card_has_what_paddle_counts_on_their_network(answer: dict[str, Any], name: str) -> None:
    assert ppghost.get_card(name).paddle_flops == answer["exchanged"][name]["paddle_flops"]


def draw_pictures(folder: Path) -> None:
    lines = []
    for index in range(8):
        picture = np.full((40, 48, 3), 60 + 100 * (index % 2), np.uint8)
        cv2.imwrite(str(folder / f"{index}.jpg"), picture)
        lines.append(f"{index}.jpg {index % 2}\n")
    (folder / "list.txt").write_text("".join(lines))


@pytest.mark.parametrize("name", ["GhostNet_x0_5", "GhostNet_x1_3_ssld"])
def test_their_engine_trains_ours_with_our_recipe(name: str, tmp_path: Path) -> None:
    python, (tree,) = source_tree()
    draw_pictures(tmp_path)
    overrides = [
        f"Arch.name={name}",
        "Arch.class_num=2",
        "Global.device=cpu",
        "Global.epochs=1",
        "Global.print_batch_step=1",
        f"Global.output_dir={tmp_path / 'output'}",
        "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=32",
        "DataLoader.Eval.dataset.transform_ops.1.ResizeImage.resize_short=36",
        "DataLoader.Eval.dataset.transform_ops.2.CropImage.size=32",
        "Metric.Train.0.TopkAcc.topk=[1,2]",
        "Metric.Eval.0.TopkAcc.topk=[1,2]",
    ]
    for split in ("Train", "Eval"):
        overrides += [
            f"DataLoader.{split}.dataset.image_root={tmp_path}/",
            f"DataLoader.{split}.dataset.cls_label_path={tmp_path / 'list.txt'}",
            f"DataLoader.{split}.sampler.batch_size=4",
            f"DataLoader.{split}.loader.num_workers=0",
            f"DataLoader.{split}.loader.use_shared_memory=False",
        ]
    # PaddleClas' own program, one line added before it.
    program = (
        "import runpy, sys, ppghost; ppghost.register(force=True);"
        f"runpy.run_path({str(tree / 'tools' / 'train.py')!r}, run_name='__main__')"
    )
    options = [part for override in overrides for part in ("-o", override)]
    config = str(ROOT / "configs" / "GhostNet_x0_5.yaml")
    output = run(python, "-c", program, "-c", config, *options, path=(tree,), cwd=tmp_path)
    assert "[Train][Epoch 1/1][Iter: 1/2]" in output
    assert "[Eval][Epoch 1][Avg]" in output
    # The file that their engine wrote is ours again, every key of it.
    net = ppghost.build_model(name, class_num=2, pretrained=str(tmp_path / "output" / "latest"))
    assert bool(np.isfinite(net.fc_1.weight.numpy()).all())
    assert int((net.conv1._batch_norm._mean.numpy() != 0).sum()) > 0
