"""What other gRPC clients got wrong about windows, memory and time: each named after its issue.

Where no socket is needed, `tests.wire.client` gives a server's bytes to the connection under test.
"""

from __future__ import annotations

import re
import threading
import time
import tracemalloc
from typing import ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from containerd_lite.errors import NotFound
from containerd_lite.transport.channel import Channel
from containerd_lite.wire.credit import CONNECTION_WINDOW, STREAM_WINDOW
from tests.conftest import Count
from tests.wire import peer
from tests.wire.client import CANCELLED, PATH, Client, code
from tests.wire.peer import (
    PATIENCE,
    Frame,
    Peer,
    Request,
    Wire,
    Worker,
    answering,
    data,
    echo,
    eventually,
    message,
    ping,
    rst,
    settings,
    window_update,
)

pytestmark = pytest.mark.dependencies

UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@given(st.floats(1e-6, 1e11))
@example(100.5)
@example(99_999_999.999_999)
@example(123_456.789)
def test_purerpc_timeouts_of_100_seconds_with_a_fraction(seconds: float) -> None:
    """8 digits and a unit; the peer gives up no later than we do, and not much sooner."""
    client = Client()
    client.wire.start(PATH, (), seconds)
    (head,) = client.sent()
    fields = [(str(name), str(value)) for name, value in client.decoder.decode(head.payload)]
    value = dict(fields)["grpc-timeout"]
    assert re.fullmatch("[0-9]{1,8}[HMSmun]", value)
    told = int(value[:-1]) * UNITS[value[-1]]
    # A unit is chosen so that the value has 4 digits at least, where it is not microseconds.
    assert seconds * 0.999 - 1e-6 <= told <= seconds * (1 + 1e-9)


def sent_data(client: Client) -> list[Frame]:
    return [found for found in client.sent() if found.kind == peer.DATA]


def test_grpclib_74_a_window_goes_below_zero() -> None:
    """What SETTINGS take from a window must come back before anything is sent (6.9.2)."""
    client = Client({peer.INITIAL_WINDOW_SIZE: 100})
    call = client.wire.start(PATH)
    client.wire.send(call, bytes(295))
    assert sum(len(found.payload) for found in sent_data(client)) == 100
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: 0}))
    for increment in (1, 98, 1):  # from -100 to 0
        client.give(peer.window_update(1, increment))
        assert sent_data(client) == []
    client.give(peer.window_update(1, 200))
    assert sum(len(found.payload) for found in sent_data(client)) == 200
    assert not call.is_done


@pytest.mark.parametrize("shrunk", [100, 99, 0])
def test_grpclib_74_an_empty_end_needs_no_window(shrunk: int) -> None:
    """A frame of no bytes goes whatever the window, even below zero (RFC 9113, 6.9)."""
    client = Client({peer.INITIAL_WINDOW_SIZE: 100})
    call = client.wire.start(PATH)
    client.wire.send(call, bytes(95))
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: shrunk}))
    client.sent()
    client.wire.send(call, last=True)
    assert sent_data(client) == [Frame(peer.DATA, peer.END_STREAM, 1, b"")]


def test_grpclib_31_closed_streams_take_no_memory(count: Count) -> None:
    """Answered, refused, reset, cancelled before and behind the headers, answered too late."""
    client = Client()

    def rounds(many: int) -> None:
        for number in range(many):
            call, way = client.start(None if number % 5 == 0 else b"x"), number % 6
            if way in (0, 1):
                client.wire.cancel(call, CANCELLED)
            if way in (1, 2, 3):
                client.give(client.server.answer(call.stream_id, b"unread"))
            elif way == 4:
                client.give(rst(call.stream_id, 7))
            elif way == 5:
                client.give(client.server.headers(call.stream_id))
                client.wire.cancel(call, CANCELLED)
            assert call.is_done
            client.wire.take_touched()
            client.sent()

    rounds(600)
    tracemalloc.start()
    try:
        rounds(600)
        before = tracemalloc.get_traced_memory()[0]
        rounds(many := count(1200, 60_000))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 10_000 + 4 * many  # 4 bytes hold not even a reference to a call


