"""The DataLoader section: what contradicts itself is refused with a sentence."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ppghost.config import bind_plain, loading
from ppghost.errors import ConfigError
from ppghost.vision import Pipeline

from . import pictures

OPS = Pipeline.from_list(pictures.TRAIN_OPS).ops
NO_DECODE = Pipeline.from_list([pictures.NORMALIZE]).ops
NO_SIZE = Pipeline.from_list([pictures.DECODE, pictures.NORMALIZE]).ops
STAGED = Pipeline.from_list([pictures.DECODE, {"RandCropImage": {"size": 8, "progress_size": [8] * 4}}]).ops
ONE = loading.ImageNetDataset("r", "l", OPS)
PART = loading.MixedPart(0.5)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: loading.ImageNetDataset("r", "l", NO_DECODE), "begin with DecodeImage"),
        (lambda: loading.ImageNetDataset("r", "l", OPS, delimiter=""), "delimiter"),
        (lambda: loading.MultiScaleDataset("r", "l", NO_SIZE), "RandCropImage"),
        (lambda: loading.MultiScaleDataset("r", "l", OPS, delimiter=""), "delimiter"),
        (lambda: loading.MultiScaleDataset("r", "l", STAGED), "keep one of them"),
        (lambda: loading.CustomLabelDataset("r", "l", OPS, "", delimiter=""), "delimiter"),
        (lambda: loading.CustomLabelDataset("r", "l", OPS, loading.ORIENTATION_KEY), "RandomRot90"),
        (lambda: loading.Cifar10(transform_ops=NO_DECODE, download=False), "data_file"),
        (lambda: loading.Cifar100(), "transform_ops is missing"),
        (lambda: loading.MixDataset(()), "datasets_config is empty"),
        (lambda: loading.MixDataset((loading.MultiScaleDataset("r", "l", OPS),)), "cannot be mixed"),
        (
            lambda: loading.MixDataset((loading.ImageNetDataset("r", "l", OPS, batch_transform_ops=(1,)),)),
            "beside datasets_config",
        ),
        (lambda: loading.MultiScaleSampler((), 4), "scales is empty"),
        (lambda: loading.MultiScaleSampler((32, (64, 64)), 4), "one way"),
        (lambda: loading.MultiScaleSampler((31,), 4), "less than divided_factor"),
        (lambda: loading.MixSampler(1, (PART, PART), 4), r"\[0, 1\]"),
        (lambda: loading.MixSampler(1, (), 4), "sample_configs is empty"),
        (lambda: loading.Split(ONE, loading.MultiScaleSampler((32,), 4)), "need each other"),
        (lambda: loading.Split(ONE, loading.MixSampler(4, (PART, PART), 4)), "needs a MixDataset"),
        (
            lambda: loading.Split(loading.MixDataset((ONE,)), loading.MixSampler(4, (PART, PART), 4)),
            "one dataset for each",
        ),
    ],
)
def test_contradictions_are_refused(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        (loading.Split, "Query"),
        (loading.Split, "Gallery"),
        (loading.Cifar10, "transform_ops_weak"),
        (loading.Cifar100, "transform_ops_strong2"),
    ],
)
def test_keys_of_other_trainings_point_to_paddleclas(schema: type, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: given a list of 0; it serves .*PaddleClas"):
        bind_plain({key: []}, schema, source="here")


def test_the_last_part_takes_what_is_left() -> None:
    parts = (loading.MixedPart(0.3), loading.MixedPart(0.3), loading.MixedPart(0.1))
    assert loading.MixSampler(11, parts, 1).part_sizes == (3, 3, 5)


def test_every_refusal_points_to_paddleclas() -> None:
    refused = {**loading.REFUSED_DATASETS, **loading.REFUSED_SAMPLERS}
    assert not set(refused) & {*loading.DATASETS, *loading.SAMPLERS}
    assert all("PaddleClas" in sentence and "ppghost.register()" in sentence for sentence in refused.values())


def test_every_dataset_and_sampler_of_paddleclas_has_an_answer() -> None:
    """Names that `ppcls/data/__init__.py` (d178931) makes known to a configuration."""
    known = (
        "ImageNetDataset MultiLabelDataset CompCars VeriWild LogoDataset ICartoonDataset MixDataset "
        "MultiScaleDataset Market1501 MSMT17 DukeMTMC FiveValidationDataset AdaFaceDataset "
        "CustomLabelDataset Cifar10 Cifar100 ClsDataset ShiTuRecDataset MLClsDataset "
        "DomainShuffleBatchSampler NaiveIdentityBatchSampler DistributedRandomIdentitySampler PKSampler "
        "MixSampler MultiScaleSampler RASampler DistributedBatchSampler BatchSampler"
    ).split()
    answered = {
        *loading.DATASETS,
        *loading.SAMPLERS,
        *loading.REFUSED_DATASETS,
        *loading.REFUSED_SAMPLERS,
    }
    assert set(known) == answered


def test_workers_never_see_paddle() -> None:
    """A worker is forked into a process that may use a GPU, so what it runs must not touch paddle."""
    room = Path(loading.__file__).parents[1] / "data"
    for name in ("crew", "reader", "slots", "sampler", "dataset", "lists"):
        tree = ast.parse((room / f"{name}.py").read_text(encoding="utf-8"))
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in [*node.names, ast.alias(getattr(node, "module", None) or "")]
        }
        assert not any(each.split(".")[0] == "paddle" for each in imported), name


def test_the_benchmark_measures_a_configuration(tmp_path: Path) -> None:
    pictures.write_set(tmp_path, 23)
    repository = Path(loading.__file__).parents[2]
    section = "DataLoader.Train."
    command = [sys.executable, "tools/bench_input.py", "-c", "configs/GhostNet_x1_0.yaml"]
    command += ["-o", f"{section}dataset.image_root={tmp_path}"]
    command += [
        "-o",
        f"{section}dataset.cls_label_path={tmp_path}/list.txt",
        "-o",
        f"{section}sampler.batch_size=8",
    ]
    command += ["--rounds", "2", "--epochs", "1", "--num-workers", "0", "2"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    for workers in (0, 2):
        assert report[f"num_workers={workers}"]["ppghost"]["pictures_per_second"]["min"] > 0
