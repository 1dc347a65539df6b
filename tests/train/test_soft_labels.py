"""Teachers that answer once: storing, learning from the file as from the live teacher, what is refused."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest
from small_runs import REFERENCE, assert_same_change, small_overrides, weights_of
from test_distillation import DISTILL
from test_distillation_teachers import exported as exported  # a fixture, found by its name
from trajectory import write_calm_weights

from ppghost.config import Config
from ppghost.data.soft_labels import SoftLabels, partial_of
from ppghost.errors import GhostError
from ppghost.train.loop import Silent
from ppghost.train.plan import open_data, plan
from ppghost.train.run import estimate, train
from ppghost.train.storing import prepare, store
from tools import store_soft_labels

ROOT = Path(__file__).resolve().parents[2]
VIEWS = 2
# Crops are drawn, so a picture looks different in each view.
CROPS = "DataLoader.Train.dataset.transform_ops.1={'RandCropImage': {'size': 32}}"


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a teacher's weights, without suffix; a student's, `student`, lie beside it."""
    weights = write_calm_weights(tmp_path_factory.mktemp("teacher"))
    state = weights_of(weights)
    state["fc_1.weight"] = state["fc_1.weight"][:, ::-1].copy()
    tensors = {name: paddle.to_tensor(value) for name, value in state.items()}
    paddle.save(tensors, str(weights.with_name("student.pdparams")))
    return weights


def taught(teacher: Path, *overrides: str) -> tuple[str, ...]:
    """Return the overrides of a distillation with drawn crops; what it draws else is the order alone."""
    return (
        *DISTILL,
        "Arch.models.0.Teacher.name=GhostNet_x0_5",
        f"Arch.models.0.Teacher.pretrained={teacher}",
        f"Arch.models.1.Student.pretrained={teacher.with_name('student')}",
        "Arch.models.1.Student.freeze=['*_batch_norm*']",
        "Arch.models.1.Student.dropout=0.0",
        "Optimizer.lr.learning_rate=0.001",
        "Optimizer.lr.warmup_epoch=0",
        "Global.eval_during_train=False",
        CROPS,
        *overrides,
    )


def quiet(_done: int, _total: int) -> None:
    """Show no progress."""


