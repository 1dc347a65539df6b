"""Distillation: each loss against NumPy, frozen teachers to the bit, runs, checkpoints, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_reference import RECORDED, bound, distilled_samples
from small_runs import weights_of

from ppghost.config import Config, recipe
from ppghost.config import distillation as specs
from ppghost.errors import ConfigError, WeightsError
from ppghost.train.distillation import Members, build_distillation_loss
from ppghost.train.plan import plan
from ppghost.train.run import evaluate_config, train
from ppghost.zoo import build_model

PAIRS = (("Student", "Teacher"),)


# --------------------------------------------------------------------------------- references in float64


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """Mean over rows of the sum of p log(p / q)."""
    return float((p * (np.log(p) - np.log(q))).sum(axis=-1).mean())


def cross_entropy(target: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return -(target * np.log(softmax(logits))).sum(axis=-1)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[labels]


def dml(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return (kl(softmax(s), softmax(t)) + kl(softmax(t), softmax(s))) / 2


def dml_sigmoid(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    p, q = 1 / (1 + np.exp(-s)), 1 / (1 + np.exp(-t))
    return (kl(p, q) + kl(q, p)) / 2


def soft_cross_entropy(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return float(cross_entropy(softmax(t), s).mean())


def smoothed(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return float(cross_entropy(0.9 * softmax(t) + 0.1 / t.shape[1], s).mean())


def hinton(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return 16 * kl(softmax(t / 4), softmax(s / 4))


def decoupled(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    """By its definition: the binary part, and the part among the wrong classes, row by row."""
    total = 0.0
    for row_s, row_t, label in zip(s / 2, t / 2, y):
        p, q = softmax(row_t), softmax(row_s)
        binary = [(p[label], q[label]), (1 - p[label], 1 - q[label])]
        on_right = sum(a * np.log(a / b) for a, b in binary)
        p, q = (np.delete(x, label) / (1 - x[label]) for x in (p, q))
        total += 1.5 * on_right + 0.5 * float((p * np.log(p / q)).sum())
    return 4 * total / len(y)


def weighted(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    right = one_hot(y, s.shape[1])
    ratio = cross_entropy(right, s) / (cross_entropy(right, t) + 1e-7)
    return float(4 * ((1 - np.exp(-ratio)) * cross_entropy(softmax(t / 2), s / 2)).mean())


def spherical(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    s, t = (
        2 * (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-7) for x in (s, t)
    )
    soft = cross_entropy(softmax(t / 3), s / 3).mean() * 9
    return float(0.9 * soft + 0.1 * cross_entropy(one_hot(y, s.shape[1]), s).mean())


def correlated(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a - a.mean(), b - b.mean()
        return float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b) + 1e-8))

    p, q = softmax(s), softmax(t)
    rows = np.mean([correlation(a, b) for a, b in zip(p, q)])
    columns = np.mean([correlation(a, b) for a, b in zip(p.T, q.T)])
    return float(2 * (1 - rows) + 3 * (1 - columns))


def distance(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return float(((s - t) ** 2).mean())


def distance_of_shares(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return float(np.abs(softmax(s) - softmax(t)).mean())


def smooth_distance(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    d = np.abs(s - t)
    return float(np.where(d < 1, d * d / 2, d - 0.5).mean())


CASES: dict[str, tuple[Any, Callable[..., float], str]] = {
    "DML": (specs.DistillationDMLLoss(PAIRS), dml, "DMLLoss_Student_Teacher_0"),
    "DML, summed": (
        specs.DistillationDMLLoss(PAIRS, sum_across_class_dim=True),
        lambda s, t, y: s.shape[1] * dml(s, t, y),
        "DMLLoss_Student_Teacher_0",
    ),
    "DML, sigmoid": (
        specs.DistillationDMLLoss(PAIRS, act="sigmoid"),
        dml_sigmoid,
        "DMLLoss_Student_Teacher_0",
    ),
    "CE": (specs.DistillationCELoss(PAIRS), soft_cross_entropy, "CELoss_Student_Teacher"),
    "CE, smoothed": (specs.DistillationCELoss(PAIRS, epsilon=0.1), smoothed, "CELoss_Student_Teacher"),
    "GTCE": (
        specs.DistillationGTCELoss(("Student",)),
        lambda s, t, y: float(cross_entropy(one_hot(y, s.shape[1]), s).mean()),
        "CELoss_Student",
    ),
    "KLDiv": (specs.DistillationKLDivLoss(PAIRS), hinton, "loss_kldiv_Student_Teacher"),
    "DKD": (
        specs.DistillationDKDLoss(PAIRS, temperature=2.0, alpha=1.5, beta=0.5),
        decoupled,
        "loss_dkd_Student_Teacher",
    ),
    "DKD, teacher's class": (
        specs.DistillationDKDLoss(PAIRS, temperature=2.0, alpha=1.5, beta=0.5, use_target_as_gt=True),
        lambda s, t, y: decoupled(s, t, t.argmax(axis=1)),
        "loss_dkd_Student_Teacher",
    ),
    "WSL": (specs.DistillationWSLLoss(PAIRS), weighted, "wsl_loss_Student_Teacher"),
    "SKD": (specs.DistillationSKDLoss(PAIRS, temperature=3.0), spherical, "skd_loss_Student_Teacher"),
    "DIST": (
        specs.DistillationDISTLoss(PAIRS, beta=2.0, gamma=3.0),
        correlated,
        "loss_dist_Student_Teacher",
    ),
    "distance": (specs.DistillationDistanceLoss(PAIRS), distance, "loss_l2_loss_l2_0"),
    "distance of shares": (
        specs.DistillationDistanceLoss(PAIRS, mode="l1", act="softmax"),
        distance_of_shares,
        "loss_l1_loss_l1_0",
    ),
    "smooth distance": (
        specs.DistillationDistanceLoss(PAIRS, mode="smooth_l1"),
        smooth_distance,
        "loss_smooth_l1_loss_smooth_l1_0",
    ),
}


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**31), count=st.integers(2, 6), classes=st.integers(3, 9))
@settings(max_examples=15, deadline=None)
def test_a_loss_equals_its_reference(case: str, seed: int, count: int, classes: int) -> None:
    spec, reference, name = CASES[case]
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(scale=2, size=(2, count, classes))
    labels = rng.integers(0, classes, count)
    outputs = {"Student": paddle.to_tensor(student), "Teacher": paddle.to_tensor(teacher)}
    losses = build_distillation_loss([spec])(outputs, paddle.to_tensor(labels))
    assert set(losses) == {name, "loss"}
    expected = reference(student, teacher, labels)
    assert float(losses[name]) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    "case",
    RECORDED["distillation_losses"],
    ids=lambda case: "+".join(name for one in case["config"] for name in one),
)
def test_losses_have_the_names_and_numbers_of_paddleclas(case: dict[str, Any]) -> None:
    listed = bound(case["config"], tuple[recipe.AnyLoss, ...])
    outputs, labels = distilled_samples()
    tensors = {name: paddle.to_tensor(array) for name, array in outputs.items()}
    losses = build_distillation_loss(listed)(tensors, paddle.to_tensor(labels))
    assert list(losses) == list(case["values"])
    parts = {name: value for name, value in case["values"].items() if name != "loss"}
    for name, value in parts.items():
        assert float(losses[name]) == pytest.approx(value, rel=2e-6), name
    # Of one loss on several networks PaddleClas minimises the first part alone.
    assert float(losses["loss"]) == pytest.approx(sum(parts.values()), rel=2e-6)


@pytest.mark.parametrize("case", sorted(set(CASES) - {"GTCE", "SKD", "WSL", "CE", "CE, smoothed"}))
def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(case: str) -> None:
    spec, _, name = CASES[case]
    rows = np.random.default_rng(1).normal(size=(4, 5)).astype("float32")
    student = paddle.to_tensor(rows, stop_gradient=False)
    outputs = {"Student": student, "Teacher": paddle.to_tensor(rows)}
    loss = build_distillation_loss([spec])(outputs, paddle.to_tensor([0, 1, 2, 3]))[name]
    assert float(loss) == pytest.approx(0, abs=2e-6)
    loss.backward()
    assert float(student.grad.abs().max()) < 1e-5


def test_the_divergence_is_finite_where_a_share_is_zero() -> None:
    rows = paddle.to_tensor([[200.0, -200.0, 0.0]])
    outputs = {"Student": rows, "Teacher": -rows}
    losses = build_distillation_loss([specs.DistillationDMLLoss(PAIRS)])(outputs, paddle.to_tensor([0]))
    assert float(losses["loss"]) == pytest.approx(400)  # a share of 1 and logarithms that differ by 400


def test_weights_of_losses_count_and_their_sum_is_the_loss() -> None:
    outputs = {name: paddle.randn([3, 4]) for name in ("Student", "Teacher")}
    labels = paddle.to_tensor([0, 1, 2])
    one = build_distillation_loss([specs.DistillationDMLLoss(PAIRS)])(outputs, labels)
    two = build_distillation_loss(
        [specs.DistillationDMLLoss(PAIRS, weight=0.5), specs.DistillationGTCELoss(("Student", "Teacher"))]
    )(outputs, labels)
    assert list(two) == ["DMLLoss_Student_Teacher_0", "CELoss_Student", "CELoss_Teacher", "loss"]
    assert float(two["DMLLoss_Student_Teacher_0"]) == pytest.approx(float(one["loss"]) / 2)
    assert float(two["loss"]) == pytest.approx(sum(float(two[name]) for name in list(two)[:3]))


# -------------------------------------------------------------------------------------------- networks


def two_networks(**options: Any) -> Members:
    paddle.seed(1)
    networks = {name: build_model("GhostNet_x0_5", class_num=5) for name in ("Teacher", "Student")}
    for _ in range(20):  # statistics of batches, without which maps grow until rounding shows
        networks["Teacher"](paddle.randn([8, 3, 32, 32]))
    return Members(networks, ("Teacher",), **options)


def assert_close(given: paddle.Tensor, expected: paddle.Tensor) -> None:
    """Assert equality but for the order of sums, of other kernels: relative to the largest."""
    assert float((given - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_a_frozen_network_answers_as_in_evaluation_and_has_no_gradients() -> None:
    members = two_networks()
    images = paddle.randn([4, 3, 32, 32])
    outputs = members(images)
    teacher = members._sub_layers["Teacher"]
    assert not teacher.training
    assert members._sub_layers["Student"].training
    assert_close(outputs["Teacher"], teacher(images))
    (outputs["Student"] - outputs["Teacher"]).square().mean().backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("name", ["training", "forward", "_frozen"])
def test_a_network_cannot_have_a_name_that_layers_need(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' cannot be the name of a network"):
        Members({name: paddle.nn.Linear(2, 2)}, ())


def test_features_are_what_the_sublayers_computed() -> None:
    members = two_networks(features=[("Student", "conv1"), ("Teacher", "conv1")])
    images = paddle.randn([2, 3, 32, 32])
    outputs = members(images)
    assert set(outputs) == {"Teacher", "Student", "Teacher/conv1", "Student/conv1"}
    assert_close(outputs["Teacher/conv1"], members._sub_layers["Teacher"].conv1(images))


# ------------------------------------------------------------------------------------------------ runs


DISTILL = (
    "Arch={'name': 'DistillationModel', 'freeze_params_list': [True, False], 'infer_model_name': 'Student', "
    "'models': [{'Teacher': {'name': 'GhostNet_x1_0', 'class_num': 5}}, "
    "{'Student': {'name': 'GhostNet_x0_5', 'class_num': 5}}]}",
    "Loss.Train=[{'DistillationDMLLoss': {'weight': 1.0, 'model_name_pairs': [['Student', 'Teacher']]}}]",
    "Metric.Train=[{'DistillationTopkAcc': {'model_key': 'Student', 'topk': [1, 2]}}]",
    "Metric.Eval=[{'DistillationTopkAcc': {'model_key': 'Student', 'topk': [1, 2]}}]",
)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a teacher's weights, without suffix."""
    prefix = tmp_path_factory.mktemp("teacher") / "teacher"
    net = build_model("GhostNet_x1_0", class_num=5)
    net(paddle.randn([8, 3, 32, 32]))
    paddle.save(net.state_dict(), f"{prefix}.pdparams")
    return prefix


