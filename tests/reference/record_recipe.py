"""Record what PaddleClas' losses, optimizers, schedules, metrics and EMA do, as numbers.

Run once per PaddleClas version, in an environment where PaddleClas runs, from anywhere:

    python tests/reference/record_recipe.py PADDLECLAS_TREE

It writes `recipe.json` beside itself. The tests read that file, and `toy_net` and `gradient` from here.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.regularizer import L2Decay

EPOCHS, STEPS = 4, 5
WARM = {"warmup_epoch": 1, "warmup_start_lr": 0.01}
PLATEAU_SCORES = [0.1, 0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6]

# (schedule, its keys, epochs, steps of an epoch)
SCHEDULES = [
    ("Constant", {"learning_rate": 0.3}, EPOCHS, STEPS),
    ("ConstLR", {"learning_rate": 0.3, **WARM}, EPOCHS, STEPS),
    ("Linear", {"learning_rate": 0.8, "end_lr": 0.1, "power": 2.0}, EPOCHS, STEPS),
    ("Linear", {"learning_rate": 0.8, "cycle": True, **WARM}, EPOCHS, STEPS),
    ("Cosine", {"learning_rate": 0.8, "warmup_epoch": 1}, EPOCHS, STEPS),
    ("Cosine", {"learning_rate": 0.8, "eta_min": 0.02, **WARM, "by_epoch": True}, EPOCHS, STEPS),
    ("Cosine", {"learning_rate": 0.8}, EPOCHS, STEPS),
    ("Cosine", {"learning_rate": 0.8, "warmup_epoch": 9}, EPOCHS, STEPS),
    ("Cosine", {"learning_rate": 0.8, "last_epoch": 0, "warmup_epoch": 1}, EPOCHS, STEPS),
    (
        "Cyclic",
        {"base_learning_rate": 0.1, "max_learning_rate": 0.5, "step_size_up": 3, **WARM},
        EPOCHS,
        STEPS,
    ),
    (
        "Cyclic",
        {
            "base_learning_rate": 0.1,
            "max_learning_rate": 0.5,
            "step_size_up": 3,
            "step_size_down": 5,
            "mode": "exp_range",
            "exp_gamma": 0.9,
            "warmup_epoch": 0,
            "warmup_start_lr": 0.0,
        },
        EPOCHS,
        STEPS,
    ),
    ("Step", {"learning_rate": 0.4, "step_size": 1.5, "gamma": 0.5, **WARM}, EPOCHS, STEPS),
    ("Step", {"learning_rate": 0.4, "step_size": 2, "gamma": 0.5, "by_epoch": True}, EPOCHS, STEPS),
    ("Piecewise", {"decay_epochs": [1, 3], "values": [0.3, 0.2, 0.1], **WARM}, EPOCHS, STEPS),
    ("Piecewise", {"decay_epochs": [1, 3], "values": [0.3, 0.2, 0.1], "by_epoch": True}, EPOCHS, STEPS),
    ("Piecewise", {"decay_epochs": [1], "values": [7.0, 8.0], "learning_rate": 0.3}, EPOCHS, STEPS),
    ("Piecewise", {"decay_epochs": [1], "values": [7.0, 8.0], "learning_rate": 0.3}, 70, 2),
    ("MultiStepDecay", {"learning_rate": 0.4, "milestones": [1, 2], **WARM}, EPOCHS, STEPS),
    ("MultiStepDecay", {"learning_rate": 0.4, "milestones": [1, 2], "by_epoch": True}, EPOCHS, STEPS),
    ("CosineFixmatch", {"learning_rate": 0.4, "num_warmup_steps": 4}, EPOCHS, STEPS),
    ("OneCycleLR", {"max_learning_rate": 0.4}, EPOCHS, STEPS),
    ("OneCycleLR", {"max_learning_rate": 0.4, "anneal_strategy": "linear", **WARM}, EPOCHS, STEPS),
    ("OneCycleLR", {"max_learning_rate": 0.4, "three_phase": True}, EPOCHS, STEPS),
    (
        "ReduceOnPlateau",
        {"learning_rate": 0.4, "mode": "max", "by_epoch": True, "patience": 1, "cooldown": 1},
        len(PLATEAU_SCORES),
        STEPS,
    ),
]

RATE = {"name": "Cosine", "learning_rate": 0.5}
OPTIMIZERS = [
    {"name": "SGD", "lr": RATE},
    {"name": "SGD", "lr": RATE, "weight_decay": 0.1, "clip_norm": 0.5},
    {"name": "Momentum", "momentum": 0.9, "lr": RATE, "regularizer": {"name": "L2", "coeff": 0.1}},
    {"name": "Momentum", "momentum": 0.9, "lr": RATE, "regularizer": {"name": "L1", "coeff": 0.1}},
    {"name": "Momentum", "momentum": 0.9, "lr": RATE, "weight_decay": 0.1, "use_nesterov": True},
    {"name": "Adam", "lr": RATE, "regularizer": {"name": "L2", "coeff": 0.1}},
    {"name": "Adam", "lr": RATE, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
    {"name": "RMSProp", "lr": RATE, "momentum": 0.9, "rho": 0.9, "epsilon": 1e-3, "weight_decay": 0.1},
    {"name": "AdamW", "lr": RATE, "weight_decay": 0.1},
    {"name": "AdamW", "lr": RATE, "weight_decay": 0.1, "one_dim_param_no_weight_decay": True},
    {"name": "AdamW", "lr": RATE, "weight_decay": 0.1, "no_weight_decay_name": "bias fc"},
]
# Here PaddleClas groups parameters, which undoes the BatchNorm's own "no decay": recorded without it.
# Momentum is not recorded in this form: PaddleClas builds it twice, and the first time empties the groups.
GROUPED_OPTIMIZERS = [
    {"name": "RMSProp", "lr": RATE, "weight_decay": 0.1, "one_dim_param_no_weight_decay": True},
    {"name": "RMSProp", "lr": RATE, "weight_decay": 0.1, "no_weight_decay_name": "fc.bias bn"},
]

LOSSES = [
    ([{"CELoss": {"weight": 1.0}}], "hard"),
    ([{"CELoss": {"weight": 1.0, "epsilon": 0.1}}], "hard"),
    ([{"CELoss": {"weight": 1.0, "epsilon": 0.1}}], "soft"),
    ([{"CELoss": {"weight": 1.0, "epsilon": 0.1, "reduction": "sum"}}], "hard"),
    ([{"CELoss": {"weight": 1.0, "reduction": "sum"}}], "hard"),
    ([{"SoftTargetCrossEntropy": {"weight": 1.0}}], "soft"),
    ([{"CELoss": {"weight": 0.3, "epsilon": 0.2}}, {"SoftTargetCrossEntropy": {"weight": 0.5}}], "soft"),
]

PAIR = {"model_name_pairs": [["Student", "Teacher"]]}
DISTILLATION_LOSSES = [
    [{"DistillationDMLLoss": {"weight": 1.0, **PAIR}}],
    [{"DistillationDMLLoss": {"weight": 1.0, "act": "sigmoid", **PAIR}}],
    [{"DistillationDMLLoss": {"weight": 1.0, "sum_across_class_dim": True, **PAIR}}],
    [{"DistillationCELoss": {"weight": 1.0, **PAIR}}],
    [{"DistillationGTCELoss": {"weight": 1.0, "model_names": ["Student", "Teacher"], "epsilon": 0.1}}],
    [{"DistillationKLDivLoss": {"weight": 1.0, **PAIR}}],
    [{"DistillationDKDLoss": {"weight": 1.0, "temperature": 2.0, "alpha": 1.5, "beta": 0.5, **PAIR}}],
    [{"DistillationDKDLoss": {"weight": 1.0, "use_target_as_gt": True, **PAIR}}],
    [{"DistillationWSLLoss": {"weight": 1.0, **PAIR}}],
    [{"DistillationSKDLoss": {"weight": 1.0, "temperature": 3.0, **PAIR}}],
    [{"DistillationDISTLoss": {"weight": 1.0, "beta": 2.0, "gamma": 3.0, **PAIR}}],
    [{"DistillationDistanceLoss": {"weight": 1.0, **PAIR}}],
    [{"DistillationDistanceLoss": {"weight": 1.0, "mode": "l1", "act": "softmax", **PAIR}}],
    [{"DistillationDistanceLoss": {"weight": 1.0, "mode": "smooth_l1", "act": "sigmoid", **PAIR}}],
    [
        {"DistillationGTCELoss": {"weight": 0.3, "model_names": ["Student"]}},
        {"DistillationDMLLoss": {"weight": 0.5, "key": None, **PAIR}},
    ],
]

EMA_DECAY = 0.7


class Toy(nn.Layer):
    """Four parameters of four kinds: a matrix, a bias, a scale and a shift."""

    def __init__(self, own_regularizer: bool) -> None:
        super().__init__()
        attribute = paddle.ParamAttr(regularizer=L2Decay(0.0)) if own_regularizer else None
        self.fc = nn.Linear(3, 2)
        self.bn = nn.BatchNorm1D(2, weight_attr=attribute, bias_attr=attribute)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Run both layers."""
        return self.bn(self.fc(x))


