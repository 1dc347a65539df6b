"""Teachers that are no networks of ours: exported folders, PaddleClas' networks, weights at an address."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest
from small_runs import REFERENCE, small_overrides, weights_of
from test_distillation import DISTILL
from trajectory import write_calm_weights

from ppghost.artifact import read_artifact
from ppghost.config import Config
from ppghost.config.sections import ExportedTeacher
from ppghost.environments import PADDLECLAS, ensure_environment
from ppghost.errors import ConfigError, GhostError, ToolMissingError
from ppghost.export.paddle import export_network
from ppghost.plugin import find_theirs
from ppghost.train.plan import plan
from ppghost.train.run import train
from ppghost.train.teachers import Teachers, logits_of
from ppghost.vision import Pipeline
from ppghost.zoo import build_model, get_card

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the weights of a network for pictures of 32 x 32, without suffix, and its exported folder."""
    folder = tmp_path_factory.mktemp("exported")
    weights = write_calm_weights(folder)
    net = build_model("GhostNet_x0_5", class_num=5, pretrained=weights)
    pipeline = Pipeline.from_list(
        [
            {"DecodeImage": {"to_rgb": True}},
            {"CropImage": {"size": 32}},
            get_card("GhostNet_x0_5").eval_transforms()[-1],
        ]
    )
    export_network(
        net, folder / "inference", name="teacher", image_shape=(3, 32, 32), pipeline=pipeline, graph="fused"
    )
    return weights, folder / "inference"


def member(folder: Path, more: str = "") -> str:
    """Return the override that makes a folder the teacher."""
    return f"Arch.models.0.Teacher={{'name': 'artifact', 'path': '{folder}'{more}}}"


def taught_by(folder: Path, *overrides: str) -> tuple[str, ...]:
    """Return the overrides of a distillation whose teacher is an exported folder."""
    arch = DISTILL[0].replace(
        "{'name': 'GhostNet_x1_0', 'class_num': 5}", f"{{'name': 'artifact', 'path': '{folder}'}}"
    )
    assert "artifact" in arch
    return (arch, *DISTILL[1:], *overrides)


# ------------------------------------------------------------------------------------------- exported


def test_logarithms_of_probabilities_are_logits_of_the_same_answer() -> None:
    logits = np.random.default_rng(0).normal(scale=8, size=(6, 9)).astype("float32")
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    given = logits_of(shares / shares.sum(axis=1, keepdims=True))
    shift = given - logits
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=2e-5)
    assert np.isfinite(logits_of(np.array([[1.0, 0.0]], np.float32))).all()