def test_a_run_leaves_its_teacher_as_it_was_and_ships_the_student(
    small_config: Callable[..., Config], teacher: Path, tmp_path: Path
) -> None:
    config = small_config(*DISTILL, f"Arch.models.0.Teacher.pretrained={teacher}", "EMA.decay=0.9")
    assert "Teacher: GhostNet_x1_0 (frozen)" in plan(config)[0]
    train(config)
    output = tmp_path / "output"
    before = weights_of(teacher)
    for prefix in (output / "latest", output / "best_model"):
        after = weights_of(prefix)
        assert {key for key in after if key.startswith("Teacher.")} == {f"Teacher.{key}" for key in before}
        for name, value in before.items():
            np.testing.assert_array_equal(after[f"Teacher.{name}"], value, err_msg=name)
    best, student = weights_of(output / "best_model"), weights_of(output / "best_model_student")
    assert student.keys() == build_model("GhostNet_x0_5").state_dict().keys()
    for name, value in student.items():
        np.testing.assert_array_equal(best[f"Student.{name}"], value)
    whole = evaluate_config(small_config(*DISTILL, f"Global.pretrained_model={output / 'best_model'}"))
    alone = evaluate_config(
        small_config("Arch.name=GhostNet_x0_5", f"Global.pretrained_model={output / 'best_model_student'}")
    )
    assert whole.losses == alone.losses


