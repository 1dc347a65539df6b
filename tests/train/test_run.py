"""Whole runs: equal to PaddleClas' engine, exact when resumed, stopped cleanly, told in its lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_runs import COMPARABLE, REFERENCE, assert_same_change, places, small_overrides, weights_of
from trajectory import write_calm_weights

from ppghost.config import Config, load_config
from ppghost.errors import ConfigError, GhostError, OutputError, TrainingError, WeightsError
from ppghost.train.loop import Silent
from ppghost.train.run import TrainResult, evaluate_config, plan, train
from ppghost.zoo import build_model


class Recorder(Silent):
    """Keeps lines and curves."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.scalars: list[tuple[str, float, int]] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))


class StopAfter:
    """Asks to stop at the n-th question."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def states_of(result: TrainResult, name: str = "latest") -> dict[str, Any]:
    """Return weights and optimizer state of a checkpoint, flat."""
    prefix = str(result.output_dir / name)
    (optimizer,) = paddle.load(prefix + ".pdopt")
    rates = optimizer.pop("LR_Scheduler")
    return {**paddle.load(prefix + ".pdparams"), **optimizer, **rates}


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Assert that two checkpoints are equal bit for bit."""
    assert left.keys() == right.keys()
    for key in left:
        np.testing.assert_array_equal(np.asarray(left[key]), np.asarray(right[key]), err_msg=key)


# ------------------------------------------------------------------------------------ against PaddleClas


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """Return what PaddleClas' engine did; `tests/reference/README.md` tells how it was recorded."""
    return json.loads((REFERENCE / "trajectory.json").read_text())


