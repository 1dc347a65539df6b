"""The pipeline: Paddle Serving's DAG with one op, which prepares pictures, runs the network, names classes.

    with Pipeline(...) as pipeline:
        pipeline.begin(ask).result()

Requests of HTTP and gRPC enter the same DAG; its auto-batching joins those that wait. The DAG runs in
threads: its process form passes every request through a manager process several times.

Four things of Paddle Serving are kept out of reach. Its request op unpickles what a gRPC tensor carries, so
it is replaced. When an op fails to start it kills its process group, so a worker is alone in its group. Its
op copies a batch once for each request in it, so rows travel as objects. Its executor wakes one more thread
for each request, which waits for nothing else; a future takes its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp
from paddle_serving_server.pipeline.channel import ChannelTimeoutError
from paddle_serving_server.pipeline.dag import DAGExecutor
from paddle_serving_server.pipeline.pipeline_server import ServerYamlConfChecker

from ppghost.artifact import Artifact, Golden
from ppghost.errors import DataError, VerificationError
from ppghost.runtime import GhostPredictor
from ppghost.vision import softmax, top_k
from server.asks import SERVICE, Ask, Code, RefusalError
from server.board import Board
from server.folders import FETCH_ALIAS
from server.records import LOG
from server.settings import OpSettings

_ENTRANCE = "@DAGExecutor"
_ATOL = 1e-4
# Pictures in one run of the network: more are no faster, and memory grows with them.
_MOST_ROWS = 32

Run = Callable[[np.ndarray], np.ndarray]


class _Entrance(RequestOp):
    """What the DAG makes of a request: it is read already, for HTTP and gRPC alike."""

    def unpack_request_package(self, request: Ask) -> tuple[dict[str, Ask], int, None, str]:
        """Return the data of the DAG's first op."""
        return {"ask": request}, 0, None, ""


class _Executor(DAGExecutor):
    """The DAG's executor; what comes out of the DAG settles a future instead of waking a thread."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._futures: dict[int, tuple[Ask, Future[Ask]]] = {}

    def start(self) -> None:
        """Start the one thread that takes from the DAG."""
        threading.Thread(target=self._settle, name="settle", daemon=True).start()

    def begin(self, ask: Ask) -> Future[Ask]:
        """Put a request into the DAG, and return its answer to come: the request itself, with more in it."""
        future: Future[Ask] = Future()
        future.set_running_or_notify_cancel()  # nobody can cancel it any more
        data = self._pack_channeldata(ask, self._id_generator.next())
        self._futures[data.id] = ask, future
        self._in_channel.push(data, self.name)
        return future

    def _settle(self) -> None:
        while True:
            (data,) = self._out_channel.front(self.name).values()
            ask, future = self._futures.pop(data.id)
            if data.error_code:
                LOG.error("the pipeline failed", extra={"fields": {"reason": data.error_info}})
                ask.refusal = RefusalError(Code.DEFECT, "The pipeline failed; the server's log tells more.")
            ask.times_ms["total"] = (time.perf_counter() - ask.entered) * 1000
            future.set_result(ask)


class GhostNetOp(Op):
    """Preprocessing, network and post-processing of the requests that the DAG puts together.

    Args:
        artifact: what to serve.
        settings: how.
        engine: "ghost" or "paddle".
        entrance: the DAG's first op.
        board: where to count.
    """

    def __init__(
        self, artifact: Artifact, settings: OpSettings, engine: str, entrance: RequestOp, board: Board
    ) -> None:
        super().__init__(name=SERVICE, input_ops=[entrance])
        self._artifact = artifact
        self._settings = settings
        self._board = board
        self._own = threading.local()
        self._shared: Optional[GhostPredictor] = None
        if engine == "ghost":
            model = artifact.facts.model("ghost")
            files = artifact.path_of(model.graph), artifact.path_of(model.weights or "")
            self._shared = GhostPredictor(*files)

    def init_from_dict(self, conf: Mapping[str, Any]) -> None:
        """Take the DAG's configuration; our own engine needs none of its clients."""
        super().init_from_dict(conf)
        self.with_serving = True

    def init_client(self, client_config: Any, server_endpoints: Any) -> Any:
        """Return Paddle Serving's predictor, or None where our own engine runs the network."""
        return None if self._shared is not None else super().init_client(client_config, server_endpoints)

    def _auto_batching_generator(
        self, input_channel: Any, op_name: str, batch_size: int, timeout: Optional[float], op_info_prefix: str
    ) -> Iterator[list[Any]]:
        """Yield lists of requests: the first one that comes, and those that come along within the timeout.

        The inherited one starts its clock before there is a request, so it wakes up for each tick of it.
        """
        while True:
            batch = [input_channel.front(op_name)]
            deadline = time.monotonic() + self._settings.auto_batching_timeout / 1000
            while len(batch) < batch_size:
                seconds = deadline - time.monotonic()
                if seconds <= 0 and not input_channel.size():  # to wait no time takes the system a while
                    break
                try:
                    batch.append(input_channel.front(op_name, max(seconds, 1e-6)))
                except ChannelTimeoutError:
                    break
            self._own.preprocess = 0.0
            yield batch

    def preprocess(
        self, input_dicts: Mapping[str, dict[str, Any]], data_id: int = 0, log_id: int = 0
    ) -> tuple[dict[str, np.ndarray], bool, None, str]:
        """Return the rows of one request, `float32 [3, H, W]` as objects; none where a picture is broken."""
        ask: Ask = input_dicts[_ENTRANCE]["ask"]
        begin = time.perf_counter()
        ask.times_ms["queue"] = (begin - ask.entered) * 1000
        rows = []
        for place, picture in enumerate(ask.pictures, start=1):
            try:
                rows.append(self._artifact.pipeline.to_chw(picture))
            except DataError as error:
                ask.refusal = RefusalError(
                    Code.BROKEN_PICTURE, f"Picture {place} of {len(ask.pictures)}: {error}"
                )
                rows = []
                break
        ask.pictures = ()
        seconds = time.perf_counter() - begin
        ask.times_ms["preprocess"] = seconds * 1000
        self._own.preprocess += seconds
        feed = np.empty(len(rows), object)
        feed[:] = rows
        return {"rows": feed}, False, None, ""

    def process(
        self, feed_batch: list[dict[str, np.ndarray]], typical_logid: int = 0
    ) -> tuple[Any, int, str]:
        """Return the network's output for the rows of all requests: `float32 [N, classes]`."""
        rows = list(feed_batch[0]["rows"])
        begin = time.perf_counter()
        parts = [self._infer(images) for images in _batches(rows)]
        scores = np.concatenate([np.zeros((0, self._artifact.facts.class_num), np.float32), *parts])
        self._own.network = time.perf_counter() - begin
        if rows:
            self._board.count_batch(len(rows), self._own.preprocess, self._own.network)
        return {FETCH_ALIAS: scores}, 0, ""

    def _infer(self, images: np.ndarray) -> np.ndarray:
        if self._shared is None:
            feed = {self._artifact.facts.model("pdmodel").input: images}
            scores: np.ndarray = self.client.predict(feed=feed, fetch=[FETCH_ALIAS], batch=True)[FETCH_ALIAS]
            return scores
        if not hasattr(self._own, "predictor"):
            self._own.predictor = self._shared.clone(self._settings.thread_num)
        return self._own.predictor(images)

    def postprocess(
        self,
        input_data: Mapping[str, dict[str, Any]],
        fetch_data: Mapping[str, np.ndarray],
        data_id: int = 0,
        log_id: int = 0,
    ) -> tuple[dict[str, Ask], None, str]:
        """Name the best classes of one request's pictures."""
        ask: Ask = input_data[_ENTRANCE]["ask"]
        scores = fetch_data[FETCH_ALIAS]
        if ask.refusal is None:
            probabilities = softmax(scores) if self._artifact.facts.output == "logits" else scores
            ask.predictions = top_k(probabilities, ask.top_k, self._artifact.labels)
        ask.times_ms["network"] = self._own.network * 1000
        return {"ask": ask}, None, ""


