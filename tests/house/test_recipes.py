"""The shipped recipes say what PaddleClas publishes, and the demo's fits the demo's data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ppghost.config import load_config
from ppghost.config.distillation import DistillationDMLLoss
from ppghost.config.load import shipped_configs
from ppghost.config.sections import DistillationModel
from ppghost.train.freeze import freeze
from ppghost.train.plan import check_networks
from ppghost.vision import Labels
from ppghost.vision.shapes import CLASSES
from ppghost.zoo import build_model, get_card, list_models

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["GhostNet_x0_5", "GhostNet_x1_0", "GhostNet_x1_3"])
def test_imagenet_recipe_is_the_published_one(name: str) -> None:
    config = load_config(name)
    assert config.Arch.name == name
    assert config.Global.epochs == 360
    (optimizer,) = config.Optimizer
    assert (optimizer.lr.learning_rate, optimizer.lr.warmup_epoch, optimizer.momentum) == (0.8, 5, 0.9)
    assert optimizer.regularizer.coeff == 4e-5
    assert [loss.epsilon for loss in (*config.Loss.Train, *config.Loss.Eval)] == [0.1, None]
    train, val = config.DataLoader.Train, config.DataLoader.Eval
    assert (train.sampler.batch_size, val.sampler.batch_size) == (512, 64)
    names = [type(op).__name__ for op in train.dataset.transform_ops]
    assert names == ["DecodeImage", "RandCropImage", "RandFlipImage", "NormalizeImage"]


def test_the_widths_differ_in_name_alone() -> None:
    trees = [load_config(f"GhostNet_{width}").to_dict() for width in ("x0_5", "x1_0", "x1_3")]
    assert {tree["Arch"].pop("name") for tree in trees} == {"GhostNet_x0_5", "GhostNet_x1_0", "GhostNet_x1_3"}
    assert trees[0] == trees[1] == trees[2]


@pytest.mark.parametrize("path", sorted(shipped_configs().values()), ids=lambda path: path.stem)
def test_a_recipe_states_command_and_names_a_card(path: Path) -> None:
    header = path.read_text(encoding="utf-8").split("\nGlobal:")[0]
    assert f"tools/train.py -c {path.relative_to(ROOT).as_posix()}" in header
    assert "expected" in header
    assert "cost" in header
    assert load_config(path).shipped.name in list_models("*")


@pytest.mark.parametrize("name", ["GhostNet_x0_5", "GhostNet_x1_0", "GhostNet_x1_3"])
def test_the_stages_of_ssld_follow_each_other(name: str) -> None:
    one, two, three = (
        load_config(f"{name}_ssld{stage}", arch_names=list_models()) for stage in ("", "_stage2", "_fixres")
    )
    for config in (one, two):
        assert config.shipped.name == name
        assert isinstance(config.Arch, DistillationModel)
        assert config.Arch.frozen == ("Teacher",)
        (loss,) = config.Loss.Train
        assert isinstance(loss, DistillationDMLLoss)
        check_networks(config)
    assert one.shipped.pretrained is False
    assert two.shipped.pretrained == f"{one.Global.output_dir}/best_model_student"
    assert three.shipped.pretrained == f"{two.Global.output_dir}/best_model_student"
    lists = [
        [split.dataset.cls_label_path.rsplit("/", 1)[-1] for split in (c.DataLoader.Train, c.DataLoader.Eval)]
        for c in (one, two, three)
    ]
    assert lists == [
        ["train_list_all.txt", "val_list.txt"],
        ["train_list.txt", "val_list.txt"],
        ["train_list.txt", "val_list.txt"],
    ]
    net = build_model(name)
    freeze(net, three.shipped.freeze)
    trained = [key for key, parameter in net.named_parameters() if not parameter.stop_gradient]
    assert trained == ["fc_1.weight", "fc_1.bias"]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*_ssld*.yaml")), ids=lambda path: path.stem)
def test_an_ssld_recipe_says_what_is_published_and_what_is_ours(path: Path) -> None:
    header = path.read_text(encoding="utf-8").split("\nGlobal:")[0]
    assert "published" in header
    assert "ur own" in header
    assert "engine" in header
    if path.parent.name == "configs":
        assert f"{get_card(load_config(path).shipped.name).macs / 1e9:.3f}" in header


@pytest.mark.parametrize("name", list_models("*"))
def test_a_recipe_expects_what_its_card_publishes(name: str) -> None:
    card = get_card(name)
    if card.recipe is None:
        pytest.skip(f"{name} has weights but no recipe here")
    header = (ROOT / card.recipe).read_text(encoding="utf-8").split("\nGlobal:")[0]
    assert f"{card.published.top1:.2%}".replace("%", " % top-1") in header
    assert f"{card.published.top5:.2%}".replace("%", " % top-5") in header


def test_the_demo_recipe_fits_the_drawn_set() -> None:
    config = load_config(ROOT / "configs/demo/GhostNet_x1_0_shapes.yaml")
    assert config.Arch.class_num == len(CLASSES)
    assert config.Global.device == "cpu"


def test_recipes_share_no_node() -> None:
    """PaddleClas' builders write into the tree they read, so an anchor would change its other uses."""
    for path in shipped_configs().values():
        events = yaml.parse(path.read_text(encoding="utf-8"))
        assert not any(getattr(event, "anchor", None) for event in events), path


def test_imagenet_names_are_whole() -> None:
    lines = (ROOT / "configs/imagenet1k_label_list.txt").read_text(encoding="utf-8").splitlines()
    assert [int(line.split(" ", 1)[0]) for line in lines] == list(range(1000))
    labels = Labels.read(ROOT / "configs/imagenet1k_label_list.txt")
    assert labels.name_of(0) == "tench, Tinca tinca"
    assert labels.name_of(281) == "tabby, tabby cat"
    assert labels.name_of(999) == "toilet tissue, toilet paper, bathroom tissue"
