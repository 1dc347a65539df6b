"""What the supervisor tells a worker, as one line on its standard input. No Paddle Serving."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ppghost.config.bind import bind_plain
from server.settings import Settings


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes:
        row: its row of the board.
        workers: how many there are.
        artifact: the folder to serve.
        folder: where logs, board and Paddle Serving's folders are.
        engine: "ghost" or "paddle".
        listener: the file descriptor of the HTTP port.
        rpc_port: the gRPC port.
        settings: as in config.yml.
    """

    row: int
    workers: int
    artifact: str
    folder: str
    engine: str
    listener: int
    rpc_port: int
    settings: Settings

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Job:
        """Return what `to_json` wrote."""
        job: Job = bind_plain(json.loads(line), cls, source="the worker's job")
        return job