def toy_net(own_regularizer: bool = True) -> Toy:
    """Return the toy with weights that are the same everywhere."""
    net = Toy(own_regularizer)
    rng = np.random.RandomState(7)
    for tensor in net.state_dict().values():
        tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
    return net


def gradient(step: int, index: int, shape: list[int]) -> np.ndarray:
    """Return the gradient of parameter `index` in `step`, float32."""
    return np.random.RandomState(100 * step + index).uniform(-1, 1, shape).astype("float32")


def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return logits [6, 4], class indexes [6, 1] and soft labels [6, 4]."""
    rng = np.random.RandomState(11)
    logits = rng.normal(0, 3, (6, 4)).astype("float32")
    soft = rng.uniform(0, 1, (6, 4))
    return logits, rng.randint(0, 4, (6, 1)), (soft / soft.sum(1, keepdims=True)).astype("float32")


def _signature(function: object) -> dict[str, object]:
    """Return name -> default ("obligatory" where there is none) of a constructor."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = parameter.default
        if default is parameter.empty:
            found[name] = "obligatory"
        else:
            found[name] = list(default) if isinstance(default, tuple) else default
    return found


def _signatures() -> dict[str, dict[str, object]]:
    from ppcls import loss, metric
    from ppcls.optimizer import learning_rate, optimizer

    distilled = {name for config in DISTILLATION_LOSSES for one in config for name in one}
    named = {
        "losses": (loss, " ".join(["CELoss", "SoftTargetCrossEntropy", *sorted(distilled)])),
        "optimizers": (optimizer, "SGD Momentum Adam RMSProp AdamW"),
        "schedules": (
            learning_rate,
            "Constant ConstLR Linear Cosine Cyclic Step Piecewise MultiStepDecay ReduceOnPlateau "
            "CosineFixmatch OneCycleLR",
        ),
        "metrics": (metric, "TopkAcc DistillationTopkAcc"),
        "regularizers": (paddle.regularizer, "L1Decay L2Decay"),
    }
    return {
        kind: {name: _signature(getattr(module, name).__init__) for name in names.split()}
        for kind, (module, names) in named.items()
    }


