"""Train a whole GhostNet_x0_5 for 200 steps with our kernels and with Paddle's operators; compare the losses.

    python tests/reference/compare_losses.py

Tells the mean loss of the last 20 steps of both runs and leaves with 1 if they differ by more than 1 %. Too
slow for the test suite, which trains two blocks the same way (`tests/nets/test_native.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

STEPS, LAST, BATCH, SIZE, CLASSES = 200, 20, 16, 32, 4
LEARNING_RATE = 0.01
TOLERANCE = 0.01


def train() -> float:
    """Return the mean loss of the last steps on noisy pictures of four classes."""
    import paddle

    from ppghost.zoo import build_model

    paddle.seed(0)
    net = build_model("GhostNet_x0_5", class_num=CLASSES, dropout=0.0)
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(LEARNING_RATE, STEPS)
    optimizer = paddle.optimizer.Momentum(schedule, 0.9, parameters=net.parameters(), weight_decay=4e-5)
    draw = np.random.RandomState(0)
    patterns = draw.randn(CLASSES, 3, SIZE, SIZE)
    losses = []
    for _ in range(STEPS):
        labels = draw.randint(0, CLASSES, BATCH)
        images = patterns[labels] + draw.randn(BATCH, 3, SIZE, SIZE)
        one_hot = paddle.nn.functional.one_hot(paddle.to_tensor(labels), CLASSES)
        # Smoothed as in the recipes: the loss ends well above zero, where 1 % of it says something.
        target = paddle.nn.functional.label_smooth(one_hot, epsilon=0.1)
        logits = net(paddle.to_tensor(images.astype("float32")))
        loss = paddle.nn.functional.cross_entropy(logits, target, soft_label=True)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
        losses.append(float(loss))
    return float(np.mean(losses[-LAST:]))


def main() -> int:
    """Run both side by side, print, compare."""
    if len(sys.argv) > 1:
        sys.stdout.write(f"{train()}\n")
        return 0
    root = str(Path(__file__).resolve().parents[2])
    runs = {
        choice: subprocess.Popen(
            [sys.executable, __file__, "train"],
            env={**os.environ, "PPGHOST_DEPTHWISE": choice, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            text=True,
        )
        for choice in ("fast", "native")
    }
    losses = {choice: float(run.communicate()[0].split()[-1]) for choice, run in runs.items()}
    difference = abs(losses["fast"] / losses["native"] - 1)
    sys.stdout.write(
        f"ours {losses['fast']:.5f}, Paddle's operators {losses['native']:.5f}, difference {difference:.2%}\n"
    )
    return int(difference > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
