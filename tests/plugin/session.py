"""Run inside an interpreter that has PaddleClas; prints one line of JSON that test_paddleclas.py judges.

    PYTHON session.py PADDLECLAS_MODULE FOLDER

PADDLECLAS_MODULE is `paddleclas.ppcls.arch` or `ppcls.arch`; FOLDER takes weight files.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any, Callable

sys.path.append(str(Path(__file__).resolve().parents[1] / "reference"))

import paddle  # noqa: E402 - the path must be set first
from paddle import nn  # noqa: E402
from seeded_weights import NAMES, relative_error, seeded_batch, seeded_weights  # noqa: E402

import ppghost  # noqa: E402


def logits(net: nn.Layer) -> Any:
    net.eval()
    with paddle.no_grad():
        return net(paddle.to_tensor(seeded_batch())).numpy()


def exchange(name: str, theirs: Callable[..., nn.Layer], folder: Path) -> dict[str, Any]:
    """Send weights both ways through files; return keys, shapes, errors and PaddleClas' operation count."""
    sent, back = folder / f"{name}_theirs.pdparams", folder / f"{name}_ours.pdparams"
    # PaddleClas gives its parameters fixed names: each of its nets needs a name scope of its own.
    with paddle.utils.unique_name.guard():
        source = theirs()
    state = source.state_dict()
    source.set_state_dict(seeded_weights({key: tuple(tensor.shape) for key, tensor in state.items()}))
    paddle.save(source.state_dict(), str(sent))
    ours = ppghost.build_model(name, pretrained=str(sent))
    paddle.save(ours.state_dict(), str(back))
    with paddle.utils.unique_name.guard():
        target = theirs(pretrained=str(back))
    expected = logits(source)
    return {
        "same_keys": list(state) == list(ours.state_dict()),
        "same_shapes": [t.shape for t in state.values()] == [t.shape for t in ours.state_dict().values()],
        "there": relative_error(logits(ours), expected),
        "and_back": relative_error(logits(target), expected),
        "paddle_flops": int(paddle.flops(source, [1, *ppghost.get_card(name).input_shape])),
    }


def main() -> None:
    """Register, build and exchange."""
    arch = importlib.import_module(sys.argv[1])
    # Their loading of weights logs, and fails where nobody has set their logger up.
    importlib.import_module(sys.argv[1].replace("arch", "utils.logger")).init_logger()
    folder = Path(sys.argv[2])
    theirs = {name: getattr(arch, name) for name in NAMES}
    polite = ppghost.register()
    kept = all(getattr(arch, name) is theirs[name] for name in NAMES)
    config = {"Arch": {"name": "GhostNet_x1_3_ssld", "class_num": 10, "pretrained": False, "use_ssld": False}}
    built = arch.build_model({**config, "Global": {"device": "cpu"}})
    exchanged = {name: exchange(name, theirs[name], folder) for name in NAMES}
    forced = ppghost.register(force=True)
    replaced = [arch.GhostNet_x0_5(), arch.GhostNet_x0_5()]
    answer = {
        "modules": polite.modules,
        "registered": polite.registered,
        "left": polite.left,
        "kept": kept,
        "built": [type(built).__module__, built.fc_1.weight.shape],
        "forced": [type(net).__module__ for net in replaced],
        "forced_left": forced.left,
        "exchanged": exchanged,
    }
    print(json.dumps(answer))  # noqa: T201 - the answer goes through the pipe


if __name__ == "__main__":
    main()
