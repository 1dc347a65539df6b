"""Store what PaddleClas' GhostNets are and compute: `ghostnet_state.json` and `ghostnet_logits.npz`.

    PYTHON tests/reference/record_nets.py PADDLECLAS_ROOT

PYTHON is an interpreter that can import PaddleClas from the source tree PADDLECLAS_ROOT. The JSON file holds
every state-dict key with its shape at each width, in order; the npz file the logits, float32 [2, 1000], for
the weights and the batch that `seeded_weights.py` draws.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [sys.argv[1], str(HERE)]

import numpy as np  # noqa: E402 - the path must be set first
import paddle  # noqa: E402
from ppcls import arch  # noqa: E402
from seeded_weights import NAMES, seeded_batch, seeded_weights  # noqa: E402


def main() -> None:
    """Record all widths."""
    shapes, logits = {}, {}
    for name in NAMES:
        # PaddleClas gives its parameters fixed names: two of its nets need two name scopes.
        with paddle.utils.unique_name.guard():
            net = getattr(arch, name)()
        shapes[name] = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        net.set_state_dict(seeded_weights(shapes[name]))
        net.eval()
        with paddle.no_grad():
            logits[name] = net(paddle.to_tensor(seeded_batch())).numpy()
    lines = (
        f"  {json.dumps(key)}: {json.dumps([shapes[name][key] for name in NAMES])}"
        for key in shapes[NAMES[0]]
    )
    body = ",\n".join(lines)
    (HERE / "ghostnet_state.json").write_text(f"{{\n{body}\n}}\n")
    np.savez_compressed(HERE / "ghostnet_logits.npz", **logits)


if __name__ == "__main__":
    main()
