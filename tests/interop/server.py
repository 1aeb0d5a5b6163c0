"""grpc.testing.TestService on a Unix socket, as grpcio serves it.

    python -m tests.interop.server SOCKET

What lives here: the server's half of the interop cases.  It is a process of its own, since
grpcio has threads that stay; SIGTERM ends it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped]

from . import messages

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _echo_metadata(context: Any) -> None:
    for name, value in context.invocation_metadata():
        if name == "x-grpc-test-echo-initial":
            context.send_initial_metadata(((name, value),))
        elif name == "x-grpc-test-echo-trailing-bin":
            context.set_trailing_metadata(((name, value),))


def _echo_status(request: Any, context: Any) -> None:
    if request.HasField("response_status"):
        wanted = request.response_status
        context.abort(_CODES[wanted.code], wanted.message)


def _empty_call(request: Any, context: Any) -> Any:
    return messages.Empty()


def _unary_call(request: Any, context: Any) -> Any:
    if request.response_compressed.value:
        context.set_compression(grpc.Compression.Gzip)
    _echo_metadata(context)
    _echo_status(request, context)
    return messages.SimpleResponse(payload=messages.payload(request.response_size))


def _streaming_input_call(requests: Iterable[Any], context: Any) -> Any:
    size = sum(len(request.payload.body) for request in requests)
    return messages.StreamingInputCallResponse(aggregated_payload_size=size)


def _responses(request: Any, context: Any) -> Iterator[Any]:
    for wanted in request.response_parameters:
        if not wanted.compressed.value:
            context.disable_next_message_compression()
        yield messages.StreamingOutputCallResponse(payload=messages.payload(wanted.size))


def _streaming_output_call(request: Any, context: Any) -> Iterator[Any]:
    if any(wanted.compressed.value for wanted in request.response_parameters):
        context.set_compression(grpc.Compression.Gzip)
    yield from _responses(request, context)


def _full_duplex_call(requests: Iterable[Any], context: Any) -> Iterator[Any]:
    _echo_metadata(context)
    for request in requests:
        _echo_status(request, context)
        yield from _responses(request, context)


def _handlers() -> dict[str, Any]:
    def handler(kind: Any, behaviour: Any, request: Any) -> Any:
        return kind(
            behaviour,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    unary, output = messages.SimpleRequest, messages.StreamingOutputCallRequest
    return {
        "EmptyCall": handler(grpc.unary_unary_rpc_method_handler, _empty_call, messages.Empty),
        "UnaryCall": handler(grpc.unary_unary_rpc_method_handler, _unary_call, unary),
        "StreamingInputCall": handler(
            grpc.stream_unary_rpc_method_handler,
            _streaming_input_call,
            messages.StreamingInputCallRequest,
        ),
        "StreamingOutputCall": handler(
            grpc.unary_stream_rpc_method_handler, _streaming_output_call, output
        ),
        "FullDuplexCall": handler(grpc.stream_stream_rpc_method_handler, _full_duplex_call, output),
    }


def main(socket: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before grpcio makes threads
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        handlers = grpc.method_handlers_generic_handler(messages.SERVICE, _handlers())
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        signal.sigwait({signal.SIGTERM})
        server.stop(0).wait()


if __name__ == "__main__":
    main(sys.argv[1])