def test_in_train_mode_the_teacher_drifts_as_it_does_in_paddleclas(
    small_config: Callable[..., Config], teacher: Path, tmp_path: Path
) -> None:
    train(
        small_config(*DISTILL, f"Arch.models.0.Teacher.pretrained={teacher}", "Arch.teacher_train_mode=True")
    )
    before, after = weights_of(teacher), weights_of(tmp_path / "output" / "latest")
    moved = {name for name, value in before.items() if not np.array_equal(after[f"Teacher.{name}"], value)}
    assert moved
    assert all(name.endswith(("_mean", "_variance")) for name in moved)


def test_a_stopped_distillation_goes_on_bit_for_bit(
    small_config: Callable[..., Config], teacher: Path, tmp_path: Path
) -> None:
    base = (*DISTILL, f"Arch.models.0.Teacher.pretrained={teacher}")
    train(small_config(*base, "Global.epochs=2"))
    whole = weights_of(tmp_path / "output" / "latest")
    train(
        small_config(*base, "Global.epochs=2", f"Global.output_dir={tmp_path / 'one'}"), should_stop=_after(3)
    )
    stopped = f"Global.checkpoints={tmp_path / 'one' / 'latest'}"
    train(small_config(*base, "Global.epochs=2", stopped, f"Global.output_dir={tmp_path / 'two'}"))
    for name, value in weights_of(tmp_path / "two" / "latest").items():
        np.testing.assert_array_equal(whole[name], value, err_msg=name)


