"""PaddleClas' own distillation recipes, GhostNets in the place of their networks: they run as they are.

Put on the command line is what this machine asks for and nothing else: the CPU, which has no mixed precision
and no room for a batch of 128, and two epochs. The pictures lie where the YAML looks for them, published
weights come from a mirror, and every size in the file holds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from small_runs import weights_of

from ppghost.zoo import build_model

ROOT = Path(__file__).resolve().parents[2]
SWAPPED = {
    "PPLCNet_x1_0_ssld.yaml": {"ResNet50_vd": "GhostNet_x1_3", "PPLCNet_x1_0": "GhostNet_x0_5"},
    "resnet34_distill_resnet18_dkd.yaml": {"ResNet34": "GhostNet_x1_0", "ResNet18": "GhostNet_x0_5"},
}
TEACHERS = {
    "PPLCNet_x1_0_ssld.yaml": "GhostNet_x1_3_ssld_pretrained.pdparams",
    "resnet34_distill_resnet18_dkd.yaml": "GhostNet_x1_0_pretrained.pdparams",
}
MACHINE = (
    "Global.device=cpu",
    "Global.epochs=2",
    "Global.print_batch_step=1",
    "AMP.use_amp=False",
    "Optimizer.lr.learning_rate=0.001",
    "DataLoader.Train.sampler.batch_size=2",
    "DataLoader.Train.loader.num_workers=0",
    "DataLoader.Eval.sampler.batch_size=2",
    "DataLoader.Eval.loader.num_workers=0",
)
# The rate of MultiStepDecay is for a batch of 128; the warm-up of the other is longer than this run.
SHORTER = {
    "PPLCNet_x1_0_ssld.yaml": ("Optimizer.lr.warmup_epoch=0",),
    "resnet34_distill_resnet18_dkd.yaml": (),
}


def write_pictures(folder: Path) -> None:
    """Write four pictures and both lists into `folder`, laid out like ImageNet."""
    draw = np.random.RandomState(0)
    lines = []
    for index in range(4):
        name = f"train/n{index:08d}/{index}.JPEG"
        (folder / name).parent.mkdir(parents=True)
        coarse = draw.randint(0, 256, (6, 7, 3)).astype(np.uint8)
        cv2.imwrite(f"{folder / name}.jpg", cv2.resize(coarse, (300, 260)))
        (folder / f"{name}.jpg").rename(folder / name)
        lines.append(f"{name} {index * 300}\n")
    for name in ("train_list.txt", "val_list.txt"):
        (folder / name).write_text("".join(lines))


def write_mirror(folder: Path, file_name: str, arch: str) -> None:
    """Write weights whose statistics fit noise, under the name that PaddleClas publishes them by."""
    folder.mkdir()
    paddle.seed(1)
    net = build_model(arch)
    for _ in range(12):
        net(paddle.randn([4, 3, 64, 64]))
    paddle.save(net.state_dict(), str(folder / file_name))


@pytest.mark.parametrize("name", SWAPPED)
def test_a_distillation_recipe_of_paddleclas_runs_with_ghostnets(name: str, tmp_path: Path) -> None:
    root = os.environ.get("PADDLECLAS_ROOT")
    if not root:
        pytest.skip("set PADDLECLAS_ROOT to a checkout of github.com/PaddlePaddle/PaddleClas to run this")
    text = (Path(root) / "ppcls/configs/ImageNet/Distillation" / name).read_text(encoding="utf-8")
    for theirs, ours in SWAPPED[name].items():
        assert f"name: {theirs}\n" in text
        text = text.replace(f"name: {theirs}\n", f"name: {ours}\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    write_pictures(tmp_path / "dataset/ILSVRC2012")
    teacher = next(iter(SWAPPED[name].values()))
    write_mirror(tmp_path / "mirror", TEACHERS[name], teacher)
    overrides = (*MACHINE, *SHORTER[name], "Global.output_dir=output")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/train.py"), "-c", str(recipe)]
        + [word for one in overrides for word in ("-o", one)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "PPGHOST_HOME": str(tmp_path / "home"),
            "PPGHOST_MIRROR": str(tmp_path / "mirror"),
        },
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-3000:]
    assert "[Train][Epoch 2/2][Iter: 1/2]" in told
    assert "[Eval][Epoch 2][Avg]" in told
    after = weights_of(tmp_path / "output/latest")
    for key, value in weights_of(tmp_path / "mirror" / TEACHERS[name].partition(".")[0]).items():
        np.testing.assert_array_equal(after[f"Teacher.{key}"], value, err_msg=key)
    student = weights_of(tmp_path / "output/best_model_student")
    assert student.keys() == build_model("GhostNet_x0_5").state_dict().keys()