@pytest.mark.parametrize("engine", ["ghost", "native"])
def test_an_exported_teacher_answers_as_its_network(
    engine: str, exported: tuple[Path, Path], small_config: Callable[..., Config]
) -> None:
    weights, folder = exported
    net = build_model("GhostNet_x0_5", class_num=5, pretrained=weights)
    net.eval()
    images = paddle.randn([3, 3, 32, 32])
    with Teachers(small_config(*taught_by(folder))) as teachers, paddle.no_grad():
        teacher = teachers.open("Teacher", ExportedTeacher("artifact", str(folder), engine=engine, threads=1))
        given, expected = (paddle.nn.functional.softmax(x).numpy() for x in (teacher(images), net(images)))
        assert not teacher.state_dict()
        with pytest.raises(
            ConfigError, match=r"exported for pictures of \[3, 32, 32\], but .* \[3, 64, 64\]"
        ):
            teacher(paddle.randn([3, 3, 64, 64]))
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_a_student_learns_the_same_from_an_export_as_from_its_network(
    exported: tuple[Path, Path], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    weights, folder = exported
    base = ("Global.epochs=1", f"Arch.models.1.Student.pretrained={weights}")
    live = ("Arch.models.0.Teacher.name=GhostNet_x0_5", f"Arch.models.0.Teacher.pretrained={weights}")
    train(small_config(*DISTILL, *live, *base, f"Global.output_dir={tmp_path / 'live'}"))
    config = small_config(*taught_by(folder, *base))
    assert f"exported, version {read_artifact(folder).facts.version}" in plan(config)[0]
    train(config)
    live_end, end = (weights_of(path / "latest") for path in (tmp_path / "live", tmp_path / "output"))
    assert all(name.startswith("Student.") for name in end)
    for name, value in end.items():
        np.testing.assert_allclose(value, live_end[name], rtol=1e-3, atol=1e-3, err_msg=name)


REFUSED = {
    "no folder": (member(Path("/nowhere")), "There is no folder '/nowhere'"),
    "no path": ("Arch.models.0.Teacher={'name': 'artifact', 'path': ''}", "path is an empty text"),
    "trained": ("Arch.freeze_params_list=[False, False]", "cannot be trained"),
    "shipped": ("Arch.infer_model_name=Teacher", "cannot be trained or shipped again"),
    "weights": ("Arch.pretrained_list=['weights', None]", "holds its weights"),
    "classes": ("Arch.models.1.Student.class_num=6", "has 5 classes, the student has 6"),
    "levels": (
        "DataLoader.Train.dataset.transform_ops.2.NormalizeImage.mean=[0.5, 0.5, 0.5]",
        r"exported for pictures with mean \(0.485.*prepares them with \(0.5",
    ),
    "colours": (
        "DataLoader.Train.dataset.transform_ops.0.DecodeImage.to_rgb=False",
        "with to_rgb True.*False",
    ),
    "size": (
        "DataLoader.Train.dataset.transform_ops.1.CropImage.size=48",
        r"exported for pictures of \[3, 32, 32\]",
    ),
    "static": ("Global.to_static=True", "static graph cannot contain"),
    "engine": ("Arch.models.0.Teacher.engine=ghst", "Unknown engine 'ghst'.*Did you mean 'ghost'"),
    "shift": ("Loss.Train.0.DistillationDMLLoss.act=sigmoid", "DistillationDMLLoss depends on it"),
    "sublayer": (
        "Loss.Train=[{'DistillationDistanceLoss': {'key': 'conv1', 'model_name_pairs': "
        "[['Student', 'Teacher']], 'act': 'softmax'}}]",
        "Teacher has no such sublayer",
    ),
    "unknown key": ("Arch.models.0.Teacher.pretrained=True", "pretrained"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_export_that_does_not_fit_is_refused(
    case: str, exported: tuple[Path, Path], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    override, sentence = REFUSED[case]
    with pytest.raises(GhostError, match=re.compile(sentence, re.DOTALL)):
        train(small_config(*taught_by(exported[1], override)))
    assert not list(tmp_path.rglob("*.pdparams"))


def test_an_export_refuses_pictures_whose_size_changes(
    exported: tuple[Path, Path], small_config: Callable[..., Config]
) -> None:
    crop = "{'RandCropImage': {'size': 32, 'progress_size': [32, 32, 32, 64]}}"
    grows = (f"DataLoader.Train.dataset.transform_ops.1={crop}", "Global.train_mode=progressive")
    with pytest.raises(ConfigError, match=r"exported for .*changes their size \(32 x 32, 64 x 64\)"):
        plan(small_config(*taught_by(exported[1], *grows)))
    same = crop.replace("64", "32")
    plan(small_config(*taught_by(exported[1], grows[0].replace(crop, same), grows[1])))


def test_an_export_learns_of_every_dataset_of_a_mix_how_it_is_prepared(
    exported: tuple[Path, Path], small_config: Callable[..., Config]
) -> None:
    alone = small_config().DataLoader.Train.dataset
    part = {
        "name": "ImageNetDataset",
        "image_root": alone.image_root,
        "cls_label_path": alone.cls_label_path,
        "transform_ops": [
            {"DecodeImage": {}},
            {"CropImage": {"size": 32}},
            {"NormalizeImage": {"order": ""}},
        ],
    }
    other = {**part, "transform_ops": [*part["transform_ops"][:2], {"NormalizeImage": {"mean": [0.5] * 3}}]}

    def mix(*parts: object) -> tuple[str, ...]:
        mixed = {"name": "MixDataset", "datasets_config": [*parts]}
        return taught_by(exported[1], f"DataLoader.Train.dataset={mixed}")

    assert plan(small_config(*mix(part, part)))
    with pytest.raises(ConfigError, match=r"exported for pictures with mean .*0\.485.* with \(0\.5, 0\.5"):
        plan(small_config(*mix(part, other)))


# ------------------------------------------------------------------------------------------ another zoo


def taught_by_theirs(name: str, *overrides: str) -> tuple[str, ...]:
    """Return the overrides of a distillation whose teacher is a network of PaddleClas."""
    return (*DISTILL, f"Arch.models.0.Teacher.name={name}", *overrides)


def test_a_network_of_paddleclas_needs_paddleclas(small_config: Callable[..., Config]) -> None:
    if importlib.util.find_spec("paddleclas") or importlib.util.find_spec("ppcls"):
        pytest.skip("PaddleClas is installed here, so it is not missing")
    config = small_config(*taught_by_theirs("ResNet50_vd"))
    for start in (plan, lambda given, zoo: train(given, other_zoo=zoo)):
        with pytest.raises(
            ToolMissingError, match=r"'ResNet50_vd' is no network of ours.*paddleclas==2\.6\.0"
        ):
            start(config, find_theirs)
    with pytest.raises(GhostError, match="GhostNet"):
        train(config)


def test_a_teacher_without_weights_is_told(
    small_config: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    plan(small_config(*DISTILL, "Arch.models.0.Teacher.pretrained=weights"))
    assert "random" not in caplog.text
    plan(small_config(*DISTILL))
    assert "Teacher is frozen and has no weights" in caplog.text


def test_students_of_another_zoo_are_refused(small_config: Callable[..., Config]) -> None:
    config = small_config(*DISTILL, "Arch.models.1.Student.name=ResNet50_vd")
    with pytest.raises(GhostError, match="ResNet50_vd"):
        train(config, other_zoo=find_theirs)


def run_in_paddleclas(pictures: Path, output: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run a training where the paddleclas wheel is installed."""
    try:
        python = ensure_environment(PADDLECLAS)
    except ToolMissingError as error:
        pytest.skip(f"No environment for the paddleclas wheel. {error}")
    words = [word for one in small_overrides(pictures, output, *overrides) for word in ("-o", one)]
    return subprocess.run(
        [str(python), str(ROOT / "tools/train.py"), "-c", str(REFERENCE / "trajectory.yaml"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_a_network_of_paddleclas_teaches_one_of_ours(pictures: Path, tmp_path: Path) -> None:
    more = ("Global.epochs=1", "Global.image_shape=[3, 32, 32]")
    done = run_in_paddleclas(pictures, tmp_path / "one", *taught_by_theirs("ResNet18_vd"), *more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    before = weights_of(tmp_path / "one" / "latest")
    teacher = {name: value for name, value in before.items() if name.startswith("Teacher.")}
    assert "Teacher.fc.weight" in teacher
    # What it ended with is what another run begins with, and leaves as it was.
    paddle.save(
        {name[len("Teacher.") :]: paddle.to_tensor(value) for name, value in teacher.items()},
        str(tmp_path / "theirs.pdparams"),
    )
    given = f"Arch.pretrained_list=['{tmp_path / 'theirs'}', None]"
    done = run_in_paddleclas(pictures, tmp_path / "two", *taught_by_theirs("ResNet18_vd"), *more, given)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    after = weights_of(tmp_path / "two" / "latest")
    for name, value in teacher.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)


def test_a_name_that_nobody_knows_is_told_with_the_near_ones(pictures: Path, tmp_path: Path) -> None:
    done = run_in_paddleclas(pictures, tmp_path / "out", *taught_by_theirs("ResNet50_vdd"))
    assert done.returncode == 2
    assert "Did you mean 'ResNet50_vd'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
