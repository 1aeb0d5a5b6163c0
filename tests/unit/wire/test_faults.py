"""What breaks a connection, what does not, and streams that are gone."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from containerd_lite.wire import frames, metadata
from containerd_lite.wire.connection import MAX_EMPTY_FRAMES, Connection
from containerd_lite.wire.sender import MAX_UNSENT_REPLIES
from tests.wire import peer
from tests.wire.client import CANCELLED, PATH, Client, code, resets
from tests.wire.peer import RESPONSE, Frame, frame, message

Script = Callable[[Client], bytes]


FLOOD = MAX_UNSENT_REPLIES + 1
BREAKS: dict[str, tuple[Script, int]] = {
    "idle stream": (lambda c: peer.rst(5, 0), frames.PROTOCOL_ERROR),
    "idle stream, DATA": (lambda c: peer.data(5, b""), frames.PROTOCOL_ERROR),
    "idle stream, HEADERS": (lambda c: c.server.headers(5), frames.PROTOCOL_ERROR),
    "idle stream, window": (lambda c: peer.window_update(5, 1), frames.PROTOCOL_ERROR),
    "a server's stream": (lambda c: c.server.headers(2), frames.PROTOCOL_ERROR),
    "push": (lambda c: frame(5, 4, 1, b"\0\0\0\2"), frames.PROTOCOL_ERROR),
    "DATA behind the peer's end": (
        lambda c: c.server.answer(1) + peer.data(1, b"x"),
        frames.STREAM_CLOSED,
    ),
    "HEADERS behind the peer's reset": (
        lambda c: peer.rst(1, 8) + c.server.headers(1),
        frames.STREAM_CLOSED,
    ),
    "broken block": (lambda c: frame(1, 4, 1, b"\xff"), frames.COMPRESSION_ERROR),
    "broken block of a closed stream": (
        lambda c: c.server.answer(1) + frame(1, 4, 1, b"\xff"),
        frames.COMPRESSION_ERROR,
    ),
    "window of the connection by 0": (
        lambda c: peer.window_update(0, 0),
        frames.PROTOCOL_ERROR,
    ),
    "window of the connection over the top": (
        lambda c: peer.window_update(0, (1 << 31) - 1),
        frames.FLOW_CONTROL_ERROR,
    ),
    "window of a stream over the top, by SETTINGS": (
        lambda c: peer.window_update(1, (1 << 31) - 65536) + peer.settings({4: 65545}),
        frames.FLOW_CONTROL_ERROR,
    ),
    "bad setting": (lambda c: peer.settings({4: 1 << 31}), frames.FLOW_CONTROL_ERROR),
    "bad frame size": (lambda c: peer.settings({5: 1}), frames.PROTOCOL_ERROR),
    "SETTINGS of 5": (lambda c: frame(4, 0, 0, b"12345"), -1),
    "SETTINGS ACK with a body": (lambda c: frame(4, 1, 0, b"123456"), -1),
    "PING flood, CVE-2019-9512": (lambda c: peer.ping() * FLOOD, frames.ENHANCE_YOUR_CALM),
    "SETTINGS flood, CVE-2019-9515": (
        lambda c: peer.settings() * FLOOD,
        frames.ENHANCE_YOUR_CALM,
    ),
    "empty DATA flood, CVE-2019-9518": (
        lambda c: c.server.headers(1) + peer.data(1, b"") * (MAX_EMPTY_FRAMES + 1),
        frames.ENHANCE_YOUR_CALM,
    ),
    "CONTINUATION flood, CVE-2024-27316": (
        lambda c: frame(1, 0, 1) + frame(9, 0, 1, b"x") * 1000,
        frames.ENHANCE_YOUR_CALM,
    ),
    "not HTTP/2": (lambda c: b"\xff" * 9, frames.FRAME_SIZE_ERROR),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_breaks_the_connection(client: Client, name: str) -> None:
    script, expected = BREAKS[name]
    done, open_one = client.start(), client.start()
    client.give(script(client))
    assert client.wire.lost is not None
    assert client.wire.lost.code == metadata.INTERNAL
    assert client.wire.is_draining
    assert client.wire.is_idle
    last = client.sent()[-1]
    assert last.kind == peer.GOAWAY
    if expected >= 0:
        assert int.from_bytes(last.payload[4:8], "big") == expected
    assert done.is_done
    assert open_one.status == client.wire.lost
    client.give(peer.ping(), client.server.answer(3))  # deaf from here on
    assert client.sent() == []
    late = client.wire.start(PATH)
    assert late.status == client.wire.lost


def test_good_frames_before_a_bad_one_count() -> None:
    client = Client()
    call, other = client.start(), client.start()
    client.give(client.server.answer(1, b"x"), peer.data(0, b""), client.server.answer(3))
    assert (code(call), client.inbox(call)) == (metadata.OK, [b"x"])
    assert code(other) == metadata.INTERNAL


def test_http1() -> None:
    wire = Connection()
    call = wire.start(PATH)
    data = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert wire.receive(memoryview(data[:8])) == 0
    assert wire.receive(memoryview(data)) == len(data)
    assert call.status is not None
    assert "HTTP/1" in call.status.message
    assert not wire.is_ready


def test_unknown_frames_pings_and_priorities_do_no_harm(client: Client) -> None:
    call = client.start()
    head, tail = client.server.headers(1), client.server.trailers(1)
    noise = (
        frame(0x42, 255, 1, b"?") + frame(0x43) + frame(2, 0, 77, b"prio.") + peer.ping(b"x" * 8)
    )
    noise += peer.ping(b"y" * 8, peer.ACK)
    client.give(noise, head, noise, peer.data(1, message(b"x")), noise, tail, noise)
    assert (code(call), client.inbox(call)) == (metadata.OK, [b"x"])
    assert client.sent() == [Frame(peer.PING, peer.ACK, 0, b"x" * 8)] * 4


def test_pings_are_answered_whatever_the_state() -> None:
    client = Client()
    client.give(peer.goaway(0), peer.ping())
    assert client.sent() == [Frame(peer.PING, peer.ACK, 0, b"12345678")]


def test_answered_pings_are_no_flood() -> None:
    client = Client()
    client.start(bytes(100000))  # a blocked upload
    for _ in range(3 * MAX_UNSENT_REPLIES):
        client.give(peer.ping())
        assert len(client.sent()) == 1
    assert client.wire.lost is None


def test_cancel(client: Client) -> None:
    call = client.start()
    client.wire.cancel(call, CANCELLED)
    client.wire.cancel(call, CANCELLED)
    assert resets(client.sent()) == [(1, frames.CANCEL)]
    assert call.status == CANCELLED
    other = client.start()
    # Answers that were under way; what they put into HPACK's table is used by the next answer.
    fields = [*RESPONSE, ("x-long-name", "x" * 40)]
    client.give(client.server.headers(1, fields), peer.data(1, message(b"late")))
    client.give(client.server.trailers(1), peer.window_update(1, 5), peer.rst(1, 0))
    client.give(client.server.headers(3, fields), client.server.trailers(3))
    assert other.initial_metadata == (("x-long-name", "x" * 40),)
    assert code(other) == metadata.OK
    assert client.inbox(call) == []
    assert client.sent() == []


def test_closed_streams_take_no_memory() -> None:  # grpclib #31
    client = Client()

    def rounds(count: int) -> None:
        for number in range(count):
            call = client.start()
            if number % 2:
                client.wire.cancel(call, CANCELLED)
            client.give(client.server.answer(call.stream_id, b"x"))
            client.wire.take_touched()
            client.wire.outgoing.clear()

    rounds(100)
    tracemalloc.start()
    try:
        rounds(100)
        before = tracemalloc.get_traced_memory()[0]
        rounds(1000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 30_000  # 30 bytes a call: less than anything that is kept for one
    assert client.wire.is_idle
