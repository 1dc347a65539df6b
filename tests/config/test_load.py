"""PaddleClas' GhostNet recipes and its test scripts' arguments become a Config, or a sentence with a line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import ppghost
from ppghost.config import add_config_arguments, find_config, load_config, shipped_configs
from ppghost.config.sections import ProfilerOptions
from ppghost.errors import ConfigError

RECIPE = Path(__file__).with_name("ghostnet.yaml")
NAMES = ("GhostNet_x0_5", "GhostNet_x1_0", "GhostNet_x1_3")
TWO_NETWORKS = (
    "{'name': 'DistillationModel', 'models': [{'Teacher': {'name': 'GhostNet_x1_0'}}, "
    "{'Student': {'name': 'GhostNet_x0_5'}}],"
)
RANDOM_CROP = "DataLoader.Train.dataset.transform_ops.1.RandCropImage"
REMEDY = "set PADDLECLAS_ROOT to a checkout of github.com/PaddlePaddle/PaddleClas to run this"


def paddleclas_root() -> Path:
    root = os.environ.get("PADDLECLAS_ROOT")
    if not root:
        pytest.skip(REMEDY)
    return Path(root)


def problems(*overrides: str, path: Any = RECIPE, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, **options)
    return str(caught.value).splitlines()


def test_the_published_recipe() -> None:
    config = load_config(RECIPE)
    assert config.Global.epochs == 360
    assert config.Global.image_shape == (3, 224, 224)
    assert (config.Global.seed, config.Global.log_ranks, config.Global.update_freq) == (0, (0,), 1)
    assert config.AMP is not None
    assert (config.AMP.use_amp, config.AMP.scale_loss) == (False, 128.0)
    assert config.EMA is None
    assert (config.Arch.name, config.Arch.class_num, config.Arch.pretrained) == ("GhostNet_x1_0", 1000, False)
    assert [(type(loss).__name__, loss.epsilon) for loss in config.Loss.Train] == [("CELoss", 0.1)]
    (optimizer,) = config.Optimizer
    assert (type(optimizer).__name__, optimizer.momentum) == ("Momentum", 0.9)
    assert (type(optimizer.lr).__name__, optimizer.lr.learning_rate, optimizer.lr.warmup_epoch) == (
        "Cosine",
        0.8,
        5,
    )
    assert (type(optimizer.regularizer).__name__, optimizer.regularizer.coeff) == ("L2", 4e-5)
    assert config.DataLoader.Train is not None
    assert config.DataLoader.Train.sampler.batch_size == 512
    assert [type(op).__name__ for op in config.DataLoader.Train.dataset.transform_ops] == [
        "DecodeImage",
        "RandCropImage",
        "RandFlipImage",
        "NormalizeImage",
    ]
    assert config.Infer is not None
    assert config.Infer.PostProcess.topk == 5
    assert config.Metric.Eval[0].topk == (1, 5)


@pytest.mark.parametrize("name", NAMES)
def test_the_overrides_that_users_type(name: str) -> None:
    config = load_config(
        RECIPE,
        [
            f"Arch.name={name}",
            "Global.device=cpu",
            "Arch.class_num=10",
            "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=96",
            "Optimizer.lr.auto_scale=True",
            "Arch.freeze=conv1*",
        ],
        arch_names=NAMES,
    )
    assert (config.Arch.name, config.Arch.class_num, config.Global.device) == (name, 10, "cpu")
    assert config.DataLoader.Train is not None
    assert config.DataLoader.Train.dataset.transform_ops[1].size == 96
    assert config.Optimizer[0].lr.auto_scale
    assert config.Arch.freeze == ("conv1*",)
    written = config.to_dict()
    assert written["DataLoader"]["Train"]["dataset"]["transform_ops"][1] == {"RandCropImage": {"size": 96}}


# The arguments that PaddleClas' test_tipc/test_train_inference_python.sh and benchmark_train.sh build from
# test_tipc/configs/GhostNet/*.txt; the key Global.auto_cast of those files selects the AMP arguments there.
TEST_SCRIPT_ARGUMENTS = {
    "norm_train": "-o Global.seed=1234 -o DataLoader.Train.sampler.shuffle=False "
    "-o DataLoader.Train.loader.num_workers=0 -o DataLoader.Train.loader.use_shared_memory=False "
    "-o Global.eval_during_train=False -o Global.save_interval=2 -o Global.device=gpu "
    "-o Global.output_dir=./out/norm_train_gpus_0_autocast_null_nodes_1 -o Global.epochs=2 "
    "-o AMP.use_amp=False -o DataLoader.Train.sampler.batch_size=8 -o Global.print_mem_info=True",
    "many_gpus": "-o Global.log_ranks=0,1,2,3,4,5,6,7 -o Global.print_mem_info=True",
    "amp_train": "-o AMP.scale_loss=128 -o AMP.use_dynamic_loss_scaling=True -o AMP.level=O2 "
    "-o AMP.use_amp=True",
    "to_static_train": "-o Global.to_static=True -o Global.print_batch_step=1",
    "legacy": "-o Global.auto_cast=null",
    "eval": "-o Global.pretrained_model=./out/GhostNet_x1_0/latest -o Global.device=gpu",
    "export": "-o Global.pretrained_model=./out/latest -o Global.save_inference_dir=./out",
    "benchmark": "-o Global.epochs=1 --profiler_options="
    "batch_range=[10,20];state=GPU;tracer_option=Default;profile_path=model.profile;timer_only=False",
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize("case", TEST_SCRIPT_ARGUMENTS)
def test_arguments_of_the_test_scripts(case: str) -> None:
    args = parse(["-c", str(RECIPE), *TEST_SCRIPT_ARGUMENTS[case].split()])
    config = load_config(args.config, args.override, profiler_options=args.profiler_options)
    if case == "many_gpus":
        assert config.Global.log_ranks == tuple(range(8))
    if case == "benchmark":
        assert config.profiler_options == ProfilerOptions(
            state="GPU", profile_path="model.profile", timer_only=False
        )


def test_overrides_may_be_repeated() -> None:
    args = parse(["-c", "x", "-o", "a=1", "-o", "b=2", "-o", "c=3"])
    assert args.override == ["a=1", "b=2", "c=3"]
    assert parse(["-c", "x"]).override == []


def lines_with_keys() -> list[int]:
    lines = RECIPE.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if re.match(r"[\s-]*\w+:", line)]


@pytest.mark.parametrize("number", lines_with_keys())
def test_a_misspelt_key_is_named_with_its_line(number: int, tmp_path: Path) -> None:
    lines = RECIPE.read_text().splitlines()
    lines[number - 1] = lines[number - 1].replace(":", "x:", 1)
    path = tmp_path / "wrong.yaml"
    path.write_text("\n".join(lines))
    found = problems(path=path)
    assert any(line.startswith(f"{path}:{number}:") for line in found), found
    assert all(line.startswith(f"{path}:") for line in found), found


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("Global.epoch=3", "Global.epoch: unknown key 'epoch'. Did you mean 'epochs'?"),
        ("Global.epochs=two", "Global.epochs: given the text 'two'; accepted: an integer at least 1."),
        ("Global.device=gpuu", "Did you mean 'gpu'"),
        ("Global.use_multilabel=True", "several labels per picture is out of scope here"),
        ("Global.train_mode=fixmatch", "ppghost.register()"),
        (f"Arch={TWO_NETWORKS} 'pretrained_list': [1, 2]}}", "the integer 1; accepted: a text or null"),
        (f"Arch={TWO_NETWORKS} 'freeze_params_list': ['yes', 'no']}}", "'yes'; accepted: true or false"),
        ("Global.train_mode=progressive", "need each other; write both or none"),
        (f"{RANDOM_CROP}.progress_size=[8,9,10,11]", "need each other; write both or none"),
        (f"{RANDOM_CROP}.progress_size=[8,9]", "progress_size has 2 values"),
        ("Global.eval_mode=retrieval", "evaluation of retrieval"),
        ("Global.use_dali=True", "leave it False"),
        ("Global.auto_cast=amp", "AMP.use_amp=True"),
        ("Global.seed=-1", "at least 0"),
        ("Global.image_shape=[1,28,28]", "accepted: 3."),
        ("Global.checkpoints=", "write null for none"),
        ("Arch.name=DistillationModel", "the key 'models' is missing"),
        ("Arch.name=RecModel", "ppghost.register()"),
        ("Arch.name=AttentionModel", "write DistillationModel with another of its losses"),
        ("Arch.name=GhostNet_x1_1", "unknown architecture 'GhostNet_x1_1'. Did you mean 'GhostNet_x"),
        ("Arch.width=2", "unknown key 'width'"),
        ("Arch.use_ssld=True", "set pretrained: True with it"),
        ("Slim.prune.name=fpgm", "do nothing to GhostNet"),
        ("DataLoader.UnLabelTrain={'a': 1}", "semi-supervised"),
        ("Infer.PostProcess.name=VehicleAttribute", "several labels"),
        ("Infer.PostProcess.name=TopK", "Did you mean 'Topk'"),
        ("Loss.Train.0={'TripletLoss': None}", "not served here"),
        ("Optimizer.name=Momentun", "Did you mean 'Momentum'"),
        ("Optimizr.name=SGD", "unknown key 'Optimizr'. Did you mean 'Optimizer'?"),
        ("DataLoader.Train.dataset.transform_ops.1.RandCropImage.sise=3", "Did you mean 'size'"),
        ("profiler_options='batch_range=[20,10]'", "the second step must be the greater"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_words(override: str, message: str) -> None:
    found = problems(override, arch_names=NAMES)
    assert any(message in line for line in found), found
    assert any(line.startswith((f"in override '{override}'", str(RECIPE))) for line in found), found


def all_paths(tree: Any, path: str = "") -> list[str]:
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    below = [found for step, value in steps for found in all_paths(value, f"{path}.{step}")]
    return [path[1:], *below] if path else below


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(all_paths(yaml.safe_load(RECIPE.read_text()))),
    st.sampled_from(
        ["None", "-1", "0", "1.5", "1e400", "nan", "", "[]", "{}", "[[1], [2]]", "[None]", "x", "{'a': 1}"]
    ),
)
def test_any_value_anywhere_gives_a_config_or_a_sentence(path: str, value: str) -> None:
    with contextlib.suppress(ConfigError):
        load_config(RECIPE, [f"{path}={value}"])


def test_all_problems_come_together() -> None:
    found = problems("Global.epoch=3", "Arch.name=RecModel", "AMP.level=O3", "Metric.Train.0.TopkAcc.topk=0")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Global.seed=False", 0),
        ("Global.seed=None", 0),
        ("Global.seed=7", 7),
        ("Global.feature_normalize=True", 0),
    ],
)
def test_harmless_words_are_accepted(written: str, meant: int) -> None:
    assert load_config(RECIPE, [written]).Global.seed == meant


def test_global_class_num_moves_to_arch_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        RECIPE.read_text().replace("  class_num: 1000\n", "").replace("Global:", "Global:\n  class_num: 7")
    )
    with caplog.at_level(logging.WARNING):
        moved = load_config(path)
        ignored = load_config(RECIPE, ["Global.class_num=7"])
    assert (moved.Arch.class_num, ignored.Arch.class_num) == (7, 1000)
    assert moved.to_dict()["Arch"]["class_num"] == 7
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert f"{path}:3:3: Global.class_num is deprecated" in caplog.text
    path.write_text(path.read_text().replace("class_num: 7", "class_num: x"))
    assert problems(path=path)[0].startswith(f"{path}:3:14: Arch.class_num: given the text 'x'")


def test_a_config_is_frozen_and_hands_out_copies() -> None:
    config = load_config(RECIPE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Global.epochs = 1  # type: ignore[misc]
    config.to_dict()["Global"]["epochs"] = 1
    assert config.to_dict()["Global"]["epochs"] == 360
    assert config.to_dict() == load_config(RECIPE).to_dict()
    assert config == load_config(RECIPE)


def test_what_to_dict_gives_loads_again(tmp_path: Path) -> None:
    config = load_config(RECIPE, ["Global.epochs=3"])
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(config.to_dict()))
    again = load_config(path)
    assert dataclasses.replace(again, source=config.source) == config


def test_the_listing_shows_every_value_with_its_depth() -> None:
    lines = load_config(RECIPE).describe()
    assert lines[:2] == ["Global : ", "    checkpoints : None"]
    assert "    lr : " in lines
    assert "        learning_rate : 0.8" in lines
    assert "            RandCropImage : " not in lines[:20]
    assert lines.count("-" * 60) == 8
    assert any(re.fullmatch(r" +RandCropImage : ", line) for line in lines)


def test_small_files_for_one_program_suffice(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("Global: {epochs: 1}\nArch: {name: GhostNet_x1_0}\n")
    config = load_config(path)
    assert (config.Optimizer, config.Loss.Train, config.DataLoader.Train, config.Infer) == (
        (),
        (),
        None,
        None,
    )
    path.write_text("Arch: {name: GhostNet_x1_0}\n")
    assert problems(path=path) == [f"{path}:1:1: the key 'Global' is missing; accepted: a mapping."]


def test_lists_of_optimizers(tmp_path: Path) -> None:
    config = load_config(
        RECIPE,
        ["Optimizer=[{'SGD': {'scope': 'conv1', 'lr': {'learning_rate': 0.1}}}]"],
    )
    (optimizer,) = config.Optimizer
    assert (type(optimizer).__name__, optimizer.scope, optimizer.lr.learning_rate) == ("SGD", "conv1", 0.1)


def test_shipped_configurations_load_by_bare_name() -> None:
    shipped = shipped_configs()
    assert set(NAMES) <= set(shipped)
    for name in NAMES:
        config = load_config(name, arch_names=NAMES)
        assert config.Arch.name == name
        assert Path(config.source) == shipped[name]
    with pytest.raises(ConfigError, match="Did you mean 'GhostNet_x"):
        find_config("GhostNet_x1_1")
    with pytest.raises(ConfigError, match="There is no configuration file"):
        load_config("no/such.yaml")
    with pytest.raises(ConfigError, match="no shipped configuration"):
        load_config("x" * 300)


def test_progressive_training_is_read_as_paddleclas_writes_it() -> None:
    staged = f"{RANDOM_CROP}.progress_size=[171,214,257,300]"
    config = load_config(RECIPE, ["Global.train_mode=progressive", staged])
    assert config.Global.train_mode == "progressive"
    assert load_config(RECIPE, ["Global.train_mode=False"]).Global.train_mode is None
    evaluated = (
        "DataLoader.Eval.dataset.transform_ops.1={'RandCropImage': {'size': 8, 'progress_size': [8,8,8,8]}}"
    )
    assert "belong to training" in problems("Global.train_mode=progressive", staged, evaluated)[0]


def test_profiler_options_are_checked() -> None:
    config = load_config(RECIPE, profiler_options="batch_range=[1,5]; exit_on_finished=no;state=CPU")
    assert config.profiler_options == ProfilerOptions(batch_range=(1, 5), exit_on_finished=False, state="CPU")
    for wrong, words in {
        "batch_rnge=[1,5]": "Did you mean 'batch_range'",
        "batch_range=[5,1]": "greater",
        "state=TPU": "accepted: 'CPU'",
        "state": "not understood",
    }.items():
        with pytest.raises(ConfigError, match=words):
            load_config(RECIPE, profiler_options=wrong)


def test_nothing_is_executed(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    attack = f"__import__('os').mkdir('{marker}')"
    for key in (
        "Global.epochs",
        "Global.output_dir",
        "Optimizer.lr.learning_rate",
        "DataLoader.Train.dataset.transform_ops.3.NormalizeImage.scale",
        f"Global.{attack.split('.')[0]}",
    ):
        with contextlib.suppress(ConfigError):
            load_config(RECIPE, [f"{key}={attack}"])
    assert not marker.exists()


def test_loading_needs_no_paddle() -> None:
    program = (
        "import sys\n"
        "from ppghost.config import load_config\n"
        "load_config(sys.argv[1])\n"
        "sys.exit('paddle' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ppghost.__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", program, str(RECIPE)], check=True, env=environment)


@pytest.mark.parametrize("name", NAMES)
def test_paddleclas_own_files_load_unmodified(name: str) -> None:
    root = paddleclas_root()
    theirs = load_config(root / "ppcls/configs/ImageNet/GhostNet" / f"{name}.yaml", arch_names=NAMES)
    ours = load_config(RECIPE, [f"Arch.name={name}"])
    assert dataclasses.replace(theirs, source=ours.source) == ours
    assert theirs.to_dict() == ours.to_dict()


def test_every_imagenet_recipe_of_paddleclas_loads_or_says_why_not() -> None:
    files = sorted((paddleclas_root() / "ppcls/configs/ImageNet").rglob("*.yaml"))
    assert files
    refused = []
    for file in files:
        try:
            load_config(file)
        except ConfigError as error:
            refused.append((file, str(error).splitlines()))
    for file, lines in refused:
        for line in lines:
            assert re.match(rf"{re.escape(str(file))}:\d+:\d+: [A-Za-z]", line), line
    assert len(refused) < len(files) / 2


def test_argument_lists_of_paddleclas_test_scripts() -> None:
    files = sorted((paddleclas_root() / "test_tipc/configs/GhostNet").glob("*.txt"))
    assert files
    for file in files:
        rows = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
        own = [rows[key] for key in ("norm_train", "amp_train") if rows.get(key, "null") != "null"]
        assert own
        name = rows["model_name"].split("_train")[0]
        for command in own:
            overrides = re.findall(r"-o (\S+)", command + " " + rows.get("to_static_train", ""))
            config = load_config(RECIPE, [f"Arch.name={name}", *overrides])
            assert config.Global.seed == 1234
