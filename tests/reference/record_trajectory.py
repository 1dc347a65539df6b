"""Run PaddleClas' own engine over `trajectory.yaml` and store what it logs in `trajectory.json`.

    PYTHON tests/reference/record_trajectory.py PADDLECLAS_ROOT

PYTHON is an interpreter that can import PaddleClas' engine from the source tree PADDLECLAS_ROOT and Paddle.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [sys.argv[1], str(HERE), str(HERE.parents[1])]

import paddle  # noqa: E402 - the path must be set first
from ppcls.engine.engine import Engine  # noqa: E402
from ppcls.utils import config as ppcls_config  # noqa: E402
from trajectory import calm_weights, draw_pictures  # noqa: E402

from ppghost.vision import Rng  # noqa: E402


def main() -> None:
    """Record losses, learning rates and accuracies of every step and evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        draw_pictures(Path())
        config = ppcls_config.get_config(str(HERE / "trajectory.yaml"), show=False)
        config["Global"]["pretrained_model"] = None
        config["profiler_options"] = None
        engine = Engine(config, mode="train")
        shapes = {name: tuple(tensor.shape) for name, tensor in engine.model.state_dict().items()}
        engine.model.set_state_dict(
            {name: paddle.to_tensor(value) for name, value in calm_weights(shapes).items()}
        )
        record: dict[str, list] = {"loss": [], "lr": [], "eval_loss": [], "eval_top1": []}

        def before_forward(layer: paddle.nn.Layer, _: object) -> None:
            if layer.training:
                paddle.seed(Rng.derive(0, 0, len(record["loss"]), 1).seed)

        engine.model.register_forward_pre_hook(before_forward)
        train_loss, eval_loss = engine.train_loss_func, engine.eval_loss_func
        evaluate = engine.eval
        sums = [0.0, 0]

        def watched_train_loss(out: paddle.Tensor, label: paddle.Tensor) -> dict[str, paddle.Tensor]:
            losses = train_loss(out, label)
            record["loss"].append(float(losses["loss"]))
            record["lr"].append(engine.lr_sch[0].get_lr())
            return losses

        def watched_eval_loss(out: paddle.Tensor, label: paddle.Tensor) -> dict[str, paddle.Tensor]:
            losses = eval_loss(out, label)
            sums[0] += float(losses["loss"]) * len(label)
            sums[1] += len(label)
            return losses

        def watched_eval(epoch: int) -> float:
            sums[:] = [0.0, 0]
            top1 = evaluate(epoch)
            record["eval_loss"].append(sums[0] / sums[1])
            record["eval_top1"].append(float(top1))
            return top1

        watched_train_loss.state_dict = dict  # the engine saves the parameters of losses
        engine.train_loss_func, engine.eval_loss_func, engine.eval = (
            watched_train_loss,
            watched_eval_loss,
            watched_eval,
        )
        engine.train()
        lines = (Path("output") / "train.log").read_text().splitlines()
        record["log"] = [
            line.split(" INFO: ")[1] for line in lines if "INFO: [Train]" in line or "INFO: [Eval]" in line
        ]
    made_with = {"paddle": paddle.__version__, "PaddleClas": "d178931"}
    (HERE / "trajectory.json").write_text(json.dumps({"made_with": made_with, **record}, indent=1) + "\n")


if __name__ == "__main__":
    main()
