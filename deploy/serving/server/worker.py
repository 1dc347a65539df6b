"""A worker: one process with the HTTP front, the gRPC service and the pipeline.

Started by the supervisor with a job on its standard input; when that is closed, the supervisor is gone and
the worker ends. The port belongs to the supervisor and is shared by all, so what waits in it outlives one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import cv2

from ppghost.artifact import Artifact, read_artifact, read_golden
from ppghost.errors import GhostError
from ppghost.vision.decode import MAX_PIXELS_VARIABLE
from server.asks import Rules
from server.board import BOARD_FILE, READY, STOPPING, Board
from server.folders import SERVER_FOLDER
from server.front import Front, Service, read_page
from server.gate import Gate
from server.job import Job
from server.pipeline import Pipeline
from server.records import LOG, tell, write_records
from server.rpc import start_rpc

# Clients that sent a request when the server began to stop find somebody who says so.
_LAST_WORDS_SECONDS = 0.3
_BACKLOG = 1024
_COURTESY_SECONDS = 0.005
_WANT_SECONDS = 0.5
_WARM_UPS = 3


def main() -> None:
    """Work until the supervisor says or is gone."""
    if sys.argv[1:] == ["paddle"]:
        importlib.import_module(
            "paddle_serving_app.local_predict"
        )  # seconds, better before than after the job
    line = sys.stdin.readline()
    if not line:  # a spare that was not needed
        return
    job = Job.from_json(line)
    os.environ[MAX_PIXELS_VARIABLE] = str(job.settings.limits.pixels)
    cv2.setNumThreads(1)
    write_records()
    threading.excepthook = _end_with_thread
    try:
        service = _make_service(job)
    except GhostError as error:
        tell("worker cannot start", worker=job.row, reason=str(error))
        os._exit(error.exit_code)
    answered = asyncio.run(_work(job, service))
    tell("worker has stopped", worker=job.row, answered_all=answered)
    os._exit(0 if answered else 1)  # the threads of the DAG wait for ever


def _end_with_thread(death: threading.ExceptHookArgs) -> None:
    """End the worker when a thread of it dies, as requests would wait; the supervisor starts another."""
    LOG.critical("a thread died", exc_info=death.exc_value)
    os._exit(1)


async def _work(job: Job, service: Service) -> bool:
    """Answer until the supervisor says stop or is gone; return whether all that was accepted was answered."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the supervisor tells what a Ctrl-C means
    loop.add_reader(sys.stdin, stop.set)
    front = Front(service, loop)
    rpc = start_rpc(service, job.settings.host, job.rpc_port)
    listener = socket.socket(fileno=job.listener)
    listener.setblocking(False)
    listener.listen(_BACKLOG)
    taking = loop.create_task(_take_connections(listener, front, service.board))
    service.board.set_state(READY)
    tell("worker is ready", worker=job.row, pid=os.getpid(), engine=job.engine)
    await stop.wait()
    loop.remove_reader(sys.stdin)
    service.board.set_state(STOPPING)
    tell("worker stops", worker=job.row)
    answered = await loop.run_in_executor(None, service.gate.close, service.limits.stop_seconds)
    await asyncio.sleep(_LAST_WORDS_SECONDS)
    taking.cancel()
    with contextlib.suppress(OSError):  # another worker did it already
        listener.shutdown(socket.SHUT_RDWR)  # the supervisor holds the port too: closing would not be enough
    listener.close()
    await front.close()
    rpc.stop(grace=1.0).wait(1.0)
    return answered


async def _take_connections(listener: socket.socket, front: Front, board: Board) -> None:
    """Take connections one by one; a worker that has more than another gives way for a moment.

    `create_server` would take all that wait at once, so that one worker may get them all.
    """
    loop = asyncio.get_running_loop()
    while True:
        arrived = asyncio.Event()
        loop.add_reader(listener, arrived.set)
        await arrived.wait()
        loop.remove_reader(listener)
        if board.has_more_than_another():
            await asyncio.sleep(_COURTESY_SECONDS)
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # another worker took it, or it is gone
            continue
        except OSError as error:  # no file descriptors left, or no memory: it waits in the port, and so do we
            LOG.warning("no connection can be taken", extra={"fields": {"reason": error.strerror}})
            await asyncio.sleep(_WANT_SECONDS)
            continue
        connection.setblocking(False)
        await loop.connect_accepted_socket(front.accept, connection)


def _make_service(job: Job) -> Service:
    """Return the service, warm and verified. In the main thread: Paddle Serving sets a signal handler."""
    artifact, settings = read_artifact(Path(job.artifact)), job.settings
    board = Board(Path(job.folder) / BOARD_FILE, job.workers, job.row)
    pipeline = Pipeline(artifact, settings.op.ghostnet, job.engine, Path(job.folder) / SERVER_FOLDER, board)
    golden = read_golden(artifact)
    for _ in range(_WARM_UPS):
        pipeline.verify(golden)
    gc.freeze()  # what lives as long as the worker needs not be looked through again and again
    facts, limits = artifact.facts, settings.limits
    model = {"name": facts.name, "version": facts.version}
    return Service(
        begin=pipeline.begin,
        model=model,
        info=_info(artifact, job, model),
        rules=Rules(limits.pictures, facts.class_num, min(artifact.topk, facts.class_num)),
        limits=limits,
        gate=Gate(limits.queue, limits.waiting_bytes, board),
        board=board,
        page=read_page(),
        logs_requests=settings.log_requests,
    )


def _info(artifact: Artifact, job: Job, model: dict[str, str]) -> dict[str, Any]:
    facts, limits = artifact.facts, job.settings.limits
    return {
        "model": {
            **model,
            "classes": facts.class_num,
            "input_shape": list(facts.input_shape),
            "labels": artifact.labels is not None,
        },
        "transform_ops": artifact.pipeline.to_list(),
        "engine": job.engine,
        "limits": {
            "request_bytes": limits.request_bytes,
            "pictures": limits.pictures,
            "pixels": limits.pixels,
        },
    }


if __name__ == "__main__":
    main()