class Meter:
    """The windows of the connection and of stream 1, as a server knows them."""

    FULL: ClassVar[dict[int, int]] = {0: CONNECTION_WINDOW, 1: STREAM_WINDOW}

    def __init__(self, client: Client) -> None:
        self.client = client
        self.room = dict(self.FULL)
        self.received = 0

    def give(self, stream_id: int, padding: int | None) -> None:
        """Send a DATA frame; all of its payload counts (RFC 9113, 6.1)."""
        part = data(stream_id, message(bytes(16_000)), padding=padding)
        size = len(part) - 9
        self.received += size
        for where in {0, stream_id} & self.room.keys():
            self.room[where] -= size
            assert self.room[where] >= 0, "a window leaks"
        self.client.give(part)

    def take_credit(self) -> None:
        """What comes back is all that was taken, but for what is too little for a frame."""
        for found in self.client.sent():
            if found.kind == peer.WINDOW_UPDATE and found.stream_id in self.room:
                self.room[found.stream_id] += found.word
                assert self.room[found.stream_id] > self.FULL[found.stream_id] - 50_000


@pytest.mark.parametrize("end", ["live", "cancelled", "reset by us"])
def test_hyperium_h2_padded_data_returns_connection_window(end: str) -> None:
    client = Client()
    meter, call = Meter(client), client.start()
    client.give(client.server.headers(1))
    if end == "cancelled":
        client.wire.cancel(call, CANCELLED)
    elif end == "reset by us":
        client.give(client.server.headers(1))  # twice: malformed
    if end != "live":
        del meter.room[1]
    while meter.received < 3 * CONNECTION_WINDOW:
        meter.give(1, 255)
        client.inbox(call)
        meter.take_credit()
    assert call.is_done is (end != "live")
    assert client.wire.lost is None


@pytest.mark.parametrize("padding", [None, 255])
def test_hyperium_h2_data_behind_goaway_returns_connection_window(padding: int | None) -> None:
    """For the stream that GOAWAY gives up as for the one that may finish."""
    client = Client()
    meter = Meter(client)
    kept, given_up = client.start(), client.start()
    client.give(client.server.headers(1), client.server.headers(3), peer.goaway(1))
    assert (kept.is_done, given_up.is_done) == (False, True)
    while meter.received < 3 * CONNECTION_WINDOW:
        for stream_id in (1, 3):
            meter.give(stream_id, padding)
        client.inbox(kept)
        meter.take_credit()
    client.give(client.server.trailers(1))
    assert code(kept) == 0


# ---- windows, with a socket ------------------------------------------------------------------

_PIECE = 16_384