@pytest.fixture(scope="module")
def reference_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Return what our loop does with the same weights, batches and YAML.

    With Paddle's own depthwise convolution, as PaddleClas has it: the loop is compared, not the kernel, and
    steps magnify rounding (a change of 1e-7 in the weights changes the 15th loss by 1e-4).
    """
    folder = tmp_path_factory.mktemp("reference")
    config = load_config(
        REFERENCE / "trajectory.yaml",
        [
            *places(pictures),
            f"Global.output_dir={folder}",
            f"Global.pretrained_model={write_calm_weights(folder)}",
        ],
    )
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPGHOST_DEPTHWISE", "native")
        train(config, reporter=recorder)
    return recorder


def test_twenty_steps_are_those_of_paddleclas(reference: dict[str, Any], reference_run: Recorder) -> None:
    means = [value for name, value, _ in reference_run.scalars if name == "train_loss"]
    # The lines tell the mean of the epoch so far; undo it to compare step by step.
    steps = len(means) // 10
    losses = [
        means[i] * (i % steps + 1) - (means[i - 1] * (i % steps) if i % steps else 0)
        for i in range(len(means))
    ]
    np.testing.assert_allclose(losses, reference["loss"], rtol=1e-4)
    rates = [value for name, value, _ in reference_run.scalars if name.startswith("lr(")]
    np.testing.assert_allclose(rates[:-1], reference["lr"][1:], rtol=1e-9)
    top1 = [value for name, value, _ in reference_run.scalars if name == "eval_acc"]
    np.testing.assert_allclose(top1, reference["eval_top1"], rtol=1e-6)


MEAN = r"(?<!\d)\d\.\d{5}(?=[,\s]|$)"
"""A loss or an accuracy in a log line: five decimals. Learning rates have eight."""


def without_measurements(line: str) -> str:
    """Return a log line with times, speeds, losses and accuracies blanked."""
    line = re.sub(r"(batch_cost: |reader_cost: |ips: )[\d.]+", r"\1T", line)
    line = re.sub(r"eta: \d:\d\d:\d\d", "eta: T", line)
    line = re.sub(r"(best metric: )[\d.]+", r"\1M", line)
    return re.sub(MEAN, "F", line)


def means_in(lines: list[str]) -> list[float]:
    """Return the losses and accuracies of log lines."""
    texts = [re.sub(r"(reader_cost: |ips: )[\d.]+", "", line) for line in lines]
    return [float(mean) for text in texts for mean in re.findall(MEAN, text)]


def test_log_lines_are_those_of_paddleclas(reference: dict[str, Any], reference_run: Recorder) -> None:
    ours = [line for line in reference_run.lines if line.startswith(("[Train]", "[Eval]"))]
    assert [without_measurements(line) for line in ours] == [
        without_measurements(line) for line in reference["log"]
    ]
    # Sums in another order, as with another number of threads, round otherwise; steps magnify that.
    np.testing.assert_allclose(means_in(ours), means_in(reference["log"]), rtol=1e-3)


# -------------------------------------------------------------------------------------- exact resuming

RANDOM = (
    "Global.epochs=2",
    "Global.eval_interval=1",
    "DataLoader.Train.loader.num_workers=2",
    "DataLoader.Train.dataset.transform_ops.1={'RandCropImage': {'size': 32}}",
    "EMA.decay=0.9",
    "Global.seed=7",
)


def test_a_run_resumed_after_an_epoch_equals_the_uninterrupted_one(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    whole = train(small_config(*RANDOM))
    # Five steps ask four times; the fifth question comes at the end of the epoch.
    first = train(small_config(*RANDOM, f"Global.output_dir={tmp_path}/parts"), should_stop=StopAfter(5))
    assert first.interrupted
    assert (first.position.epoch, first.position.step) == (1, 0)
    second = train(
        small_config(
            *RANDOM, f"Global.output_dir={tmp_path}/parts", f"Global.checkpoints={tmp_path}/parts/latest"
        )
    )
    assert not second.interrupted
    assert_same(states_of(whole), states_of(second))
    assert_same(states_of(whole, "best_model"), states_of(second, "best_model"))
    assert whole.position == second.position


def test_a_run_stopped_inside_an_epoch_continues_there(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    whole = train(small_config(*RANDOM))
    parts = (*RANDOM, f"Global.output_dir={tmp_path}/parts")
    first = train(small_config(*parts), should_stop=StopAfter(3))
    assert (first.position.epoch, first.position.step) == (0, 3)
    second = train(small_config(*parts, f"Global.checkpoints={tmp_path}/parts/latest"))
    assert_same(states_of(whole), states_of(second))


def test_the_best_metric_survives_a_resume(small_config: Callable[..., Config], tmp_path: Path) -> None:
    first = train(small_config("Global.epochs=1", "Global.eval_interval=1"))
    resumed = train(
        small_config(
            "Global.epochs=2", "Global.eval_interval=1", f"Global.checkpoints={first.output_dir}/latest"
        )
    )
    assert resumed.position.best_metric >= first.position.best_metric > 0


def test_seeds_change_runs_and_nothing_else_does(small_config: Callable[..., Config], tmp_path: Path) -> None:
    def run(name: str, *more: str) -> dict[str, Any]:
        return states_of(
            train(small_config(*RANDOM, "Global.epochs=1", f"Global.output_dir={tmp_path}/{name}", *more))
        )

    first = run("first")
    assert_same(first, run("again", "DataLoader.Train.loader.num_workers=0"))
    other = run("other", "Global.seed=8")
    assert any((np.asarray(first[key]) != np.asarray(other[key])).any() for key in first)


def test_gradients_of_several_steps_add_up_to_one_update(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    start = (*COMPARABLE, f"Global.pretrained_model={write_calm_weights(tmp_path)}")
    halving = ("Global.update_freq=2", "DataLoader.Train.sampler.batch_size=4")
    train(small_config(*start, f"Global.output_dir={tmp_path}/whole"))
    train(small_config(*start, *halving, f"Global.output_dir={tmp_path}/halves"))
    assert_same_change(*(weights_of(tmp_path / name) for name in ("calm", "whole/latest", "halves/latest")))


# ------------------------------------------------------------------------------------------ fine-tuning


def test_weights_for_other_classes_load_all_but_the_classifier(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    paddle.seed(5)
    source = build_model("GhostNet_x0_5", class_num=9)
    paddle.save(source.state_dict(), str(tmp_path / "nine.pdparams"))
    result = train(
        small_config(
            f"Global.pretrained_model={tmp_path}/nine",
            "Arch.freeze=['conv*', '_ghost*', 'fc_0*']",
            "Global.epochs=1",
        )
    )
    trained = paddle.load(str(result.output_dir / "latest.pdparams"))
    for name, tensor in source.state_dict().items():
        if not name.startswith("fc_1"):
            np.testing.assert_array_equal(trained[name].numpy(), tensor.numpy(), err_msg=name)
    assert list(trained["fc_1.weight"].shape) == [1280, 5]
    assert float(trained["fc_1.bias"].abs().sum()) > 0, "the classifier must have been trained"


def test_a_freeze_pattern_that_matches_nothing_is_refused(small_config: Callable[..., Config]) -> None:
    with pytest.raises(GhostError, match=r"no parameter matches 'conv9\.\*'.*conv1"):
        train(small_config("Arch.freeze=['conv9.*']"))


def test_freezing_everything_is_refused(small_config: Callable[..., Config]) -> None:
    with pytest.raises(GhostError, match="nothing is left"):
        train(small_config("Arch.freeze=['*']"))


# ------------------------------------------------------------------------------------------- evaluation


def test_evaluation_counts_every_sample_once_whatever_the_batch(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    result = train(small_config("Global.epochs=1"))
    weights = f"Global.pretrained_model={result.output_dir}/latest"
    first = evaluate_config(small_config(weights, "DataLoader.Eval.sampler.batch_size=40"))
    second = evaluate_config(small_config(weights, "DataLoader.Eval.sampler.batch_size=7"))
    assert first.sample_count == second.sample_count == 40
    assert first.metrics == second.metrics
    np.testing.assert_allclose(list(first.losses.values()), list(second.losses.values()), rtol=1e-5)


# ------------------------------------------------------------------------------------------------ faults


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    small_config: Callable[..., Config],
) -> None:
    with pytest.raises(TrainingError, match=r"epoch 1, step [1-4]"):
        train(small_config("Optimizer.lr.learning_rate=1e30", "Optimizer.lr.warmup_epoch=0"))


def test_weights_that_the_last_update_broke_are_not_saved(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    broken = ("Optimizer.lr.learning_rate=1e39", "Optimizer.lr.warmup_epoch=0", "Global.iter_per_epoch=1")
    with pytest.raises(TrainingError, match=r"After epoch 1, \d+ weights are NaN .* Nothing was saved"):
        train(small_config(*broken))
    assert not list(tmp_path.rglob("*.pdparams"))


def test_a_checkpoint_of_another_architecture_is_refused(small_config: Callable[..., Config]) -> None:
    result = train(small_config("Global.epochs=1"))
    with pytest.raises(GhostError, match=r"GhostNet_x0_5 with 5 classes.*GhostNet_x1_0"):
        train(small_config("Arch.name=GhostNet_x1_0", f"Global.checkpoints={result.output_dir}/latest"))


def test_a_missing_checkpoint_is_refused_before_training(small_config: Callable[..., Config]) -> None:
    with pytest.raises(WeightsError, match=r"no_such\.pdparams"):
        train(small_config("Global.checkpoints=no_such"))


def test_an_output_folder_that_is_a_file_is_refused_before_training(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Global\.output_dir"):
        train(small_config(f"Global.output_dir={tmp_path}/file"))


def test_training_without_train_data_is_refused(small_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"DataLoader\.Train"):
        train(small_config("DataLoader.Train=null"))


# ----------------------------------------------------------------------------------------------- telling


def test_the_batch_is_told_with_the_way_to_scale_the_rate(small_config: Callable[..., Config]) -> None:
    text = "\n".join(plan(small_config("Global.update_freq=2")))
    assert "Total batch: 16" in text
    assert "2048" in text
    assert "-o Optimizer.lr.auto_scale=True" in text


def test_scaling_multiplies_the_rate(small_config: Callable[..., Config]) -> None:
    recorder = Recorder()
    train(
        small_config(
            "Global.epochs=1",
            "Optimizer.lr={'name': 'ConstLR', 'learning_rate': 0.8, 'auto_scale': True}",
        ),
        reporter=recorder,
    )
    assert recorder.scalars[0][1] == pytest.approx(0.8 * 8 / 2048)


# --------------------------------------------------------------------------------- resuming what fits

EMA = "EMA.decay=0.9"
PLAIN_RATE = "Optimizer.lr={'name': 'ConstLR', 'learning_rate': 0.01}"


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Return a run of one epoch that was not evaluated and that kept no averages."""
    folder = tmp_path_factory.mktemp("finished")
    overrides = small_overrides(pictures, folder, "Global.epochs=1", "Global.eval_during_train=False")
    return train(load_config(REFERENCE / "trajectory.yaml", overrides))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (PLAIN_RATE, r"latest\.pdopt belongs to another learning rate.*LinearWarmup_LR.*configuration"),
        (EMA, r"keeps no averaged weights.*-o EMA=null"),
        ("Arch.freeze=['conv1*']", r"latest\.pdopt belongs to other parameters.*momentum would be lost"),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_recipe_is_refused(
    finished: TrainResult, small_config: Callable[..., Config], override: str, sentence: str
) -> None:
    with pytest.raises(GhostError, match=sentence):
        train(small_config(f"Global.checkpoints={finished.output_dir}/latest", override))


