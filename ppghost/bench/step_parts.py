"""What a training step spends its time on: one row for each kind of operator, from Paddle's profiler.

Every nanosecond counts once, for the innermost operator or native kernel that it was spent in; what is left,
Python and the framework between operators, is a row of its own, so the rows add up to the step.

Door: imports the train room and everything below it.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import paddle
from paddle import profiler
from paddle.utils import unique_name

from ppghost.bench.report import table_lines
from ppghost.config import Config
from ppghost.config.loading import MultiScaleSampler
from ppghost.data import Batch, Loader
from ppghost.errors import ConfigError
from ppghost.nets.native import NATIVE_EVENT
from ppghost.train.amp import MixedPrecision
from ppghost.train.ema import Ema
from ppghost.train.loop import Learner
from ppghost.train.losses import build_loss
from ppghost.train.metrics import build_metrics
from ppghost.train.networks import build_net
from ppghost.train.optim import build_optimizers
from ppghost.train.run import prepare_device
from ppghost.train.task import Classify

PHASES = ("forward", "backward", "update")
REST = "Python, framework"
_PHASE_OF_EVENT = {"Backward": "backward", "Optimization": "update"}
_OPERATOR = re.compile(r"(\w+) dygraph|Global_(\w+?)(?:Final)?GradNode(?:Final)?")


@dataclass
class Part:
    """One kind of operator.

    Attributes:
        kind: Paddle's name of the operator, or "native ..." for a kernel of ours.
        ms: phase -> milliseconds of a step.
        calls: calls in a step, over all phases.
    """

    kind: str
    ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    calls: float = 0.0

    @property
    def total_ms(self) -> float:
        """Milliseconds of a step, over all phases."""
        return sum(self.ms.values())


@dataclass(frozen=True)
class StepParts:
    """A step taken apart.

    Attributes:
        step_ms: median of a step as it is.
        profiled_ms: mean of a step while it is recorded, which costs some time: the sum of `parts`.
        parts: the most expensive first.
        batch_size: pictures in a step.
        image_shape: (channels, height, width).
    """

    step_ms: float
    profiled_ms: float
    parts: Sequence[Part]
    batch_size: int
    image_shape: Sequence[int]

    def lines(self) -> list[str]:
        """Return the table."""
        rows = [("operator", *(f"{phase} ms" for phase in PHASES), "share", "calls")]
        rows += [self._row(part) for part in self.parts]
        shape = " x ".join(map(str, self.image_shape))
        return [
            f"A step of {self.batch_size} pictures of {shape} takes {self.step_ms:.1f} ms "
            f"({self.profiled_ms:.1f} ms while it is recorded; the parts add up to that).",
            "",
            *table_lines(rows, left=1),
        ]

    def _row(self, part: Part) -> tuple[str, ...]:
        share = f"{part.total_ms / self.profiled_ms:.1%}"
        calls = "" if part.kind == REST else f"{part.calls:.0f}"
        return (part.kind, *(f"{part.ms[phase]:.2f}" for phase in PHASES), share, calls)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON takes."""
        parts = [{"kind": part.kind, "ms": part.ms, "calls": part.calls} for part in self.parts]
        return {
            "batch_size": self.batch_size,
            "image_shape": list(self.image_shape),
            "step_ms": self.step_ms,
            "profiled_ms": self.profiled_ms,
            "parts": parts,
        }