@pytest.mark.parametrize("spoilt", ["classes", "width", "numbers"])
def test_a_teacher_whose_weights_are_no_good_is_refused(
    spoilt: str, small_config: Callable[..., Config], tmp_path: Path
) -> None:
    net = build_model(
        "GhostNet_x0_5" if spoilt == "width" else "GhostNet_x1_0", class_num=7 if spoilt == "classes" else 5
    )
    state = net.state_dict()
    if spoilt == "numbers":
        state["conv1._batch_norm.weight"] = paddle.full([16], float("nan"))
    paddle.save(state, str(tmp_path / "spoilt.pdparams"))
    words = {"classes": "7 classes", "width": "do not fit", "numbers": r"NaN or infinite.*Teacher\.conv1"}
    with pytest.raises(WeightsError, match=words[spoilt]):
        train(small_config(*DISTILL, f"Arch.models.0.Teacher.pretrained={tmp_path / 'spoilt'}"))


def _after(updates: int) -> Callable[[], bool]:
    asked = iter(range(updates))
    return lambda: next(asked, None) is None


def test_two_students_teach_each_other(small_config: Callable[..., Config], tmp_path: Path) -> None:
    mutual = [
        "Loss.Train=[{'DistillationGTCELoss': {'weight': 1.0, 'model_names': ['Student', 'Teacher']}}, "
        "{'DistillationDMLLoss': {'weight': 1.0, 'key': 'logits', "
        "'model_name_pairs': [['Student', 'Teacher']]}}, "
        "{'DistillationDistanceLoss': {'weight': 1.0, 'key': 'conv_last', 'model_name_pairs': "
        "[['Student', 'Teacher']]}}]",
        "Arch.freeze_params_list=[False, False]",
        "Arch.models.0.Teacher.name=GhostNet_x0_5",
        "Global.epochs=1",
    ]
    train(small_config(*DISTILL, *mutual))
    after = weights_of(tmp_path / "output" / "latest")
    names = {name.split(".", 1)[0] for name in after}
    assert names == {"Student", "Teacher"}
    key = "Loss.Train.2.DistillationDistanceLoss.key"
    with pytest.raises(ConfigError, match=r"no such sublayer.*Did you mean 'conv_last'"):
        train(small_config(*DISTILL, *mutual, f"{key}=conv_lost"))