def test_a_checkpoint_with_averages_is_not_resumed_without(small_config: Callable[..., Config]) -> None:
    result = train(small_config("Global.epochs=1", "Global.eval_during_train=False", EMA))
    with pytest.raises(WeightsError, match=r"keeps averaged weights.*-o EMA\.decay"):
        train(small_config(f"Global.checkpoints={result.output_dir}/latest"))


def test_momentum_under_the_names_of_paddleclas_is_refused(
    finished: TrainResult, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    prefix = tmp_path / "theirs"
    [state] = paddle.load(f"{finished.output_dir}/latest.pdopt")
    rates = state.pop("LR_Scheduler")
    theirs = {key.replace("GhostNet_x0_5_0_", ""): value for key, value in state.items()}
    paddle.save([{**theirs, "LR_Scheduler": rates}], f"{prefix}.pdopt")
    paddle.save({"metric": 0.5, "epoch": 1}, f"{prefix}.pdstates")
    paddle.save(paddle.load(f"{finished.output_dir}/latest.pdparams"), f"{prefix}.pdparams")
    with pytest.raises(GhostError, match=r"other parameters.*Global\.pretrained_model"):
        train(small_config(f"Global.checkpoints={prefix}"))


def test_a_finished_run_says_that_nothing_is_left_and_needs_no_other_weights(
    finished: TrainResult, small_config: Callable[..., Config]
) -> None:
    recorder = Recorder()
    resumed = train(
        small_config(
            "Global.epochs=1",
            f"Global.checkpoints={finished.output_dir}/latest",
            "Global.pretrained_model=/nowhere",
        ),
        reporter=recorder,
    )
    assert resumed.position.epoch == 1
    assert any("Nothing is left to train" in line for line in recorder.lines)


def test_an_epoch_that_is_cut_in_another_way_begins_again(
    small_config: Callable[..., Config], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = ("Global.epochs=1", f"Global.output_dir={tmp_path}/parts")
    train(small_config(*parts), should_stop=StopAfter(3))
    other = ("DataLoader.Train.sampler.batch_size=20", f"Global.checkpoints={tmp_path}/parts/latest")
    recorder = Recorder()
    train(small_config(*parts, *other), reporter=recorder)
    assert "cut into 5 steps" in caplog.text
    assert any("[Iter: 0/2]" in line for line in recorder.lines)


# -------------------------------------------------------------------------------------- odd recipes


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("Optimizer=null",), r"Optimizer is missing"),
        (("Loss.Train=null",), r"Loss\.Train is missing"),
        (("Loss.Eval=[{'SoftTargetCrossEntropy': {}}]",), r"Loss\.Eval.*CELoss"),
        (("AMP.level=O1",), r"AMP\.use_amp=False"),
        (
            (
                "Optimizer.lr={'name': 'ReduceOnPlateau', 'learning_rate': 1, 'mode': 'max',"
                "'by_epoch': True}",
                "Global.eval_during_train=False",
            ),
            r"ReduceOnPlateau.*eval_during_train",
        ),
    ],
)
def test_a_recipe_that_could_not_end_well_is_refused_by_check_and_by_training(
    small_config: Callable[..., Config], overrides: tuple[str, ...], sentence: str
) -> None:
    for program in (plan, train):
        with pytest.raises(ConfigError, match=sentence):
            program(small_config(*overrides))