def _known_names() -> dict[str, list[str]]:
    """Return every name that a PaddleClas YAML may give to a loss, metric, optimizer or schedule."""
    from ppcls import loss, metric
    from ppcls.optimizer import learning_rate, optimizer

    def classes(module: object, prefix: str) -> list[str]:
        found = inspect.getmembers(module, inspect.isclass)
        own = {name for name, one in found if one.__module__.startswith(prefix)}
        return sorted(own - {"CombinedLoss", "CombinedMetrics", "AvgMetrics", "LRBase"})

    return {
        "losses": classes(loss, "ppcls.loss"),
        "metrics": classes(metric, "ppcls.metric"),
        "optimizers": classes(optimizer, "ppcls.optimizer"),
        "schedules": classes(learning_rate, "ppcls.optimizer"),
    }


def _record_schedules() -> list[dict[str, object]]:
    from ppcls.optimizer import build_lr_scheduler

    cases = []
    for name, keys, epochs, steps in SCHEDULES:
        schedule = build_lr_scheduler({"name": name, **keys}, epochs, steps)
        cases.append(
            {
                "name": name,
                "keys": keys,
                "epochs": epochs,
                "steps": steps,
                "type": type(schedule).__name__,
                "values": follow(schedule, epochs, steps),
            }
        )
    return cases