REFUSED = {
    "other classes": (
        "Arch.models.0.Teacher.class_num=6",
        r"different numbers of classes.*Teacher.*6.*Student.*5",
    ),
    "its own teacher": (
        "Loss.Train.0.DistillationDMLLoss.model_name_pairs=[['Student', 'Student']]",
        "own teacher",
    ),
    "unknown pair": (
        "Loss.Train.0.DistillationDMLLoss.model_name_pairs=[['Student', 'Teachr']]",
        "'Teachr'.*Did you mean 'Teacher'",
    ),
    "length of pretrained_list": ("Arch.pretrained_list=['a', 'b', 'c']", "3 entries for 2 models"),
    "length of freeze_params_list": ("Arch.freeze_params_list=[True]", "1 entries for 2 models"),
    "nothing to train": ("Arch.freeze_params_list=[True, True]", "freezes every network"),
    "unknown infer_model_name": ("Arch.infer_model_name=Pupil", "'Pupil'; models has Teacher, Student"),
    "no model": ("Arch.models=[]", "one network for each entry"),
    "same name twice": (
        "Arch.models=[{'Student': {'name': 'GhostNet_x0_5'}}, {'Student': {'name': 'GhostNet_x1_0'}}]",
        "names a network twice",
    ),
    "a name with a point": (
        "Arch.models=[{'Tea.cher': {'name': 'GhostNet_x0_5'}}, {'Student': {'name': 'GhostNet_x1_0'}}]",
        "calls a network 'Tea.cher'; accepted: letters",
    ),
    "a frozen student": (
        "Loss.Train.0.DistillationDMLLoss.model_name_pairs=[['Teacher', 'Student']]",
        "'Teacher' stands in the place of the student.*frozen and learns nothing",
    ),
    "labels for a frozen network": (
        "Loss.Train=[{'DistillationGTCELoss': {'model_names': ['Student', 'Teacher']}}]",
        "'Teacher' is named, but it is frozen",
    ),
    "what ships is frozen": ("Arch.infer_model_name=Teacher", "no loss teaches 'Teacher', which infer_model"),
    "published weights for other classes": (
        "Arch.models.0.Teacher.pretrained=True",
        "Teacher is GhostNet_x1_0 with class_num 5, but its published weights are for 1000 classes",
    ),
    "loss of one network": ("Loss.Train=[{'CELoss': {'weight': 1.0}}]", "DistillationGTCELoss"),
    "metric of the teacher": ("Metric.Eval.0.DistillationTopkAcc.model_key=Teacher", "infer_model_name"),
    "no pair": ("Loss.Train.0.DistillationDMLLoss.model_name_pairs=[]", "model_name_pairs is empty"),
    "missing teacher": (
        "Arch.pretrained_list=['/nowhere/teacher', None]",
        "No weight file at /nowhere/teacher",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_distilled_is_refused_before_the_first_step(
    small_config: Callable[..., Config], case: str
) -> None:
    override, sentence = REFUSED[case]
    steps: list[bool] = []
    with pytest.raises(Exception, match=re.compile(sentence, re.DOTALL)) as caught:
        train(small_config(*DISTILL, override), should_stop=lambda: bool(steps.append(True)))
    assert type(caught.value).__module__ == "ppghost.errors"
    assert not steps


def test_a_loss_of_two_networks_is_refused_where_there_is_one(small_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"reads several networks.*DistillationModel"):
        train(small_config(DISTILL[1]))
