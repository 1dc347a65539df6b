"""The gRPC side: the pipeline's own service, `PipelineService.inference`, with the HTTP side's limits."""

from __future__ import annotations

import time
from concurrent import futures
from typing import Any

import grpc
from paddle_serving_server.pipeline.proto import pipeline_service_pb2, pipeline_service_pb2_grpc

from server.asks import Code, RefusalError, answer_text, check_name, make_request_id, read_ask
from server.front import Service
from server.records import LOG

_HEADER_ROOM = 64 * 1024


class _Servicer(pipeline_service_pb2_grpc.PipelineServiceServicer):
    """Answers requests of Paddle Serving's clients."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def inference(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the answer to one request, or err_no and err_msg."""
        begin = time.perf_counter()
        given = dict(context.invocation_metadata()).get("x-request-id")
        request_id = make_request_id(given if isinstance(given, str) else None)
        context.set_trailing_metadata((("x-request-id", request_id),))
        facts: dict[str, Any] = {"bytes": request.ByteSize()}
        response = pipeline_service_pb2.Response()
        status = 200
        try:
            text = self._answer(request, request_id, facts)
            response.key.append("result")
            response.value.append(text)
        except RefusalError as refusal:
            status = _refuse(response, refusal)
        except Exception:  # noqa: BLE001 - the last door: a defect is a line of the log and an answer
            LOG.exception("defect", extra={"fields": {"request_id": request_id}})
            status = _refuse(response, RefusalError(Code.DEFECT, "The server failed; its log tells more."))
        if response.err_no:
            facts.update(err_no=response.err_no, err_msg=response.err_msg)
        self._service.note("grpc", status, begin, request_id, **facts)
        return response

    def _answer(self, request: Any, request_id: str, facts: dict[str, Any]) -> str:
        service = self._service
        if request.tensors:
            raise RefusalError(Code.MALFORMED, "tensors are not accepted; accepted: key and value.")
        check_name(request.name)
        service.gate.enter()
        try:
            ask = read_ask(request.key, request.value, request_id, service.rules)
            facts["pictures"] = len(ask.pictures)
            return answer_text(service.begin(ask).result(), service.model)
        finally:
            service.gate.leave()


def _refuse(response: Any, refusal: RefusalError) -> int:
    response.err_no, response.err_msg = refusal.code.err_no, refusal.sentence
    return refusal.code.status


def start_rpc(service: Service, host: str, port: int) -> grpc.Server:
    """Return the running gRPC server; all workers listen on the same port.

    Raises:
        RuntimeError: the port is taken.
    """
    limits = service.limits
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=limits.queue, thread_name_prefix="grpc"),
        maximum_concurrent_rpcs=2 * limits.queue,
        options=[
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", limits.request_bytes + _HEADER_ROOM),
            ("grpc.max_send_message_length", limits.request_bytes),
        ],
    )
    pipeline_service_pb2_grpc.add_PipelineServiceServicer_to_server(_Servicer(service), server)
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server
