"""A server that sees whether each message came compressed, on h2's server side.

What lives here: the script of a ``Peer`` that answers UnaryCall and StreamingInputCall as the
description says of a server with the feature CompressedRequest.  h2 has an eye on the frames.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset

from tests.interop import messages
from tests.wire.peer import PREFACE, RESPONSE, Wire, frame, message

INVALID_ARGUMENT = 3
_UNARY = messages.path("UnaryCall")


@dataclass
class _Call:
    path: str
    encoding: str
    body: bytearray = field(default_factory=bytearray)
    aggregated: int = 0
    response: Any = None
    unsent: bytes | None = None


def serve(wire: Wire) -> None:
    """Serve one connection until the client closes it."""
    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    connection.receive_data(PREFACE)  # the wire has read it
    calls: dict[int, _Call] = {}
    while True:
        wire.send(connection.data_to_send())
        for event in connection.receive_data(frame(*wire.read())):
            _handle(connection, calls, event)
        for stream_id in list(calls):
            _send(connection, calls, stream_id)


def _handle(connection: H2Connection, calls: dict[int, _Call], event: Event) -> None:
    if isinstance(event, RequestReceived):
        headers: dict[Any, Any] = dict(event.headers or ())
        encoding = headers.get("grpc-encoding", "identity")
        calls[event.stream_id or 0] = _Call(headers[":path"], encoding)
    elif isinstance(event, DataReceived):
        stream_id, size = event.stream_id or 0, event.flow_controlled_length or 0
        connection.acknowledge_received_data(size, stream_id)
        if stream_id in calls:
            calls[stream_id].body += event.data or b""
            _take(connection, calls, stream_id)
    elif isinstance(event, StreamEnded) and event.stream_id in calls:
        call = calls[event.stream_id]
        connection.send_headers(event.stream_id, list(RESPONSE))
        call.unsent = message(call.response.SerializeToString())
    elif isinstance(event, StreamReset):
        calls.pop(event.stream_id or 0, None)


def _take(connection: H2Connection, calls: dict[int, _Call], stream_id: int) -> None:
    """Look at what is whole of a call's messages, and end the call where one is not as it says."""
    call = calls[stream_id]
    for flag, body in _messages(call.body):
        if flag:
            assert call.encoding == "gzip", "a compressed message, and grpc-encoding is not gzip"
            body = gzip.decompress(body)
        kind = messages.SimpleRequest if call.path == _UNARY else messages.StreamingInputCallRequest
        request = kind.FromString(body)
        if request.expect_compressed.value != bool(flag):
            trailers = [("grpc-status", str(INVALID_ARGUMENT)), ("grpc-message", "compressed?")]
            connection.send_headers(stream_id, [*RESPONSE, *trailers], end_stream=True)
            del calls[stream_id]
            return
        call.aggregated += len(request.payload.body)
        if call.path == _UNARY:
            payload = messages.payload(request.response_size)
            call.response = messages.SimpleResponse(payload=payload)
        else:
            call.response = messages.StreamingInputCallResponse(
                aggregated_payload_size=call.aggregated
            )


def _messages(body: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take the whole messages out of what has come."""
    while len(body) >= 5:
        end = 5 + int.from_bytes(body[1:5], "big")
        if len(body) < end:
            return
        yield body[0], bytes(body[5:end])
        del body[:end]


def _send(connection: H2Connection, calls: dict[int, _Call], stream_id: int) -> None:
    """Send of a response what the client's windows have room for, and then the trailers."""
    call = calls[stream_id]
    while call.unsent:
        room = connection.local_flow_control_window(stream_id)
        size = min(len(call.unsent), room, connection.max_outbound_frame_size)
        if size <= 0:
            return
        connection.send_data(stream_id, call.unsent[:size])
        call.unsent = call.unsent[size:]
    if call.unsent is not None:
        connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
        del calls[stream_id]
