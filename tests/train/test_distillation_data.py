"""Whatever prepares pictures, and averaged weights, under a `DistillationModel`: real runs of two epochs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_runs import weights_of
from test_distillation import DISTILL
from trajectory import write_calm_weights

from ppghost.config import Config
from ppghost.errors import ConfigError, DataError
from ppghost.train.checkpoint import read_checkpoint
from ppghost.train.networks import build_task
from ppghost.train.plan import open_data, plan
from ppghost.train.run import train
from ppghost.train.teachers import Teachers
from ppghost.zoo import build_model
from tests.data_room.pictures import DECODE, NORMALIZE

TRAIN = "DataLoader.Train.dataset"
CROP = {"RandCropImage": {"size": 32}}
LABELLED = (
    "Loss.Train=[{'DistillationGTCELoss': {'weight': 1.0, 'model_names': ['Student']}}, "
    "{'DistillationDMLLoss': {'weight': 1.0, 'model_name_pairs': [['Student', 'Teacher']]}}]"
)


def ops(*before: Any, after: tuple[Any, ...] = (), crop: Any = CROP) -> str:
    """Return the override that sets the ops of a picture: before and after it becomes numbers."""
    return f"{TRAIN}.transform_ops={[DECODE, crop, *before, NORMALIZE, *after]}"


def batch_ops(*listed: Any) -> str:
    """Return the override that sets the ops of a batch."""
    return f"{TRAIN}.batch_transform_ops={list(listed)}"


MIXUP, CUTMIX = {"MixupOperator": {"alpha": 0.2}}, {"CutmixOperator": {"alpha": 0.2}}
STAGED = (
    ops(
        {"RandAugmentV2": {"progress_magnitude": [0, 5, 10, 15]}},
        crop={"RandCropImage": {"size": 32, "progress_size": [32, 40, 48, 64]}},
    ),
    "Global.train_mode=progressive",
)
SCALES = (
    f"{TRAIN}.name=MultiScaleDataset",
    ops(),
    "DataLoader.Train.sampler={'name': 'MultiScaleSampler', 'scales': [32, 64], 'first_bs': 8}",
)

PREPARED: dict[str, tuple[str, ...]] = {
    "Mixup": (LABELLED, batch_ops(MIXUP)),
    "Cutmix": (LABELLED, batch_ops(CUTMIX)),
    "FMix": (LABELLED, batch_ops({"FmixOperator": {"alpha": 1, "decay_power": 3.0, "max_soft": 0.0}})),
    "one of two": (
        LABELLED,
        batch_ops(
            {
                "OpSampler": {
                    name: {**value, "prob": 0.5} for op in (MIXUP, CUTMIX) for name, value in op.items()
                }
            }
        ),
    ),
    "Mixup and Cutmix": (LABELLED, batch_ops({"MixupCutmixHybrid": {"cutmix_alpha": 1.0, "num_classes": 5}})),
    "Mixup, teacher's class": (
        "Loss.Train=[{'DistillationDKDLoss': {'use_target_as_gt': True, 'model_name_pairs': "
        "[['Student', 'Teacher']]}}]",
        batch_ops(MIXUP),
    ),
    "TimmAutoAugment, RandomErasing": (
        ops(
            {"TimmAutoAugment": {"config_str": "rand-m7-mstd0.5-inc1", "img_size": 32}},
            after=({"RandomErasing": {"EPSILON": 0.9, "mode": "pixel"}},),
        ),
    ),
    "GridMask, Cutout": (
        ops(after=({"GridMask": {"d1": 8, "d2": 16}}, {"Cutout": {"length": 8}}, {"HideAndSeek": None})),
    ),
    "AutoAugment, RandAugment, AugMix": (
        ops({"AutoAugment": None}, {"RandAugment": None}, {"AugMix": None}, {"RandFlipImage": None}),
    ),
    "progressive": STAGED,
    "several scales": SCALES,
}


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path, without suffix, of weights of GhostNet_x0_5 for five classes."""
    return write_calm_weights(tmp_path_factory.mktemp("calm"))


def taught(calm: Path, *overrides: str) -> tuple[str, ...]:
    """Return the overrides of a run in which a GhostNet_x0_5 teaches its twin."""
    return (
        *DISTILL,
        "Arch.models.0.Teacher.name=GhostNet_x0_5",
        f"Arch.pretrained_list=['{calm}', '{calm}']",
        "Global.epochs=2",
        "Global.eval_during_train=False",
        *overrides,
    )


