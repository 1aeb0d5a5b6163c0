"""The behaviours of grpc's negative HTTP/2 server (negative-http2-interop-test-descriptions.md).

Each test is named after its case.  Where the description wants a response of 1024 bytes to a
request for 314159, the request is believed.
"""

from __future__ import annotations

import struct
import threading

import pytest

from containerd_lite.errors import ProtocolError
from containerd_lite.transport.channel import Channel
from tests.interop.messages import check_large, large_request, large_response, path
from tests.wire.peer import (
    ACK,
    DATA,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Closed,
    Frame,
    Peer,
    Request,
    Wire,
    Worker,
    answering,
    data,
    eventually,
    goaway,
    message,
    ping,
    rst,
    settings,
    window_update,
)

UNARY = path("UnaryCall")
REQUEST = large_request()
RESPONSE = message(large_response())
NO_ERROR = 0  # RFC 9113, 7


class Paced:
    """Sends DATA as far as the client's windows go (RFC 9113, 6.9)."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._looked = 0
        self._initial = 65535
        self._room = {0: 65535}

    def send(
        self, stream_id: int, body: bytes, *, step: int = 16384, padding: int | None = None
    ) -> None:
        """``body`` in frames of ``step`` bytes, each with ``padding`` bytes more."""
        for at in range(0, len(body), step):
            part = data(stream_id, body[at : at + step], padding=padding)
            size = len(part) - 9  # all of the payload counts, padding too
            while self._window(stream_id) < size:
                self._wire.read_until(WINDOW_UPDATE)
            self._room[0] -= size
            self._room[stream_id] = self._room.get(stream_id, 0) - size
            self._wire.send(part)

    def _window(self, stream_id: int) -> int:
        for found in self._wire.seen[self._looked :]:
            self._take(found)
        self._looked = len(self._wire.seen)
        return min(self._room[0], self._initial + self._room.get(stream_id, 0))

    def _take(self, found: Frame) -> None:
        if found.kind == WINDOW_UPDATE:
            self._room[found.stream_id] = self._room.get(found.stream_id, 0) + found.word
        elif found.kind == SETTINGS and not found.flags & ACK:
            self._initial = dict(struct.iter_unpack(">HL", found.payload)).get(
                INITIAL_WINDOW_SIZE, self._initial
            )


def answer(wire: Wire, request: Request) -> None:
    """What was asked for."""
    assert request.message == REQUEST
    wire.send(wire.headers(request.stream_id))
    Paced(wire).send(request.stream_id, RESPONSE)
    wire.send(wire.trailers(request.stream_id))


def opened(seen: list[Frame]) -> list[int]:
    """The streams on which requests came."""
    return [found.stream_id for found in seen if found.kind == HEADERS]


# ---- GOAWAY ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_answered_first", [False, True])
def test_goaway(is_answered_first: bool) -> None:
    """The description's server sends GOAWAY when a request has come; grpc's, when it is answered.

    The first call is let finish (RFC 9113, 6.8), the next goes elsewhere, the old connection ends.
    """
    has_ended = threading.Event()

    def script(wire: Wire) -> None:
        wire.send(settings())
        request = wire.request()
        if wire.number == 0 and not is_answered_first:
            wire.send(goaway(request.stream_id))
        wire.send(wire.headers(request.stream_id))
        Paced(wire).send(request.stream_id, RESPONSE)
        last = goaway(request.stream_id) if wire.number == 0 and is_answered_first else b""
        wire.send(wire.trailers(request.stream_id), last)
        try:
            wire.wait_closed()
        except Closed:
            has_ended.set()

    with Peer(script) as server, Channel(server.address) as channel:
        check_large(channel.unary(UNARY, REQUEST))
        check_large(channel.unary(UNARY, REQUEST))
        eventually(has_ended.is_set)
        assert [opened(seen) for seen in server.seen] == [[1], [1]]


# ---- RST_STREAM with NO_ERROR, which PROTOCOL-HTTP2.md makes INTERNAL --------------------------


def test_rst_after_header() -> None:
    """The reset comes in the middle of the request, and costs nothing but the call."""

    def script(wire: Wire) -> None:
        wire.send(settings())
        first = wire.read_until(HEADERS).stream_id
        wire.send(wire.headers(first), rst(first, NO_ERROR))
        while (found := wire.read()).kind != HEADERS:
            if found.kind == DATA and found.payload:
                assert found.stream_id == first
                wire.send(window_update(0, len(found.payload)))  # none for a stream that is over
        wire.open[found.stream_id] = Request(found.stream_id, {})
        answer(wire, wire.request())
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        with pytest.raises(ProtocolError):
            channel.unary(UNARY, REQUEST)
        check_large(channel.unary(UNARY, REQUEST))
    (seen,) = server.seen
    assert opened(seen) == [1, 3]
    of_first = [found for found in seen if found.stream_id == 1]
    assert sum(len(found.payload) for found in of_first if found.kind == DATA) <= 65535
    assert RST_STREAM not in [found.kind for found in of_first]  # RFC 9113, 5.4.2


@pytest.mark.parametrize("size", [len(RESPONSE) // 2, len(RESPONSE)])
def test_rst_during_and_after_data(size: int) -> None:
    """rst_during_data and rst_after_data: a whole message may be had, the call has failed."""
    is_whole = size == len(RESPONSE)

    def script(wire: Wire) -> None:
        wire.send(settings())
        for _ in range(2):
            request = wire.request()
            assert request.message == REQUEST
            wire.send(wire.headers(request.stream_id))
            Paced(wire).send(request.stream_id, RESPONSE[:size])
            wire.send(rst(request.stream_id, NO_ERROR))
        answering(answer)(wire)

    with Peer(script) as server, Channel(server.address) as channel:
        for _ in range(2):
            with pytest.raises(ProtocolError):
                channel.unary(UNARY, REQUEST)
        check_large(channel.unary(UNARY, REQUEST))
        with channel.stream(UNARY, REQUEST) as stream:
            if is_whole:
                check_large(stream.receive() or b"")
            with pytest.raises(ProtocolError):
                stream.receive()
    assert [opened(seen) for seen in server.seen] == [[1, 3, 5], [1]]
    assert RST_STREAM not in [found.kind for seen in server.seen for found in seen]


# ---- PING --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_patient", [True, False])
def test_ping(is_patient: bool) -> None:
    """Pings before and after the headers and the data; none is outstanding at the end.

    A patient server goes on when it has its acknowledgement.  The other one does not wait: its
    last ping comes together with the trailers.
    """
    pings = [b"before h", b"after h.", b"before d", b"after d."]

    def script(wire: Wire) -> None:
        def probe(payload: bytes) -> None:
            wire.send(ping(payload))
            if is_patient:
                assert wire.read_until(PING)[1:] == (ACK, 0, payload)

        wire.send(settings())
        request = wire.request()
        probe(pings[0])
        wire.send(wire.headers(request.stream_id))
        probe(pings[1])
        probe(pings[2])
        Paced(wire).send(request.stream_id, RESPONSE)
        if is_patient:
            probe(pings[3])
            wire.send(wire.trailers(request.stream_id))
        else:
            wire.send(ping(pings[3]), wire.trailers(request.stream_id))
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        check_large(channel.unary(UNARY, REQUEST))
        channel.close()
        eventually(lambda: acknowledged(server) == pings)


def acknowledged(server: Peer) -> list[bytes]:
    return [found.payload for found in server.seen[0] if found.kind == PING and found.flags == ACK]


# ---- MAX_CONCURRENT_STREAMS --------------------------------------------------------------------


def test_max_streams() -> None:
    """Never two streams at once (RFC 9113, 5.1.2), and all calls are answered on one connection."""

    def script(wire: Wire) -> None:
        wire.send(settings({MAX_CONCURRENT_STREAMS: 1}))
        while True:
            request = wire.request()
            wire.send(ping())
            wire.read_until(PING)  # whatever the client wanted to send by now is here
            assert not wire.open
            answer(wire, request)

    gate = threading.Barrier(10)

    def call(channel: Channel) -> None:
        gate.wait(5)
        check_large(channel.unary(UNARY, REQUEST))

    with Peer(script) as server, Channel(server.address) as channel:
        check_large(channel.unary(UNARY, REQUEST))
        for worker in [Worker(call, channel) for _ in range(10)]:
            worker.result()
        assert [opened(seen) for seen in server.seen] == [list(range(1, 23, 2))]


# ---- padding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [255, None])
def test_data_frame_padding(padding: int | None) -> None:
    """As grpc's server does it: 5 bytes of the message in a frame, and 255 of padding, or none.

    Padding counts for flow control (RFC 9113, 6.1), so the windows are used up several times.
    """

    def script(wire: Wire) -> None:
        wire.send(settings())
        request = wire.request()
        wire.send(wire.headers(request.stream_id))
        Paced(wire).send(request.stream_id, RESPONSE, step=5, padding=padding)
        wire.send(wire.trailers(request.stream_id))
        answering(answer)(wire)

    with Peer(script) as server, Channel(server.address) as channel:
        check_large(channel.unary(UNARY, REQUEST))
        check_large(channel.unary(UNARY, REQUEST))
        assert [opened(seen) for seen in server.seen] == [[1, 3]]
