"""Our distillation recipes in PaddleClas' own engine: stage 1, and stage 2 from the student of stage 1."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import paddle
from test_paddleclas import ROOT, run, source_tree

# What a small CPU asks for. No weights are downloaded: the teacher's are random.
MACHINE = (
    "Global.device=cpu",
    "Global.epochs=1",
    "Global.print_batch_step=1",
    "AMP.use_amp=False",
    "Arch.models.0.Teacher.pretrained=False",
    "Arch.models.0.Teacher.use_ssld=False",
    "Optimizer.lr.warmup_epoch=0",
    "Optimizer.lr.learning_rate=0.001",
    "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=32",
    "DataLoader.Eval.dataset.transform_ops.1.ResizeImage.resize_short=36",
    "DataLoader.Eval.dataset.transform_ops.2.CropImage.size=32",
    *(
        f"DataLoader.{split}.{key}"
        for split in ("Train", "Eval")
        for key in ("sampler.batch_size=4", "loader.num_workers=0", "loader.use_shared_memory=False")
    ),
)


def write_imagenet(folder: Path) -> None:
    """Write eight pictures and the lists that the recipes name."""
    folder.mkdir(parents=True)
    lines = []
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.jpg"), np.full((40, 48, 3), 60 + 100 * (index % 2), np.uint8))
        lines.append(f"{index}.jpg {index % 2}\n")
    for name in ("train_list.txt", "train_list_all.txt", "val_list.txt"):
        (folder / name).write_text("".join(lines))


def test_their_engine_reads_both_stages_and_the_second_begins_with_the_student_of_the_first(
    tmp_path: Path,
) -> None:
    python, (tree,) = source_tree()
    write_imagenet(tmp_path / "dataset" / "ILSVRC2012")
    options = [part for override in MACHINE for part in ("-o", override)]
    for name in ("GhostNet_x0_5_ssld", "GhostNet_x0_5_ssld_stage2"):
        config = str(ROOT / "configs" / f"{name}.yaml")
        told = run(
            python, str(tree / "tools" / "train.py"), "-c", config, *options, path=(tree,), cwd=tmp_path
        )
        assert "[Train][Epoch 1/1][Iter: 1/2]" in told
        assert "DMLLoss_Student_Teacher_0" in told
        assert "[Eval][Epoch 1][Avg]" in told
        student = paddle.load(str(tmp_path / "output" / name / "best_model_student.pdparams"))
        assert all(bool(np.isfinite(value.numpy()).all()) for value in student.values())
    first = paddle.load(str(tmp_path / "output" / "GhostNet_x0_5_ssld" / "best_model_student.pdparams"))
    key = "fc_1.weight"
    # A random beginning would be as far away as the weights are large.
    distance = np.abs(student[key].numpy() - first[key].numpy()).max()
    assert 0 < distance < 0.1 * np.abs(first[key].numpy()).max()