class _RandomBatches:
    """Stands in for a loader: the same batch of random pictures and labels at every step."""

    steps_per_epoch = 1
    skipped = ()

    def __init__(self, batch_size: int, image_shape: Sequence[int], class_num: int) -> None:
        images = paddle.randn([batch_size, *image_shape])
        labels = paddle.randint(0, class_num, [batch_size])
        self._batch = Batch(images, labels, batch_size, 0, np.arange(batch_size), 1)

    def batches(self, _epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batch."""
        yield self._batch


def take_step_apart(config: Config, steps: int) -> StepParts:
    """Train on random pictures of the configuration's batch size and image shape, and say where time goes.

    Reads no data set and writes nothing; changes the process' device and random state.

    Args:
        config: its network, loss, optimizers, EMA and metrics make the step.
        steps: how many to record, and how many to time without recording.

    Raises:
        ConfigError: there is no Train section to take the batch size from, or the device is not the CPU.
    """
    if not config.Global.device.startswith("cpu"):
        raise ConfigError(
            f"Global.device is '{config.Global.device}'; only a CPU finishes an operator before the next one "
            "begins, so only there these times are true. Use -o Global.device=cpu, or record a training run: "
            'ppghost train -c ... -p "batch_range=[10,20]"'
        )
    if config.DataLoader.Train is None:
        raise ConfigError(f"{config.source}: DataLoader.Train is missing; it holds the batch size.")
    sampler = config.DataLoader.Train.sampler
    batch_size = sampler.first_bs if isinstance(sampler, MultiScaleSampler) else sampler.batch_size
    shape = config.Global.image_shape
    with unique_name.guard():
        prepare_device(config)
        paddle.seed(config.Global.seed)
        learner = _build_learner(config)
        loader = cast(Loader, _RandomBatches(batch_size, shape, config.shipped.class_num))
        learner.train_epoch(loader, 1, 1, 1)
        step_ms = statistics.median(1000 * _seconds_of_step(learner, loader) for _ in range(steps))
        parts = _record(learner, loader, steps)
    return StepParts(step_ms, sum(part.total_ms for part in parts), parts, batch_size, shape)


def _build_learner(config: Config) -> Learner:
    net = build_net(config, config.shipped)
    optimizers, schedules = build_optimizers(
        config.Optimizer, config.Global.epochs, steps_per_epoch=1000, net=net, total_batch=1
    )
    metrics = build_metrics(config.Metric.Train) if config.Metric.Train else None
    return Learner(
        task=Classify(net, build_loss(config.Loss.Train)),
        optimizers=optimizers,
        schedules=schedules,
        amp=MixedPrecision(config.AMP, config.Global.device),
        ema=Ema(net, decay=config.EMA.decay) if config.EMA else None,
        metrics=metrics,
    )


def _seconds_of_step(learner: Learner, loader: Loader) -> float:
    start = time.perf_counter()
    learner.train_epoch(loader, 1, 1, 1)
    return time.perf_counter() - start


def _record(learner: Learner, loader: Loader, steps: int) -> list[Part]:
    recorder = profiler.Profiler(targets=[profiler.ProfilerTarget.CPU], on_trace_ready=lambda _: None)
    recorder.start()
    for step in range(steps):
        if step:
            recorder.step()
        learner.train_epoch(loader, 1, 1, 1)
    recorder.stop()
    # The event trees are gone when this object is.
    recorded = recorder.profiler_result
    roots = recorded.get_data().values()
    return _parts_of(
        [node for root in roots for node in root.children_node if _type_of(node) == "ProfileStep"]
    )


def _parts_of(trees: Sequence[Any]) -> list[Part]:
    """Return the mean over steps of what each kind of operator took."""
    parts: dict[str, Part] = defaultdict(lambda: Part(""))
    for tree in trees:
        _count(tree, "forward", REST, parts)
    for kind, part in parts.items():
        part.kind = kind
        part.calls /= len(trees)
        part.ms = {phase: ms / len(trees) for phase, ms in part.ms.items()}
    return sorted(parts.values(), key=lambda part: -part.total_ms)


def _count(node: Any, phase: str, owner: str, parts: dict[str, Part]) -> None:
    """Add an event's own time, without that of the events inside it, to the part that it belongs to."""
    phase = _PHASE_OF_EVENT.get(_type_of(node), phase)
    kind = kind_of_event(node.name)
    if kind:
        owner = kind
        parts[kind].calls += 1
    inside = sum(child.end_ns - child.start_ns for child in node.children_node)
    parts[owner].ms[phase] += (node.end_ns - node.start_ns - inside) / 1e6
    for child in node.children_node:
        _count(child, phase, owner, parts)


def _type_of(node: Any) -> str:
    return str(node.type).rpartition(".")[2]


def kind_of_event(name: str) -> str:
    """Return the kind of operator that an event of Paddle's profiler is about; "" for any other event.

    A forward operator "conv2d dygraph" and its gradient "Global_Conv2dGradNode" are of one kind.
    """
    if name.startswith(NATIVE_EVENT):
        return name.rpartition("_")[0]
    match = _OPERATOR.fullmatch(name)
    if match is None:
        return ""
    forward, backward = match.groups()
    # Names in C++ are in camel case, those in Python are not.
    return forward or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", backward).lower()