def follow(schedule: paddle.optimizer.lr.LRScheduler, epochs: int, steps: int) -> list[float]:
    """Return the rate of each update of a run, moving the schedule as PaddleClas' engine does."""
    values = []
    by_epoch = getattr(schedule, "by_epoch", False)
    for epoch in range(epochs):
        for _ in range(steps):
            values.append(schedule.last_lr)
            if not by_epoch:
                schedule.step()
        if by_epoch and isinstance(schedule, paddle.optimizer.lr.ReduceOnPlateau):
            schedule.step(PLATEAU_SCORES[epoch])
        elif by_epoch:
            schedule.step()
    return values


def train_toy(
    net: Toy, optimizer: paddle.optimizer.Optimizer, schedule: object, steps: int = 4, start: int = 0
) -> None:
    """Update the toy with the gradients of `gradient`."""
    for step in range(start, start + steps):
        for index, parameter in enumerate(net.parameters()):
            parameter.grad = paddle.to_tensor(gradient(step, index, parameter.shape))
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()


def _record_optimizers(configs: list[dict[str, object]], own_regularizer: bool) -> list[dict[str, object]]:
    from ppcls.optimizer import build_optimizer

    cases = []
    for config in configs:
        net = toy_net(own_regularizer)
        (optimizer,), (schedule,) = build_optimizer(config, EPOCHS, STEPS, [net])
        train_toy(net, optimizer, schedule)
        weights = {name: parameter.numpy().tolist() for name, parameter in net.named_parameters()}
        cases.append({"config": config, "weights": weights})
    return cases


def _record_losses() -> list[dict[str, object]]:
    from ppcls.loss import build_loss

    logits, hard, soft = (paddle.to_tensor(array) for array in samples())
    cases = []
    for config, kind in LOSSES:
        values = build_loss(config)(logits, hard if kind == "hard" else soft)
        cases.append({"config": config, "labels": kind, "values": {k: float(v) for k, v in values.items()}})
    return cases


def distilled_samples() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the logits [6, 4] of two networks, and class indexes [6, 1]."""
    logits, hard, _ = samples()
    return {"Student": logits, "Teacher": logits[::-1].copy()}, hard


def _record_distillation() -> list[dict[str, object]]:
    from ppcls.loss import build_loss

    outputs, hard = distilled_samples()
    outputs = {name: paddle.to_tensor(array) for name, array in outputs.items()}
    cases = []
    for config in DISTILLATION_LOSSES:
        values = build_loss(config)(outputs, paddle.to_tensor(hard))
        cases.append({"config": config, "values": {k: float(v) for k, v in values.items()}})
    return cases


def _record_metrics() -> dict[str, float]:
    from ppcls.metric import build_metrics

    logits, hard, _ = (paddle.to_tensor(array) for array in samples())
    values = build_metrics([{"TopkAcc": {"topk": [1, 2, 3]}}])(logits, hard)
    return {name: float(value) for name, value in values.items()}


def _record_ema() -> dict[str, list[float]]:
    from ppcls.utils.ema import ExponentialMovingAverage

    net = toy_net()
    ema = ExponentialMovingAverage(net, EMA_DECAY)
    for step in range(3):
        shift_toy(net, step)
        ema.update(net)
    return {name: tensor.numpy().tolist() for name, tensor in ema.module.state_dict().items()}


def shift_toy(net: Toy, step: int) -> None:
    """Move every tensor of the toy's state, statistics included."""
    for index, tensor in enumerate(net.state_dict().values()):
        tensor.set_value(tensor.numpy() + gradient(step, index, tensor.shape))


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", type=Path, help="PaddleClas source tree")
    sys.path.insert(0, str(parser.parse_args().tree))
    from ppcls.utils import logger

    logger.init_logger()
    recorded = {
        "made_by": f"record_recipe.py with paddle {paddle.__version__}, numpy {np.__version__}",
        "names": _known_names(),
        "signatures": _signatures(),
        "schedules": _record_schedules(),
        "optimizers": _record_optimizers(OPTIMIZERS, own_regularizer=True),
        "grouped_optimizers": _record_optimizers(GROUPED_OPTIMIZERS, own_regularizer=False),
        "losses": _record_losses(),
        "distillation_losses": _record_distillation(),
        "metrics": _record_metrics(),
        "ema": _record_ema(),
    }
    assert all(math.isfinite(value) for case in recorded["schedules"] for value in case["values"])
    path = Path(__file__).with_name("recipe.json")
    path.write_text(json.dumps(recorded, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