class Paced:
    """Answers with one small message and one of some size, no faster than the connection's window.

    ``sent`` has the bytes of DATA of each connection.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent: dict[int, int] = {}

    def __call__(self, wire: Wire, request: Request) -> None:
        stream_id, status = request.stream_id, int(request.message)
        parts = [data(stream_id, message(b"first"))] if status == 99 else []
        whole = message(bytes(self.size))
        parts += [data(stream_id, whole[at : at + _PIECE]) for at in range(0, len(whole), _PIECE)]
        total = sum(len(part) - 9 for part in parts)
        while 65_535 + credit_of(wire) - self.sent.get(wire.number, 0) < total:
            wire.read_until(peer.WINDOW_UPDATE)  # a TimeoutError, where the client leaks credit
        self.sent[wire.number] = self.sent.get(wire.number, 0) + total
        wire.send(wire.headers(stream_id), *parts, wire.trailers(stream_id, status % 99))


def credit_of(wire: Wire) -> int:
    updates = (found for found in wire.seen if found.kind == peer.WINDOW_UPDATE)
    return sum(found.word for found in updates if not found.stream_id)


def test_grpclib_67_unread_data_does_not_starve_the_connection(count: Count) -> None:
    """Messages that nobody takes: of calls that fail, and of streams that are left early."""
    rounds = count(500, 14_000)
    answer = Paced((64 << 20) // rounds)  # each connection's window, 16 MiB, is used up twice
    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        for number in range(rounds):
            if number % 2:
                with channel.stream(PATH, b"99", timeout=PATIENCE) as stream:
                    assert stream.receive() == b"first"
            else:
                with pytest.raises(NotFound):
                    channel.unary(PATH, b"5", timeout=PATIENCE)
        assert len(server.seen) == 2
    assert min(answer.sent.values()) > 31 << 20


def stall(wire: Wire, size: int) -> int:
    """Read until so much of a request came, and see that no more comes; returns its stream."""
    got, stream_id = 0, 0
    while got < size:
        found = wire.read()
        got += len(found.payload) if found.kind == peer.DATA else 0
        stream_id = max(stream_id, found.stream_id)
    wire.send(ping())
    while (found := wire.read()).kind != peer.PING:
        assert found.kind != peer.DATA
    assert got == size
    return stream_id


@pytest.mark.parametrize("waits_for", ["stream", "connection", "SETTINGS"])
def test_grpclib_43_whatever_opens_a_window_wakes_the_sender(waits_for: str) -> None:
    is_wide = waits_for == "connection"
    body, stalls_at = (bytes(100_000), 65_535) if is_wide else (bytes(50_000), 10)

    def script(wire: Wire) -> None:
        wire.send(settings({peer.INITIAL_WINDOW_SIZE: 1 << 20 if is_wide else 10}))
        echo(wire, wire.request())  # from here on the client knows its windows
        stream_id = stall(wire, stalls_at)
        opens = {
            "stream": window_update(stream_id, 1 << 20),
            "connection": window_update(0, 1 << 20),
            "SETTINGS": settings({peer.INITIAL_WINDOW_SIZE: 1 << 20}),
        }
        wire.send(opens[waits_for])
        while not ((found := wire.read()).kind == peer.DATA and found.flags & peer.END_STREAM):
            pass
        wire.send(wire.answer(stream_id, b"done"))
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        assert channel.unary(PATH, timeout=PATIENCE) == b""
        assert channel.unary(PATH, body, timeout=PATIENCE) == b"done"
    sizes = [len(found.payload) for found in server.seen[0] if found.kind == peer.DATA]
    assert sum(sizes) == len(message(b"")) + len(message(body))


# ---- waiting costs nothing ---------------------------------------------------------------------

_WAIT = 0.5


def cpu_while_waiting() -> float:
    """What part of a CPU this process takes while nothing can happen."""
    before = time.process_time()
    threading.Event().wait(_WAIT)
    return (time.process_time() - before) / _WAIT


def test_grpclib_39_waiting_at_max_concurrent_streams_takes_no_cpu() -> None:
    release = threading.Event()

    def script(wire: Wire) -> None:
        wire.send(settings({peer.MAX_CONCURRENT_STREAMS: 1}))
        echo(wire, wire.request())
        first = wire.request()
        release.wait(PATIENCE)
        echo(wire, first)
        while True:
            echo(wire, wire.request())

    with Peer(script) as server, Channel(server.address) as channel:
        channel.unary(PATH)
        workers = [Worker(channel.unary, PATH, b"%d" % number) for number in range(11)]
        seen = server.seen[0]
        eventually(lambda: sum(found.kind == peer.HEADERS for found in seen) == 2)
        busy = cpu_while_waiting()
        assert sum(found.kind == peer.HEADERS for found in seen) == 2  # ten wait
        release.set()
        assert [worker.result() for worker in workers] == [b"%d" % n for n in range(11)]
    assert busy < 0.25


@pytest.mark.parametrize("full", ["the window", "the socket"])
def test_hyperium_h2_a_blocked_write_takes_no_cpu(full: str) -> None:
    """A write of 0 bytes is no reason to write again at once."""
    release = threading.Event()
    window = 0 if full == "the window" else 1 << 24

    def script(wire: Wire) -> None:
        wire.send(settings({peer.INITIAL_WINDOW_SIZE: window}), window_update(0, 1 << 24))
        release.wait(PATIENCE)
        stream_id = wire.read_until(peer.HEADERS).stream_id
        wire.send(window_update(stream_id, 1 << 24))
        assert len(wire.request().message) == 8 << 20
        wire.send(wire.answer(stream_id, b"done"))
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        worker = Worker(channel.unary, PATH, bytes(8 << 20))
        eventually(lambda: len(server.seen) == 1)
        busy = cpu_while_waiting()
        assert worker.is_alive()
        release.set()
        assert worker.result() == b"done"
    assert busy < 0.25