@pytest.mark.parametrize("name", PREPARED)
def test_a_student_learns_from_pictures_prepared_in_any_way(
    name: str, calm: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = small_config(*taught(calm, "Global.iter_per_epoch=2", *PREPARED[name]))
    assert any("Teacher: GhostNet_x0_5 (frozen)" in line for line in plan(config))
    train(config)
    before, after = weights_of(calm), weights_of(tmp_path / "output" / "latest")
    for key, value in before.items():
        np.testing.assert_array_equal(after[f"Teacher.{key}"], value, err_msg=key)
    assert any(not np.array_equal(after[f"Student.{key}"], value) for key, value in before.items())
    assert all(np.isfinite(value).all() for value in after.values())


@pytest.mark.parametrize("overrides", [STAGED, SCALES], ids=["progressive", "several scales"])
def test_teacher_and_student_see_the_same_pictures_in_every_size(
    overrides: tuple[str, ...], calm: Path, small_config: Callable[..., Config]
) -> None:
    config = small_config(*taught(calm, "Global.epochs=4", *overrides))
    loader = open_data(config, training=True)
    seen: dict[str, list[paddle.Tensor]] = {"Teacher": [], "Student": []}
    with Teachers(config) as teachers:
        task = build_task(config, lambda net: net, teachers)
        for name, network in task.trainable().named_children():
            network.register_forward_pre_hook(lambda _layer, given, name=name: seen[name].append(given[0]))
        for epoch in range(1, 5):
            task.step(next(loader.batches(epoch)))
    loader.close()
    sides = [tuple(images.shape[2:]) for images in seen["Student"]]
    if overrides is STAGED:
        assert sides == [(32, 32), (40, 40), (48, 48), (64, 64)]
    for student, teacher in zip(seen["Student"], seen["Teacher"]):
        np.testing.assert_array_equal(student.numpy(), teacher.numpy())
    assert len(seen["Student"]) == len(seen["Teacher"]) == 4


def test_the_averaged_weights_of_the_student_are_shipped(
    calm: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    """One step an epoch: the average after each is recomputed from the raw weights of the checkpoints."""
    decay = 0.6
    config = small_config(
        *taught(calm, "Global.iter_per_epoch=1", "Global.epochs=3", "Global.eval_during_train=True"),
        "Global.eval_interval=1",
        "Global.save_interval=1",
        f"EMA.decay={decay}",
        "Optimizer.lr.warmup_epoch=0",
        "Optimizer.lr.learning_rate=0.01",
    )
    train(config)
    output = tmp_path / "output"
    start = weights_of(calm)
    average, averages = {name: value.astype(np.float64) for name, value in start.items()}, []
    for epoch in (1, 2, 3):
        raw = {
            name: tensor.numpy() for name, tensor in paddle.load(str(output / f"epoch_{epoch}.pdema")).items()
        }
        average = {
            name: decay * value + (1 - decay) * raw[f"Student.{name}"] for name, value in average.items()
        }
        averages.append(average)
        saved = weights_of(output / f"epoch_{epoch}")
        for name, value in average.items():
            np.testing.assert_allclose(saved[f"Student.{name}"], value, rtol=1e-5, atol=1e-6, err_msg=name)
            np.testing.assert_array_equal(saved[f"Teacher.{name}"], start[name], err_msg=name)
    best = read_checkpoint(str(output / "best_model"), ema=True).position.epoch
    shipped = weights_of(output / "best_model_student")
    for name, value in averages[best - 1].items():
        np.testing.assert_allclose(shipped[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    raw = paddle.load(str(output / f"epoch_{best}.pdema"))
    assert any(not np.array_equal(shipped[name], raw[f"Student.{name}"].numpy()) for name in shipped)
    assert shipped.keys() == build_model("GhostNet_x0_5").state_dict().keys()


@pytest.mark.parametrize(
    "loss",
    ["{'DistillationDKDLoss': {", "{'DistillationWSLLoss': {", "{'DistillationSKDLoss': {'alpha': 0.5, "],
)
def test_losses_that_need_one_class_refuse_mixed_pictures_before_the_first_step(
    loss: str, calm: Path, small_config: Callable[..., Config]
) -> None:
    listed = f"Loss.Train=[{loss}'model_name_pairs': [['Student', 'Teacher']]}}}}]"
    with pytest.raises(ConfigError, match=r"needs one right class .* \(MixupOperator\) mixes the labels"):
        plan(small_config(*taught(calm, listed, batch_ops(MIXUP))))


def test_a_list_that_names_a_picture_again_is_refused_before_the_first_step(
    calm: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    whole = Path(small_config().DataLoader.Train.dataset.cls_label_path).read_text()
    listed = tmp_path / "twice.txt"
    listed.write_text(whole + whole.splitlines()[0] + "\n")
    again = f"DataLoader.Train.dataset.cls_label_path={listed}"
    with pytest.raises(DataError, match="stands in line 1 already.*Keep one line for each picture"):
        plan(small_config(*taught(calm, again)))
    assert plan(small_config(again))  # a network alone may see rare classes more often
