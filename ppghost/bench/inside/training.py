"""Training steps: a network on random pictures, timed when asked to.

The job gives `framework` (paddle or torch), `module`, `function` and `arguments` that make the network,
`class_num`, `batch`, `size` and `threads`. An order is `calls`, how many steps to take; the answer is the
seconds of each.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any, Callable

LEARNING_RATE = 0.01
MOMENTUM = 0.9
WEIGHT_DECAY = 4e-5
# What torchvision registers on import; timm needs no more of it than its Python part.
TORCHVISION_OPERATORS = (
    "nms",
    "qnms",
    "roi_align",
    "roi_pool",
    "ps_roi_align",
    "ps_roi_pool",
    "deform_conv2d",
)

Step = Callable[[], float]


def build_net(job: dict[str, Any]) -> Any:
    """Call the function that the job names."""
    return getattr(importlib.import_module(job["module"]), job["function"])(**job["arguments"])


def paddle_step(job: dict[str, Any]) -> Step:
    """Return a training step of a Paddle network; it returns the loss."""
    import paddle

    paddle.set_device("cpu")
    net = build_net(job)
    net.train()
    optimizer = paddle.optimizer.Momentum(
        LEARNING_RATE, MOMENTUM, parameters=net.parameters(), weight_decay=WEIGHT_DECAY
    )
    criterion = paddle.nn.CrossEntropyLoss()
    images = paddle.randn([job["batch"], 3, job["size"], job["size"]])
    labels = paddle.randint(0, job["class_num"], [job["batch"]])

    def step() -> float:
        loss = criterion(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    return step


def torch_step(job: dict[str, Any]) -> Step:
    """Return a training step of a PyTorch network, channels last, its fastest; it returns the loss."""
    import torch

    torch.set_num_threads(job["threads"])
    open_torchvision()
    net = build_net(job).to(memory_format=torch.channels_last)
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    images = torch.randn(job["batch"], 3, job["size"], job["size"]).to(memory_format=torch.channels_last)
    labels = torch.randint(0, job["class_num"], [job["batch"]])

    def step() -> float:
        loss = torch.nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def open_torchvision() -> None:
    """Make torchvision importable where its native part belongs to another build of PyTorch."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in TORCHVISION_OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
            library.define(f"_{name}_backward(Tensor x) -> Tensor")
        # The operators live as long as the object that defined them.
        torch.ppghost_torchvision = library


def timed(step: Step) -> float:
    """Return the seconds of one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def prepare(job: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., dict[str, Any]]]:
    """Build the network; return the framework's version, and what takes steps."""
    step = {"paddle": paddle_step, "torch": torch_step}[job["framework"]](job)
    version = importlib.import_module(job["framework"]).__version__

    def obey(calls: int) -> dict[str, Any]:
        return {"seconds": [timed(step) for _ in range(calls)]}

    return {"framework": f"{job['framework']} {version}"}, obey