def test_an_evaluation_that_measures_nothing_is_refused(small_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"Metric\.Eval and Loss\.Eval"):
        evaluate_config(small_config("Loss.Eval=null", "Metric.Eval=null"))


def test_a_plateau_of_the_accuracy_lowers_the_rate(small_config: Callable[..., Config]) -> None:
    recorder = Recorder()
    rate = (
        "Optimizer.lr={'name': 'ReduceOnPlateau', 'learning_rate': 0.01, 'mode': 'max', 'by_epoch': True,"
        "'patience': 0, 'threshold': 5, 'threshold_mode': 'abs', 'factor': 0.5}"
    )
    short = ("Global.epochs=3", "Global.eval_interval=1", "Global.iter_per_epoch=1")
    train(small_config(rate, *short), reporter=recorder)
    rates = [value for name, value, _ in recorder.scalars if name == "lr(ReduceOnPlateau)"]
    assert rates == pytest.approx([0.01, 0.01, 0.005]), "no accuracy rises by 5"


@pytest.mark.parametrize("steps", [2, 7])
def test_an_epoch_has_as_many_steps_as_asked_for(small_config: Callable[..., Config], steps: int) -> None:
    recorder = Recorder()
    short = ("Global.epochs=1", "Global.eval_during_train=False", f"Global.iter_per_epoch={steps}")
    result = train(small_config(*short), reporter=recorder)
    assert result.position.global_step == steps
    assert sum("[Train][Epoch 1/1][Iter:" in line for line in recorder.lines) == steps