@pytest.fixture(scope="session")
def answers(pictures: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of the teacher's answers to two views of the forty pictures, written by the command."""
    folder = tmp_path_factory.mktemp("answers")
    assert store_soft_labels.main(command(pictures, folder, teacher, folder / "answers")) == 0
    return folder / "answers"


def command(pictures: Path, folder: Path, teacher: Path, path: Path, *overrides: str) -> list[str]:
    """Return the arguments of the command that stores the answers."""
    words = [
        word
        for override in small_overrides(pictures, folder, *taught(teacher), *overrides)
        for word in ("-o", override)
    ]
    config = str(REFERENCE / "trajectory.yaml")
    return ["-c", config, *words, "--output", str(path), "--views", str(VIEWS)]


def from_file(path: Path) -> str:
    """Return the override that lets a file answer instead of the teacher."""
    return f"Arch.models.0.Teacher.soft_labels={path}"


class Losses(Silent):
    """Remembers the running mean of the loss after each step."""

    def __init__(self) -> None:
        self.told: list[float] = []

    def scalar(self, name: str, value: float, step: int) -> None:
        """Keep the loss."""
        if name == "train_loss":
            self.told.append(value)


# ------------------------------------------------------------------------------------------- learning


def test_a_student_learns_from_the_file_as_from_the_live_teacher(
    small_config: Callable[..., Config], teacher: Path, answers: Path, tmp_path: Path
) -> None:
    live, stored = Losses(), Losses()
    train(
        small_config(*taught(teacher, "Global.epochs=2", f"Global.output_dir={tmp_path / 'live'}")),
        reporter=live,
    )
    train(small_config(*taught(teacher, "Global.epochs=2", from_file(answers))), reporter=stored)
    assert len(live.told) == 10
    np.testing.assert_allclose(stored.told, live.told, rtol=1e-3)
    before = weights_of(teacher.with_name("student"))
    ends = [weights_of(folder / "latest") for folder in (tmp_path / "live", tmp_path / "output")]
    assert all(name.startswith("Student.") for name in ends[1])
    ways = [np.concatenate([(end[f"Student.{n}"] - v).ravel() for n, v in before.items()]) for end in ends]
    assert np.linalg.norm(ways[1] - ways[0]) < 1e-2 * np.linalg.norm(ways[0])


def test_a_picture_looks_in_training_as_it_did_to_the_teacher(
    small_config: Callable[..., Config], teacher: Path, answers: Path
) -> None:
    live = small_config(*taught(teacher, "Global.epochs=5"))
    order = prepare(live, teacher=None, views=VIEWS, top_k=10)
    shown = [
        {int(i): x.tobytes() for b in order.loader.batches(view) for i, x in zip(b.indices, b.images.numpy())}
        for view in (1, 2)
    ]
    # The seed of a run orders the pictures; what they look like is in the file.
    config = small_config(*taught(teacher, "Global.epochs=5", "Global.seed=3", from_file(answers)))
    loader = open_data(config, training=True)
    for epoch in (1, 2, 5):
        for batch in loader.batches(epoch):
            assert batch.view == (epoch - 1) % VIEWS + 1
            for index, row in zip(batch.indices, batch.images.numpy()):
                assert row.tobytes() == shown[batch.view - 1][int(index)]
    assert shown[0] != shown[1]


def test_a_run_from_a_file_goes_on_bit_for_bit(
    small_config: Callable[..., Config], teacher: Path, answers: Path, tmp_path: Path
) -> None:
    base = taught(teacher, "Global.epochs=3", from_file(answers))
    train(small_config(*base))
    asked = iter(range(7))  # stops inside the second epoch
    folders = tmp_path / "one", tmp_path / "two"
    result = train(
        small_config(*base, f"Global.output_dir={folders[0]}"), should_stop=lambda: next(asked, None) is None
    )
    assert result.interrupted
    goes_on = (f"Global.checkpoints={folders[0] / 'latest'}", f"Global.output_dir={folders[1]}")
    train(small_config(*base, *goes_on))
    whole = weights_of(tmp_path / "output" / "latest")
    for name, value in weights_of(folders[1] / "latest").items():
        np.testing.assert_array_equal(whole[name], value, err_msg=name)


def test_two_processes_learn_from_the_file_as_one_does(
    pictures: Path, teacher: Path, answers: Path, tmp_path: Path
) -> None:
    def run(size: int, output: Path, *launcher: str) -> dict[str, np.ndarray]:
        more = (from_file(answers), "Global.epochs=2", f"DataLoader.Train.sampler.batch_size={size}")
        words = [
            word for one in small_overrides(pictures, output, *taught(teacher), *more) for word in ("-o", one)
        ]
        program = [str(ROOT / "tools/train.py"), "-c", str(REFERENCE / "trajectory.yaml"), *words]
        subprocess.run([sys.executable, *launcher, *program], capture_output=True, check=True, timeout=900)
        return weights_of(output / "latest")

    alone = run(20, tmp_path / "one")
    gloo = ("-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo")
    both = run(10, tmp_path / "two", *gloo, "--log_dir", str(tmp_path / "logs"))
    before = {f"Student.{name}": value for name, value in weights_of(teacher.with_name("student")).items()}
    assert_same_change(before, alone, both)


def test_an_exported_teacher_answers_as_its_network(
    small_config: Callable[..., Config],
    teacher: Path,
    answers: Path,
    exported: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    member = {"name": "artifact", "path": str(exported[1]), "engine": "ghost", "threads": 1}
    given = f"Arch.models.0.Teacher={member}"
    order = prepare(small_config(*taught(teacher, given)), teacher=None, views=VIEWS, top_k=10)
    store(order, tmp_path / "answers", progress=quiet)
    own, network = SoftLabels(tmp_path / "answers"), SoftLabels(answers)
    for view in (1, 2):
        shares = [np.exp(labels.logits(view, np.arange(40))) for labels in (own, network)]
        np.testing.assert_allclose(*shares, atol=1e-3)
    assert plan(small_config(*taught(teacher, given, from_file(tmp_path / "answers"))))
    with pytest.raises(GhostError, match="the answers of GhostNet_x0_5, but the teacher is teacher"):
        plan(small_config(*taught(teacher, given, from_file(answers))))


def test_what_a_run_does_and_costs_is_told(
    small_config: Callable[..., Config], teacher: Path, answers: Path
) -> None:
    config = small_config(*taught(teacher, from_file(answers), "Global.epochs=1"))
    told = f"Teacher: GhostNet_x0_5 (frozen): stored, 5 of 5 classes, 2 view(s) of 40 pictures, {answers}"
    assert told in plan(config)
    cost = estimate(config)
    assert (cost.teacher_macs, cost.teacher_seconds) == (0, 0.0)
    assert cost.student_macs > 0


# -------------------------------------------------------------------------------------------- storing


def test_storing_again_in_other_circumstances_gives_the_same_bytes(
    small_config: Callable[..., Config], teacher: Path, answers: Path, tmp_path: Path
) -> None:
    config = small_config(*taught(teacher, "DataLoader.Train.loader.num_workers=2"))
    path = tmp_path / "again"

    def stops(done: int, total: int) -> None:
        assert total == 80
        if path_size() > 900:
            raise KeyboardInterrupt

    def path_size() -> int:
        return partial_of(path).stat().st_size

    order = prepare(config, teacher="Teacher", views=VIEWS, top_k=10)
    with pytest.raises(KeyboardInterrupt):
        store(order, path, progress=stops)
    order.loader.close()
    assert not path.exists()
    assert 900 < path_size() < answers.stat().st_size
    told: list[int] = []
    assert not store(order, path, progress=lambda done, _total: told.append(done))
    assert sum(told) == 80
    assert 0 < told[0] < 80, "what was done is not done again"
    assert path.read_bytes() == answers.read_bytes()


def test_ctrl_c_leaves_no_half_file_and_the_command_goes_on(
    pictures: Path, teacher: Path, answers: Path, tmp_path: Path
) -> None:
    path = tmp_path / "answers"
    words = command(pictures, tmp_path, teacher, path)
    views = [*words[:-1], "2000"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/store_soft_labels.py"), *views],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (partial_of(path).exists() and partial_of(path).stat().st_size > 1500):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            pytest.fail(f"it ended: {process.communicate()[0]}")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert f"{partial_of(path)}; the same command goes on" in output
    assert not path.exists()
    assert store_soft_labels.main(words) == 2, "two views are not what was begun"
    partial_of(path).unlink()
    assert store_soft_labels.main(words) == 0
    assert path.read_bytes() == answers.read_bytes()
    assert store_soft_labels.main(words) == 2, "a file that is there is not replaced"
    assert store_soft_labels.main([*words, "--replace"]) == 0


def test_a_picture_that_cannot_be_read_has_no_answer(
    pictures: Path, small_config: Callable[..., Config], teacher: Path, tmp_path: Path
) -> None:
    lines = (pictures / "list.txt").read_text().splitlines(keepends=True)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    more = [f"{tmp_path}/{number}.png 0\n" for number in range(70)]
    content = (pictures / "pictures" / "00.png").read_bytes()
    for number in range(70):
        (tmp_path / f"{number}.png").write_bytes(content)
    listed = tmp_path / "list.txt"
    listed.write_text("".join([*lines, f"{broken} 0\n", *more]))
    config = small_config(*taught(teacher, f"DataLoader.Train.dataset.cls_label_path={listed}"))
    path = tmp_path / "answers"
    [(name, _)] = store(prepare(config, teacher=None, views=1, top_k=10), path, progress=quiet)
    assert name == str(broken)
    labels = SoftLabels(path)
    assert np.isfinite(labels.logits(1, np.delete(np.arange(111), 40))).all()
    with pytest.raises(GhostError, match="no answer to picture 40"):
        labels.logits(1, np.array([40]))
    source = f"DataLoader.Train.dataset.cls_label_path={listed}"
    train(small_config(*taught(teacher, source, from_file(path), "Global.epochs=1")))


NOT_STORED = {
    "several teachers": (
        "Arch.models=[{'A': {'name': 'GhostNet_x0_5'}}, {'B': {'name': 'GhostNet_x0_5'}}, "
        "{'Student': {'name': 'GhostNet_x0_5'}}]",
        "Arch.freeze_params_list=[True, True, False]",
        "several teachers: A, B. Name one",
    ),
    "no teacher": ("Arch.freeze_params_list=[False, False]", "no teacher"),
    "one network": ("Arch={'name': 'GhostNet_x0_5', 'class_num': 5}", "no DistillationModel"),
    "no weights": ("Arch.models.0.Teacher.pretrained=False", "no weights, so its answers are random"),
    "missing weights": ("Arch.models.0.Teacher.pretrained=/nowhere/w", "No weight file at /nowhere/w"),
    "weights of all": ("Global.pretrained_model=weights", "would give Teacher its weights"),
    "train mode": ("Arch.teacher_train_mode=True", "depend on the batch"),
    "mixed": ("DataLoader.Train.dataset.batch_transform_ops=[{'MixupOperator': {'alpha': 0.2}}]", "Mixup"),
    "repeated": ("DataLoader.Train.sampler.name=RASampler", "RASampler"),
    "stored": (from_file(Path("/nowhere/a")), "has soft_labels already"),
    "no pictures": ("DataLoader.Train=null", "DataLoader.Train is missing"),
}


@pytest.mark.parametrize("case", NOT_STORED)
def test_what_cannot_be_stored_is_refused(
    case: str, small_config: Callable[..., Config], teacher: Path
) -> None:
    *overrides, sentence = NOT_STORED[case]
    with pytest.raises(GhostError, match=re.compile(sentence)):
        prepare(small_config(*taught(teacher, *overrides)), teacher=None, views=1, top_k=10)


def test_a_list_that_training_would_refuse_is_not_stored(
    pictures: Path, small_config: Callable[..., Config], teacher: Path, tmp_path: Path
) -> None:
    lines = (pictures / "list.txt").read_text().splitlines(keepends=True)
    (tmp_path / "twice.txt").write_text("".join([*lines, lines[0]]))
    again = f"DataLoader.Train.dataset.cls_label_path={tmp_path / 'twice.txt'}"
    with pytest.raises(GhostError, match="stands in line 1 already"):
        prepare(small_config(*taught(teacher, again)), teacher=None, views=1, top_k=10)


# ------------------------------------------------------------------------------------------ bad input


NOT_TRAINED = {
    "no file": ("Arch.models.0.Teacher.soft_labels=/nowhere/a", "no soft labels at /nowhere/a"),
    "no path": ("Arch.models.0.Teacher.soft_labels=''", "empty text"),
    "the student's": ("Arch.models.1.Student.soft_labels=a", "cannot be trained or shipped"),
    "train mode": ("Arch.teacher_train_mode=True", "given in evaluation mode"),
    "other weights": ("Arch.models.0.Teacher.pretrained={student}", "with other weights"),
    "published weights": ("Arch.models.0.Teacher.pretrained=True", "with other weights"),
    "other network": ("Arch.models.0.Teacher.name=GhostNet_x1_0", "the answers of GhostNet_x0_5, but"),
    "other classes": (
        "Arch.models.0.Teacher.class_num=6",
        "Arch.models.1.Student.class_num=6",
        "answers for 5 classes, the student has 6",
    ),
    "other size": (
        "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size=48",
        'the teacher saw {"RandCropImage": {"size": 32}} where .* {"RandCropImage": {"size": 48}}',
    ),
    "one op more": (
        "DataLoader.Train.dataset.transform_ops=[{'DecodeImage': {}}, {'RandCropImage': {'size': 32}}, "
        "{'RandFlipImage': {'flip_code': 1}}, {'NormalizeImage': {}}]",
        "RandFlipImage",
    ),
    "other pictures": (
        "DataLoader.Train.dataset.cls_label_path={folder}/list.txt",
        "in another order; .*lists 40",
    ),
    "fewer pictures": ("DataLoader.Train.dataset.cls_label_path={folder}/few.txt", "lists 16"),
    "mixed": ("DataLoader.Train.dataset.batch_transform_ops=[{'MixupOperator': {'alpha': 0.2}}]", "Mixup"),
    "repeated": ("DataLoader.Train.sampler.name=RASampler", "RASampler"),
    "shift": ("Loss.Train.0.DistillationDMLLoss.act=sigmoid", "DistillationDMLLoss depends on it"),
    "sublayer": (
        "Loss.Train=[{'DistillationDistanceLoss': {'key': 'conv1', 'model_name_pairs': "
        "[['Student', 'Teacher']], 'act': 'softmax'}}]",
        "compares 'conv1', a sublayer",
    ),
}


@pytest.mark.parametrize("case", NOT_TRAINED)
def test_a_file_that_does_not_fit_is_refused_before_the_first_step(
    case: str,
    pictures: Path,
    small_config: Callable[..., Config],
    teacher: Path,
    answers: Path,
    tmp_path: Path,
) -> None:
    lines = (pictures / "list.txt").read_text().splitlines(keepends=True)
    (tmp_path / "list.txt").write_text("".join(reversed(lines)))
    (tmp_path / "few.txt").write_text("".join(lines[:16]))
    *overrides, sentence = NOT_TRAINED[case]
    told = {"{student}": str(teacher.with_name("student")), "{folder}": str(tmp_path)}
    for mark, text in told.items():
        overrides = [override.replace(mark, text) for override in overrides]
    with pytest.raises(GhostError, match=re.compile(sentence, re.DOTALL)):
        train(small_config(*taught(teacher, from_file(answers), *overrides)))
    assert not list((tmp_path / "output").rglob("*.pd*"))


def test_weights_that_are_not_named_are_not_asked_for(
    small_config: Callable[..., Config], teacher: Path, answers: Path
) -> None:
    config = small_config(*taught(teacher, from_file(answers), "Arch.models.0.Teacher.pretrained=False"))
    assert plan(config)


def test_a_damaged_file_is_refused_before_the_first_step(
    small_config: Callable[..., Config], teacher: Path, answers: Path, tmp_path: Path
) -> None:
    content = bytearray(answers.read_bytes())
    content[-100] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(GhostError, match="damaged"):
        plan(small_config(*taught(teacher, from_file(tmp_path / "damaged"))))


def test_teachers_that_saw_other_views_do_not_teach_together(
    small_config: Callable[..., Config], teacher: Path, answers: Path, tmp_path: Path
) -> None:
    order = prepare(small_config(*taught(teacher)), teacher=None, views=1, top_k=10)
    store(order, tmp_path / "one", progress=quiet)
    models = [
        {name: {"name": "GhostNet_x0_5", "class_num": 5, "soft_labels": str(path)}}
        for name, path in (("Teacher", answers), ("Other", tmp_path / "one"))
    ]
    models.append({"Student": {"name": "GhostNet_x0_5", "class_num": 5}})
    loss = "[{'DistillationCELoss': {'model_name_pairs': [['Student', 'Teacher'], ['Student', 'Other']]}}]"
    config = small_config(
        *DISTILL,
        f"Arch.models={models}",
        "Arch.freeze_params_list=[True, True, False]",
        f"Loss.Train={loss}",
        CROPS,
    )
    with pytest.raises(GhostError, match=r"different views \(Teacher: 2 of seed 0, Other: 1 of seed 0\)"):
        plan(config)
