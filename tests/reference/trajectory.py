"""The pictures and weights that both sides of the trajectory comparison start from.

Imported by `record_trajectory.py`, which runs PaddleClas' engine, and by the test that runs ours. Everything
is drawn by NumPy's frozen RandomState, so it is the same on every machine; PNG files lose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from seeded_weights import seeded_weights

PICTURES = 40
CLASSES = 5


def draw_pictures(folder: Path) -> None:
    """Write `pictures/*.png`, uint8 [72, 70, 3], and `list.txt`: noise over a colour for each class."""
    (folder / "pictures").mkdir(parents=True)
    lines = []
    for index in range(PICTURES):
        label = index % CLASSES
        rng = np.random.RandomState(index)
        colour = np.array([40 + 35 * label, 200 - 30 * label, (90 * label) % 256])
        picture = np.clip(colour + rng.normal(0, 60, (72, 70, 3)), 0, 255).astype("uint8")
        cv2.imwrite(str(folder / "pictures" / f"{index:02d}.png"), picture)
        lines.append(f"{index:02d}.png {label}\n")
    (folder / "list.txt").write_text("".join(lines))


def calm_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return seeded weights with squeeze-and-excitation gates near 0.8.

    Gates near zero leave channels without variance, whose batch norm magnifies rounding: two correct
    programs would part after a few steps.
    """
    weights = seeded_weights(shapes)
    gates = {
        name: np.full_like(value, 0.8) for name, value in weights.items() if name.endswith("excitation.bias")
    }
    return {**weights, **gates}


def write_calm_weights(folder: Path) -> Path:
    """Write the calm weights of our GhostNet_x0_5 with five classes; return the path without suffix."""
    import paddle

    from ppghost.zoo import build_model

    state = build_model("GhostNet_x0_5", class_num=CLASSES).state_dict()
    weights = calm_weights({name: tuple(tensor.shape) for name, tensor in state.items()})
    paddle.save(
        {name: paddle.to_tensor(value) for name, value in weights.items()}, str(folder / "calm.pdparams")
    )
    return folder / "calm"
