"""Compare a step with a frozen teacher with what it is made of: the student's step and the teacher's forward.

    python tests/reference/measure_distillation_step.py

Tells, for each setting, the medians in milliseconds and the median over the rounds of
(step - student's step) / teacher's forward; the target is 1.05. Rounds take turns, so whatever else the
machine does meets all three alike. Takes minutes and an idle machine; not in the test suite.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Callable

import paddle
from paddle import Tensor

# A checkout works without being installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ppghost.config.distillation import DistillationDMLLoss  # noqa: E402 - the checkout must be found first
from ppghost.nets.native import fast_evaluation  # noqa: E402 - the checkout must be found first
from ppghost.train.distillation import Members, build_distillation_loss  # noqa: E402 - the checkout must be found first
from ppghost.zoo import build_model  # noqa: E402 - the checkout must be found first

SETTINGS = (("GhostNet_x0_5", "GhostNet_x1_3", 50, 64), ("GhostNet_x1_0", "GhostNet_x1_3", 8, 224))
CLASSES, TARGET = 10, 1.05


def trained(net: paddle.nn.Layer, loss_of: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a training step of `net`."""
    optimizer = paddle.optimizer.Momentum(1e-3, 0.9, parameters=[p for p in net.parameters() if p.trainable])

    def step() -> None:
        loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(loss)

    return step


def parts_of(student_name: str, teacher_name: str, batch: int, size: int) -> dict[str, Callable[[], None]]:
    """Return what is measured: each does the work of one batch."""
    paddle.seed(0)
    student = build_model(student_name, class_num=CLASSES, dropout=0.0)
    teacher = build_model(teacher_name, class_num=CLASSES)
    images, labels = paddle.randn([batch, 3, size, size]), paddle.randint(0, CLASSES, [batch])
    loss = build_distillation_loss([DistillationDMLLoss(model_name_pairs=(("Student", "Teacher"),))])
    both = Members({"Teacher": teacher, "Student": student}, ["Teacher"])
    answers = paddle.randn([batch, CLASSES])

    def forward() -> None:
        with paddle.no_grad(), fast_evaluation():
            teacher(images).numpy()

    return {
        "step": trained(both, lambda: loss(both(images), labels)["loss"]),
        "student": trained(
            student, lambda: loss({"Student": student(images), "Teacher": answers}, labels)["loss"]
        ),
        "teacher": forward,
    }


def main() -> int:
    """Measure, print; exit code 1 where a setting misses the target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="of each setting (default: %(default)s)")
    rounds = parser.parse_args().rounds
    missed = False
    for setting in SETTINGS:
        parts = parts_of(*setting)
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for number in range(rounds + 3):  # the first ones compile kernels and fill memory pools
            for name, work in parts.items():
                start = time.perf_counter()
                work()
                if number >= 3:
                    seconds[name].append(time.perf_counter() - start)
        shares = [
            (step - student) / teacher
            for step, student, teacher in zip(seconds["step"], seconds["student"], seconds["teacher"])
        ]
        share = statistics.median(shares)
        missed |= share > TARGET
        times = ", ".join(f"{name} {1e3 * statistics.median(each):.1f} ms" for name, each in seconds.items())
        sys.stdout.write(f"{' '.join(map(str, setting))}: {times}; teacher counts {share:.3f} times\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
