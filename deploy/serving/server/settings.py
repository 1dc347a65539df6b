"""What config.yml may say: each key, its range and its default.

The names of Paddle Serving's own pipeline configuration are kept where they mean the same. No Paddle Serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Optional

from ppghost.config.bind import bind
from ppghost.config.reader import apply_overrides, read_file
from ppghost.config.types import Choice, NonNegativeFloat, PositiveFloat, PositiveInt, Range

Port = Annotated[int, Range(0, 65535)]
ENGINES = ("auto", "ghost", "paddle")


@dataclass(frozen=True)
class OpSettings:
    """How a worker runs the network.

    Attributes:
        engine: "ghost" is ppghost's own, "paddle" is Paddle Inference with oneDNN; "auto" takes "ghost" where
            the artifact has its form and it gives the golden outputs here, else "paddle".
        concurrency: threads of a worker that each prepare and run batches; "paddle" takes 1 only.
        batch_size: the most requests that go through the network at once.
        auto_batching_timeout: milliseconds that a request waits for others to come along.
        thread_num: threads of one run of the network.
    """

    engine: Annotated[str, Choice(ENGINES)] = "auto"
    concurrency: PositiveInt = 1
    batch_size: PositiveInt = 4
    auto_batching_timeout: NonNegativeFloat = 0.0
    thread_num: PositiveInt = 1


@dataclass(frozen=True)
class Ops:
    """The ops of the pipeline that are ours to set."""

    ghostnet: OpSettings = field(default_factory=OpSettings)


@dataclass(frozen=True)
class Limits:
    """What is refused. Counts are those of one worker.

    Attributes:
        request_bytes: length of a request's body.
        pictures: pictures in one request.
        pixels: pixels of one picture, before it is decoded.
        queue: requests that are being answered; one more is told "busy".
        waiting_bytes: bodies that are being received, all together; one more is told "busy".
        connections: open HTTP connections.
        header_seconds: for the headers of a request.
        body_seconds: for its body.
        answer_seconds: for its answer.
        idle_seconds: until a connection without requests is closed.
        stop_seconds: for the requests under way when the server stops.
    """

    request_bytes: PositiveInt = 32 * 1024 * 1024
    pictures: PositiveInt = 32
    pixels: PositiveInt = 50_000_000
    queue: PositiveInt = 64
    waiting_bytes: PositiveInt = 256 * 1024 * 1024
    connections: PositiveInt = 512
    header_seconds: PositiveFloat = 10.0
    body_seconds: PositiveFloat = 20.0
    answer_seconds: PositiveFloat = 30.0
    idle_seconds: PositiveFloat = 75.0
    stop_seconds: PositiveFloat = 30.0


@dataclass(frozen=True)
class Settings:
    """The whole of config.yml.

    Attributes:
        host: the address to listen on.
        http_port: of the HTTP service; 0 takes a free one.
        rpc_port: of the gRPC service; 0 takes a free one.
        worker_num: processes; 0 means one for each processor that may be used.
        log_requests: write a line for each request.
        op: see `Ops`.
        limits: see `Limits`.
    """

    host: str = "127.0.0.1"
    http_port: Port = 18080
    rpc_port: Port = 9993
    worker_num: Annotated[int, Range(0, 256)] = 0
    log_requests: bool = True
    op: Ops = field(default_factory=Ops)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.http_port and self.http_port == self.rpc_port:
            raise ValueError(f"http_port and rpc_port are both {self.http_port}; accepted: different ones.")
        if self.op.ghostnet.engine == "paddle" and self.op.ghostnet.concurrency != 1:
            raise ValueError(
                "Paddle Serving's predictor serves one thread at a time: with engine paddle, concurrency "
                "must be 1. Raise worker_num instead."
            )
        if self.limits.waiting_bytes < self.limits.request_bytes:
            raise ValueError("limits.waiting_bytes is less than limits.request_bytes; accepted: at least it.")


def read_settings(path: Optional[Path], overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of a file, changed by overrides of the form "limits.pictures=8".

    Raises:
        ConfigError: the file cannot be read, or a key of it cannot be honoured.
    """
    tree = read_file(path if path is not None else Path(__file__).parents[1] / "config.yml")
    settings: Settings = bind(apply_overrides(tree, overrides), Settings)
    return settings