def _batches(rows: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows in order as `float32 [N, 3, H, W]`: neighbours of one shape, a bounded number each."""
    for _, neighbours in groupby(rows, key=np.shape):
        alike = list(neighbours)
        for start in range(0, len(alike), _MOST_ROWS):
            part = alike[start : start + _MOST_ROWS]
            yield part[0][np.newaxis] if len(part) == 1 else np.stack(part)


class Pipeline:
    """The DAG, running.

    Args:
        artifact: what to serve.
        settings: how.
        engine: "ghost" or "paddle".
        server_folder: Paddle Serving's folder of the model.
        board: where to count.

    Side effects: starts threads, which end with the process.
    """

    def __init__(
        self, artifact: Artifact, settings: OpSettings, engine: str, server_folder: Path, board: Board
    ) -> None:
        self._artifact = artifact
        entrance = _Entrance()
        op = GhostNetOp(artifact, settings, engine, entrance, board)
        exit_op = ResponseOp(input_ops=[op])
        conf = ServerYamlConfChecker.load_server_yaml_conf(yml_dict=_conf(settings, engine, server_folder))
        op.init_from_dict(conf["op"][SERVICE])
        self._executor = _Executor(exit_op, conf, -1)
        self._executor.start()

    def begin(self, ask: Ask) -> Future[Ask]:
        """Return the request with its answer, or with a refusal: a picture is broken, or an op failed.

        The future raises nothing. What is called when it is done runs in the thread that settles all.
        """
        ask.entered = time.perf_counter()
        return self._executor.begin(ask)

    def verify(self, golden: Golden) -> None:
        """Make sure that the golden picture gets the golden scores, all the way through the DAG.

        Raises:
            VerificationError: it does not.
        """
        classes = self._artifact.facts.class_num
        answered = self.begin(Ask("golden", [golden.picture], classes)).result()
        if answered.refusal is not None:
            raise VerificationError(f"The golden picture is refused: {answered.refusal}")
        scores = np.zeros(classes, np.float32)
        for one in answered.predictions[0]:
            scores[one.class_id] = one.score
        difference = float(np.abs(scores - softmax(golden.picture_logits)).max())
        if not difference <= _ATOL:
            raise VerificationError(
                f"The golden picture's scores differ by {difference:.2g}; accepted: {_ATOL:g}. Export the "
                "model again, or take another engine (op.ghostnet.engine)."
            )


def _conf(settings: OpSettings, engine: str, server_folder: Path) -> dict[str, Any]:
    """Return the configuration in Paddle Serving's own form."""
    service: dict[str, Any] = {}
    if engine == "paddle":
        service = {
            "client_type": "local_predictor",
            "model_config": str(server_folder),
            "device_type": 0,
            "thread_num": settings.thread_num,
            "ir_optim": True,
            "mem_optim": True,
            "use_mkldnn": True,
            "mkldnn_cache_capacity": 10,
            "fetch_list": [FETCH_ALIAS],
        }
    op = {
        "concurrency": settings.concurrency,
        "batch_size": settings.batch_size,
        "local_service_conf": service,
    }
    return {"worker_num": 1, "dag": {"is_thread_op": True}, "op": {SERVICE: op}}
