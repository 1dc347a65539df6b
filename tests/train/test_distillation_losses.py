"""Three losses of distillation derived again from their papers, at logits of any size, with their gradients.

The references know nothing of how ours are computed: they work in long double, in logarithms, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ppghost.config import distillation as specs
from ppghost.train.distillation import build_distillation_loss

PAIRS = (("Student", "Teacher"),)
Reference = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def log_shares(row: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax of one row of logits."""
    shifted = row.astype(np.longdouble) - row.max()
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum())
    return result


def divergence(of: np.ndarray, against: np.ndarray) -> np.longdouble:
    """Return KL(p || q) of two distributions that are given by their logarithms."""
    return (np.exp(of) * (of - against)).sum()


def mutual(s: np.ndarray, t: np.ndarray, _labels: np.ndarray) -> float:
    """Zhang et al., arXiv:1706.00384, equations 5 and 6, and PaddleClas' half of their sum."""
    rows = [(log_shares(a), log_shares(b)) for a, b in zip(s, t)]
    return float(np.mean([(divergence(p, q) + divergence(q, p)) / 2 for p, q in rows]))


def decoupled(s: np.ndarray, t: np.ndarray, labels: np.ndarray, heat: float = 2.0) -> float:
    """Zhao et al., arXiv:2203.08679, equation 7, times the temperature's square; alpha 1.5, beta 0.5."""
    total = np.longdouble(0)
    for row_s, row_t, label in zip(s / heat, t / heat, labels):
        binary, others = [], []
        for row in (row_s, row_t):
            logs = log_shares(row)
            rest = np.delete(logs, label)
            whole = rest.max() + np.log(np.exp(rest - rest.max()).sum())
            binary.append(np.array([logs[label], whole]))
            others.append(log_shares(np.delete(row, label)))
        total += 1.5 * divergence(binary[1], binary[0]) + 0.5 * divergence(others[1], others[0])
    return float(heat**2 * total / len(s))


def related(s: np.ndarray, t: np.ndarray, _labels: np.ndarray) -> float:
    """Huang et al., arXiv:2205.10536, equations 8 to 10; the 1e-8 is PaddleClas'."""

    def pearson(a: np.ndarray, b: np.ndarray) -> np.longdouble:
        a, b = a - a.mean(), b - b.mean()
        return (a * b).sum() / (np.sqrt((a * a).sum()) * np.sqrt((b * b).sum()) + np.longdouble(1e-8))

    p, q = (np.exp([log_shares(row) for row in rows]) for rows in (s, t))
    between = np.mean([1 - pearson(a, b) for a, b in zip(p, q)])
    within = np.mean([1 - pearson(a, b) for a, b in zip(p.T, q.T)])
    return float(2 * between + 3 * within)


CASES: dict[str, tuple[Any, Reference]] = {
    "DML": (specs.DistillationDMLLoss(PAIRS), mutual),
    "DKD": (specs.DistillationDKDLoss(PAIRS, temperature=2.0, alpha=1.5, beta=0.5), decoupled),
    "DIST": (specs.DistillationDISTLoss(PAIRS, beta=2.0, gamma=3.0), related),
}


@st.composite
def answers(draw: st.DrawFn, most: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits of student and teacher, float64 [N, C] that float32 holds, and labels."""
    shape = draw(st.tuples(st.integers(2, 5), st.integers(2, 8)))
    logits = arrays.arrays(np.float64, (2, *shape), elements=st.floats(-most, most, width=32))
    labels = arrays.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1))
    student, teacher = draw(logits)
    return student, teacher, draw(labels)


def computed(
    spec: Any, given_: tuple[np.ndarray, np.ndarray, np.ndarray], dtype: str = "float64"
) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient at the student's logits."""
    student = paddle.to_tensor(given_[0], dtype=dtype, stop_gradient=False)
    outputs = {"Student": student, "Teacher": paddle.to_tensor(given_[1], dtype=dtype)}
    loss = build_distillation_loss([spec])(outputs, paddle.to_tensor(given_[2]))["loss"]
    loss.backward()
    return float(loss), student.grad.numpy()


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
@settings(max_examples=40)
def test_a_loss_equals_its_paper_at_logits_up_to_eighty(case: str, data: st.DataObject) -> None:
    spec, reference = CASES[case]
    given_ = data.draw(answers(80.0))
    loss, gradient = computed(spec, given_)
    assert loss == pytest.approx(reference(*given_), rel=1e-6, abs=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("case", ["DML", "DKD"])
@given(data=st.data())
@settings(max_examples=40)
def test_float32_costs_no_more_than_its_rounding(case: str, data: st.DataObject) -> None:
    spec, reference = CASES[case]
    given_ = data.draw(answers(80.0))
    loss, _ = computed(spec, given_, "float32")
    assert loss == pytest.approx(reference(*given_), rel=2e-6, abs=5e-5)


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=8)
def test_the_gradient_is_that_of_the_paper(case: str, seed: int) -> None:
    spec, reference = CASES[case]
    draw = np.random.default_rng(seed)
    student, teacher = draw.normal(scale=3, size=(2, 3, 5))
    labels = draw.integers(0, 5, 3)
    _, gradient = computed(spec, (student, teacher, labels))
    step = 1e-5
    for place in np.ndindex(student.shape):
        moved = np.zeros_like(student)
        moved[place] = step
        rise = reference(student + moved, teacher, labels) - reference(student - moved, teacher, labels)
        assert gradient[place] == pytest.approx(rise / (2 * step), rel=1e-5, abs=1e-7)


@given(data=st.data())
@settings(max_examples=20)
def test_decoupled_parts_add_up_to_the_classic_loss(data: st.DataObject) -> None:
    """With the teacher's doubt as beta, both parts are Hinton's loss: the paper's equation 6."""
    student, teacher, labels = (part[:1] for part in data.draw(answers(20.0)))
    doubt = float(1 - np.exp(log_shares(teacher[0])[labels[0]]))
    parts = specs.DistillationDKDLoss(PAIRS, temperature=1.0, alpha=1.0, beta=doubt)
    whole = specs.DistillationKLDivLoss(PAIRS, temperature=1.0)
    given_ = (student, teacher, labels)
    assert computed(parts, given_)[0] == pytest.approx(computed(whole, given_)[0], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_a_sure_student_and_a_sure_teacher_who_disagree_still_move(case: str) -> None:
    """At a distance of 160 a clipped logarithm would give a wrong loss and no gradient at all."""
    spec, reference = CASES[case]
    student = np.array([[80.0, -80.0, 0.0], [0.0, 80.0, -80.0]])
    given_ = (student, -student, np.array([1, 2]))
    loss, _ = computed(spec, given_, "float32")
    assert loss == pytest.approx(reference(*given_), rel=1e-5)