# ------------------------------------------------------------------------------------ broken pictures


def test_a_broken_picture_is_told_though_the_data_were_read_twice(
    pictures: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    (pictures / "pictures" / "broken.png").write_bytes(b"no picture")
    lines = (pictures / "list.txt").read_text().splitlines() * 3
    (tmp_path / "list.txt").write_text("\n".join(["broken.png 0", *lines]) + "\n")
    recorder = Recorder()
    train(
        small_config(
            f"DataLoader.Train.dataset.cls_label_path={tmp_path}/list.txt",
            "DataLoader.Train.sampler.batch_size=121",
            "Global.iter_per_epoch=2",
            "Global.epochs=1",
            "Global.eval_during_train=False",
        ),
        reporter=recorder,
    )
    [told] = [line for line in recorder.lines if "could not be read" in line]
    assert "1 picture(s)" in told
    assert "broken.png" in told


def test_a_broken_picture_in_the_evaluation_does_not_cost_the_epoch(
    pictures: Path, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    (pictures / "pictures" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "list.txt").write_text("broken.png 0\n")
    config = small_config(
        f"DataLoader.Eval.dataset.cls_label_path={tmp_path}/list.txt",
        "Global.epochs=1",
        "Global.eval_interval=1",
    )
    with pytest.raises(GhostError, match=r"broken\.png"):
        train(config)
    assert paddle.load(f"{config.Global.output_dir}/latest.pdstates")["epoch"] == 1
