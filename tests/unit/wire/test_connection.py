"""All calls of one connection: a server's bytes in, what the client does and sends.

Each script runs whole, byte by byte, and with the beginning of another frame behind it.
"""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import pytest
from hpack import Decoder
from hypothesis import given, settings
from hypothesis import strategies as st

from containerd_lite.errors import InvalidArgument
from containerd_lite.wire import connection as module
from containerd_lite.wire import frames, metadata
from containerd_lite.wire.call import Call
from containerd_lite.wire.connection import MAX_EMPTY_FRAMES, Connection
from containerd_lite.wire.credit import CONNECTION_WINDOW, STREAM_WINDOW
from containerd_lite.wire.metadata import Status
from containerd_lite.wire.sender import MAX_UNSENT_REPLIES
from tests.wire import peer
from tests.wire.peer import RESPONSE, Frame, Frames, frame, message

PATH = "/a.B/C"
CANCELLED = Status(metadata.CANCELLED, "enough", origin="local")


class Client:
    """A connection with a server's side to it; what goes out is parsed as it is taken."""

    def __init__(self, values: dict[int, int] | None = None, *, step: int = 0) -> None:
        self.wire = Connection()
        self.server = Frames()
        self.decoder = Decoder()
        self.step = step
        self.waiting = b""
        self.preface = b"".join(self.wire.outgoing)
        self.wire.outgoing.clear()
        self.give(peer.settings(values))
        assert self.sent() == [Frame(peer.SETTINGS, peer.ACK, 0, b"")]

    def give(self, *parts: bytes) -> None:
        data = b"".join(parts)
        step = self.step or len(data) or 1
        for at in range(0, len(data), step):
            self.waiting += data[at : at + step]
            used = self.wire.receive(memoryview(bytearray(self.waiting)))
            self.waiting = self.waiting[used:]

    def sent(self) -> list[Frame]:
        found, rest = peer.split(b"".join(self.wire.outgoing))
        self.wire.outgoing.clear()
        assert rest == b""
        return found

    def start(self, body: bytes | None = b"", **options: float) -> Call:
        """A unary call, or an open one with `None`; its request is taken off what is sent."""
        call = self.wire.start(PATH, (), **options)
        if body is not None:
            self.wire.send(call, body, last=True)
        for found in self.sent():
            if found.kind == peer.HEADERS:
                self.decoder.decode(found.payload)
        return call

    def inbox(self, call: Call) -> list[bytes]:
        found = []
        while (body := self.wire.take(call)) is not None:
            found.append(bytes(body))
        return found


@pytest.fixture(params=[0, 1, 7], ids=["whole", "byte by byte", "by sevens"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(step=request.param)


def resets(found: list[Frame]) -> list[tuple[int, int]]:
    return [(f.stream_id, f.word) for f in found if f.kind == peer.RST_STREAM]


def code(call: Call) -> int:
    assert call.status is not None
    return call.status.code


# ---- requests ----------------------------------------------------------------------------------


def test_what_a_connection_begins_with() -> None:
    client = Client()
    assert client.preface.startswith(peer.PREFACE)
    (first, second), rest = peer.split(client.preface[len(peer.PREFACE) :])
    assert rest == b""
    values = dict(
        struct.unpack_from(">HL", first.payload, at) for at in range(0, len(first.payload), 6)
    )
    assert first.kind == peer.SETTINGS
    assert values[2] == 0  # no push
    assert values[peer.INITIAL_WINDOW_SIZE] == STREAM_WINDOW
    assert (second.kind, second.stream_id) == (peer.WINDOW_UPDATE, 0)
    assert second.word == CONNECTION_WINDOW - 65535


def test_a_request() -> None:
    client = Client()
    call = client.wire.start(PATH, (("containerd-namespace", "a"),), 2)
    client.wire.send(call, b"he", bytearray(b"l"), memoryview(b"lo"), last=True)
    head, *rest = client.sent()
    fields = [str(value) for _, value in client.decoder.decode(head.payload)]
    assert "2000000u" in fields
    assert (head.kind, head.flags, head.stream_id) == (peer.HEADERS, peer.END_HEADERS, 1)
    assert rest == [Frame(0, 0, 1, message(b"hello")), Frame(0, 1, 1, b"")]
    client.wire.send(call, b"too late")
    assert client.sent() == []


def test_ids_are_odd_and_grow() -> None:
    client = Client()
    assert [client.start().stream_id for _ in range(3)] == [1, 3, 5]


def test_an_empty_message_is_a_message() -> None:
    client = Client()
    call = client.wire.start(PATH)
    client.sent()
    client.wire.send(call, b"")
    assert client.sent() == [Frame(0, 0, 1, message(b""))]
    client.wire.send(call, last=True)
    assert client.sent() == [Frame(0, 1, 1, b"")]


def test_bad_metadata_begins_nothing() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    for _ in range(2):  # at once, and where it would be queued
        with pytest.raises(InvalidArgument):
            client.wire.start(PATH, (("a", "\n"),))
        assert client.sent() == []
        call = client.start()
    client.give(client.server.answer(1))
    assert call.stream_id == 3


def test_a_large_header_block() -> None:
    client = Client()
    client.wire.start(PATH, (("a", "x" * 40000),))
    found = client.sent()
    assert [(f.kind, f.flags) for f in found] == [(1, 0), (9, 0), (9, 4)]
    fields = client.decoder.decode(b"".join(f.payload for f in found))
    assert ("a", "x" * 40000) in [(str(name), str(value)) for name, value in fields]


# ---- responses ---------------------------------------------------------------------------------


def test_unary(client: Client) -> None:
    call = client.start(b"ping")
    client.give(client.server.answer(1, b"pong"))
    assert client.inbox(call) == [b"pong"]
    assert call.status == Status(metadata.OK)
    assert client.sent() == []
    assert client.wire.is_idle
    assert client.wire.take_touched() == [call]
    assert client.wire.take_touched() == []


def test_bytes_behind_are_left() -> None:
    client = Client()
    call = client.start()
    data = client.server.answer(1, b"pong")
    for behind in range(9):
        assert client.wire.receive(memoryview(data + b"\0\0\x01\0\0\0\0\0\3"[:behind])) == len(data)
        assert client.inbox(call) == [b"pong"]
        call = client.start()
        data = client.server.answer(call.stream_id, b"pong")


def test_messages_across_frames_and_frames_across_messages(client: Client) -> None:
    call = client.start()
    body = message(b"a" * 10) + message(b"") + message(b"b" * 20)
    pieces = [body[:3], body[3:17], b"", body[17:]]
    client.give(client.server.headers(1), *(peer.data(1, piece, padding=9) for piece in pieces))
    assert client.inbox(call) == [b"a" * 10, b"", b"b" * 20]
    assert not call.is_done
    client.give(client.server.trailers(1))
    assert code(call) == metadata.OK


def test_continuation(client: Client) -> None:
    call = client.start()
    client.give(client.server.headers(1, [*RESPONSE, ("x", "y" * 50)], pieces=5))
    assert call.initial_metadata == (("x", "y" * 50),)
    fields = [("grpc-status", "5"), ("grpc-message", "no"), ("z-bin", "AQ,Ag")]
    client.give(client.server.headers(1, fields, end=True, pieces=3))
    assert call.status == Status(metadata.NOT_FOUND, "no")
    assert call.trailing_metadata == (("z-bin", b"\1"), ("z-bin", b"\2"))


def test_trailers_only(client: Client) -> None:
    call = client.start()
    client.give(client.server.headers(1, [*RESPONSE, ("grpc-status", "12")], end=True))
    assert call.status == Status(metadata.UNIMPLEMENTED)
    assert client.inbox(call) == []


@pytest.mark.parametrize("status", ["100", "103", "199"])
def test_informational_headers_are_skipped(client: Client, status: str) -> None:
    call = client.start()
    early = client.server.headers(1, [(":status", status), ("x", "early")])
    client.give(early, early, client.server.answer(1, b"x"))
    assert client.inbox(call) == [b"x"]
    assert call.initial_metadata == ()


def test_an_end_without_trailers(client: Client) -> None:
    call = client.start()
    client.give(client.server.headers(1), peer.data(1, message(b"x"), end=True))
    assert (code(call), client.inbox(call)) == (metadata.UNKNOWN, [b"x"])


def test_trailers_without_a_status(client: Client) -> None:
    call = client.start()
    client.give(client.server.headers(1), client.server.headers(1, [("x", "y")], end=True))
    assert code(call) == metadata.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([(":status", "404"), ("content-type", "text/html")], metadata.UNIMPLEMENTED),
        ([(":status", "503")], metadata.UNAVAILABLE),
        ([(":status", "200"), ("content-type", "text/html")], metadata.UNKNOWN),
        ([("x", "no status")], metadata.UNKNOWN),
    ],
)
def test_an_answer_that_is_not_grpc(
    client: Client, fields: list[tuple[str | bytes, str | bytes]], expected: int
) -> None:
    call = client.start()
    body = peer.data(1, b"<html>404 page not found</html>", end=True)
    client.give(client.server.headers(1, fields), body)
    assert code(call) == expected
    assert resets(client.sent()) == [(1, frames.CANCEL)]
    other = client.start()
    client.give(client.server.headers(3, fields, end=True))
    assert code(other) == expected


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc; x", None])
def test_answers_that_are(kind: str | None) -> None:
    client = Client()
    call = client.start()
    fields = [(":status", "200")] + ([("content-type", kind)] if kind else [])
    client.give(client.server.headers(1, fields), client.server.trailers(1))
    assert code(call) == metadata.OK


def test_trailers_before_our_end(client: Client) -> None:
    call = client.start(None)
    client.give(client.server.answer(1, b"x", status=9))
    assert code(call) == metadata.FAILED_PRECONDITION
    assert resets(client.sent()) == [(1, frames.NO_ERROR)]
    client.wire.send(call, b"nobody listens", last=True)
    assert client.sent() == []


def test_a_message_cut_short(client: Client) -> None:
    for partial in (b"\0", message(b"xyz")[:-1]):
        call = client.start()
        stream_id = call.stream_id
        client.give(client.server.headers(stream_id), peer.data(stream_id, partial))
        client.give(client.server.trailers(stream_id))
        assert (code(call), client.inbox(call)) == (metadata.INTERNAL, [])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (message(b"x", compressed=1), metadata.INTERNAL),
        (b"\0\xff\xff\xff\xff", metadata.RESOURCE_EXHAUSTED),
    ],
)
def test_messages_that_cannot_be_taken(client: Client, body: bytes, expected: int) -> None:
    for end in (False, True):
        call = client.start()
        stream_id = call.stream_id
        client.give(client.server.headers(stream_id), peer.data(stream_id, body, end=end))
        assert code(call) == expected
        assert resets(client.sent()) == [(stream_id, frames.CANCEL)]
    assert client.wire.lost is None


def test_the_message_limit_is_the_connections() -> None:
    client = Client()
    client.wire = Connection(max_message=3)
    call = client.wire.start(PATH)
    client.give(peer.settings(), client.server.headers(1), peer.data(1, message(b"four")))
    assert code(call) == metadata.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("reset", range(15))
def test_reset(client: Client, reset: int) -> None:
    call, other = client.start(), client.start()
    client.give(peer.rst(1, reset), client.server.answer(3))
    assert call.status == metadata.status_of_reset(reset)
    assert code(other) == metadata.OK
    client.give(peer.rst(1, reset))
    assert client.sent() == []


def test_a_call_that_was_answered_was_not_refused() -> None:
    client = Client()
    call, other = client.start(), client.start()
    client.give(client.server.headers(1), *(peer.rst(n, frames.REFUSED_STREAM) for n in (1, 3)))
    assert call.status is not None
    assert not call.status.is_unprocessed
    assert other.status is not None
    assert other.status.is_unprocessed


Script = Callable[[Client], bytes]
HEADERS_ONCE: Script = lambda c: c.server.headers(1)  # noqa: E731


@pytest.mark.parametrize(
    "script",
    [
        lambda c: peer.data(1, message(b"x")),
        lambda c: peer.data(1, b"", end=True),
        lambda c: c.server.headers(1) + c.server.headers(1),
        lambda c: c.server.headers(1) + c.server.headers(1, [(":status", "103")]),
    ],
    ids=["DATA first", "DATA first, and the end", "HEADERS twice", "1xx behind HEADERS"],
)
def test_what_breaks_a_call(client: Client, script: Script) -> None:
    call, other = client.start(), client.start()
    client.give(script(client), client.server.answer(3, b"x"))
    assert (code(call), code(other)) == (metadata.INTERNAL, metadata.OK)
    assert resets(client.sent()) == [(1, frames.PROTOCOL_ERROR)]


FLOOD = MAX_UNSENT_REPLIES + 1
BREAKS: dict[str, tuple[Script, int]] = {
    "idle stream": (lambda c: peer.rst(5, 0), frames.PROTOCOL_ERROR),
    "idle stream, DATA": (lambda c: peer.data(5, b""), frames.PROTOCOL_ERROR),
    "idle stream, HEADERS": (lambda c: c.server.headers(5), frames.PROTOCOL_ERROR),
    "idle stream, window": (lambda c: peer.window_update(5, 1), frames.PROTOCOL_ERROR),
    "a server's stream": (lambda c: c.server.headers(2), frames.PROTOCOL_ERROR),
    "push": (lambda c: frame(5, 4, 1, b"\0\0\0\2"), frames.PROTOCOL_ERROR),
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


# ---- streams that are gone ---------------------------------------------------------------------


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


# ---- the peer's windows ------------------------------------------------------------------------


def upload(client: Client) -> int:
    return sum(len(f.payload) for f in client.sent() if f.kind == peer.DATA)


def test_a_window_of_zero() -> None:
    client = Client({peer.INITIAL_WINDOW_SIZE: 0})
    call = client.wire.start(PATH)
    client.wire.send(call, b"x" * 95, last=True)
    assert upload(client) == 0
    client.give(peer.window_update(1, 40))
    assert upload(client) == 40
    assert client.wire.take_touched() == [call]
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: 60}))
    found = client.sent()
    assert sum(len(f.payload) for f in found if f.kind == peer.DATA) == 60
    assert found[-1] == Frame(0, 1, 1, b"")
    assert call.unsent == 0


def test_a_window_below_zero() -> None:  # grpclib #43, #74
    client = Client({peer.INITIAL_WINDOW_SIZE: 100})
    call = client.wire.start(PATH)
    client.wire.send(call, bytes(195))
    assert upload(client) == 100
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: 10}))
    assert call.send_window == -90
    client.give(peer.window_update(1, 90))
    assert upload(client) == 0
    client.give(peer.window_update(1, 1))
    assert upload(client) == 1
    client.give(peer.settings({peer.INITIAL_WINDOW_SIZE: 50}))
    assert upload(client) == 40
    other = client.wire.start(PATH)
    assert other.send_window == 50


def test_the_connection_window_wakes_streams() -> None:  # grpclib #43
    client = Client({peer.INITIAL_WINDOW_SIZE: 1 << 20})
    one, two = client.wire.start(PATH), client.wire.start(PATH)
    client.wire.send(one, bytes(65530))
    client.wire.send(two, bytes(95))
    assert upload(client) == 65535
    client.wire.take_touched()
    client.give(peer.window_update(0, 1000))
    assert client.wire.take_touched() == [two]
    assert upload(client) == 100


def test_frames_are_as_large_as_the_peer_takes_them() -> None:
    client = Client({peer.MAX_FRAME_SIZE: 20000, peer.INITIAL_WINDOW_SIZE: 1 << 20})
    call = client.wire.start(PATH)
    client.wire.send(call, bytes(30000))
    assert [len(f.payload) for f in client.sent()][1:] == [20000, 10005]


@pytest.mark.parametrize(
    ("increment", "error"),
    [(0, frames.PROTOCOL_ERROR), ((1 << 31) - 1, frames.FLOW_CONTROL_ERROR)],
)
def test_a_bad_window_update_ends_its_stream(increment: int, error: int) -> None:
    client = Client()
    call = client.start()
    client.give(peer.window_update(1, increment))
    assert code(call) == metadata.INTERNAL
    assert resets(client.sent()) == [(1, error)]
    assert client.wire.lost is None


# ---- our windows -------------------------------------------------------------------------------


class Downloader:
    """A server that sends as much as it may, and counts what it may."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.call = client.start()
        client.give(client.server.headers(1))
        self.stream, self.connection = STREAM_WINDOW, CONNECTION_WINDOW

    def account(self) -> None:
        for found in self.client.sent():
            assert found.kind == peer.WINDOW_UPDATE
            if found.stream_id:
                self.stream += found.word
            else:
                self.connection += found.word

    def push(self, body: bytes, padding: int | None = None) -> int:
        """Send bytes as far as the windows go; returns how many."""
        at = 0
        over = 0 if padding is None else padding + 1
        while at < len(body):
            self.account()
            size = min(len(body) - at, 16384 - over, self.stream - over, self.connection - over)
            if size <= 0:
                break
            self.client.give(peer.data(1, body[at : at + size], padding=padding))
            self.stream -= size + over
            self.connection -= size + over
            at += size
        self.account()
        return at


@pytest.mark.parametrize("padding", [None, 0, 255])
@pytest.mark.parametrize("size", [1, 1 << 20, STREAM_WINDOW // 2 - 5, STREAM_WINDOW // 2, 16 << 20])
def test_a_stream_that_is_read_never_stalls(size: int, padding: int | None) -> None:
    """Messages of the same size, in one row of bytes: two of them share a frame."""
    client = Client()
    server = Downloader(client)
    count = 3 if size > 1 << 20 else 30
    row, got = message(bytes(size)) * count, 0
    while row:
        sent = server.push(row, padding)
        bodies = client.inbox(server.call)
        got += len(bodies)
        assert sent or bodies, "neither side can go on"
        row = row[sent:]
    assert got + len(client.inbox(server.call)) == count
    # Nothing of the credit was lost, nor was any given twice.
    server.account()
    assert server.stream + server.call.debt == STREAM_WINDOW
    assert server.call.receive_window == server.stream


@pytest.mark.parametrize("size", [100, 1 << 20, 3 << 20, 16 << 20])
def test_an_unread_stream_is_bounded_and_starves_nobody(size: int) -> None:
    client = Client()
    server = Downloader(client)
    body = message(bytes(size))
    taken = 0
    for _ in range(-(-(60 << 20) // size)):
        sent = server.push(body)
        taken += sent
        if sent < len(body):
            break
    assert taken <= STREAM_WINDOW + size + 5
    assert server.connection > CONNECTION_WINDOW // 2
    other = client.start()
    client.give(client.server.answer(other.stream_id, b"quick"))
    assert client.inbox(other) == [b"quick"]


def test_a_large_message_behind_unread_ones_gets_no_credit_early() -> None:
    client = Client()
    server = Downloader(client)
    small, large = message(bytes(1 << 20)), message(bytes(8 << 20))
    taken = server.push(small) + server.push(large)
    assert taken == STREAM_WINDOW
    assert len(client.inbox(server.call)) == 1
    assert server.push((small + large)[taken:]) == len(small + large) - taken
    assert len(client.inbox(server.call)) == 1


def test_credit_on_read_comes_in_large_steps() -> None:
    client = Client()
    server = Downloader(client)
    for _ in range(STREAM_WINDOW // 4 // 1005):
        client.give(peer.data(1, message(bytes(1000))))
    assert client.sent() == []
    for _ in range(1000):
        client.wire.take(server.call)
    assert client.sent() == []
    client.inbox(server.call)
    assert client.wire.take(server.call) is None
    client.give(peer.data(1, message(bytes(1000))))
    client.give(peer.data(1, message(bytes(1000))))
    client.inbox(server.call)
    (credit,) = client.sent()
    assert (credit.stream_id, credit.word >= STREAM_WINDOW // 4) == (1, True)


def test_a_call_that_is_over_needs_no_credit() -> None:
    client = Client()
    server = Downloader(client)
    server.push(message(bytes(STREAM_WINDOW // 4)))
    client.give(client.server.trailers(1))
    client.sent()
    assert len(client.inbox(server.call)) == 1
    assert client.sent() == []


def test_more_than_the_window() -> None:
    client = Client()
    call, other = client.start(), client.start()
    client.give(client.server.headers(1))
    part = peer.data(1, message(bytes(16384 - 5)))
    for _ in range(STREAM_WINDOW // 16384):
        client.give(part)
    assert not call.is_done
    client.give(peer.data(1, b"x"))
    assert code(call) == metadata.INTERNAL
    assert resets(client.sent()) == [(1, frames.FLOW_CONTROL_ERROR)]
    client.give(client.server.answer(3))
    assert code(other) == metadata.OK


def test_more_than_the_connections_window(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    client.start()
    client.give(client.server.headers(1))
    monkeypatch.setattr(client.wire._credit, "_window", 10)
    client.give(peer.data(1, bytes(11)))
    assert client.wire.lost is not None
    assert int.from_bytes(client.sent()[-1].payload[4:8], "big") == frames.FLOW_CONTROL_ERROR


def test_data_of_closed_streams_gives_its_credit_back() -> None:  # hyperium/h2 0.4.14
    client = Client()
    client.wire.cancel(client.start(), CANCELLED)
    client.sent()
    credit = CONNECTION_WINDOW
    for _ in range(3 * CONNECTION_WINDOW // 16384):
        credit -= 16384
        assert credit >= 0
        client.give(peer.data(1, bytes(16384 - 256), padding=255))
        credit += sum(f.word for f in client.sent() if f.kind == peer.WINDOW_UPDATE)
    assert client.wire.lost is None


# ---- GOAWAY, and how many calls there may be ---------------------------------------------------


def test_goaway_lets_accepted_calls_finish(client: Client) -> None:
    one, two, three = (client.start() for _ in range(3))
    client.give(peer.goaway(3, 0, b"maintenance"))
    assert client.wire.is_draining
    assert (one.is_done, two.is_done) == (False, False)
    assert three.status is not None
    assert three.status.is_unprocessed
    assert "maintenance" in three.status.message
    client.give(client.server.answer(1, b"x"), peer.goaway(1), client.server.answer(3))
    assert (code(one), client.inbox(one)) == (metadata.OK, [b"x"])
    assert code(two) == metadata.UNAVAILABLE
    assert client.wire.is_idle
    assert client.wire.lost is None
    late = client.wire.start(PATH)
    assert code(late) == metadata.UNAVAILABLE
    assert client.sent() == []


def test_goaway_ends_what_is_queued() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    one, *queued = (client.start() for _ in range(4))
    client.wire.take_touched()
    client.give(peer.goaway((1 << 31) - 1))
    assert not one.is_done
    for call in queued:
        assert call.status is not None
        assert call.status.is_unprocessed
    assert set(client.wire.take_touched()) == set(queued)


def test_a_queue_for_streams() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 2})
    one, two, three, four, five = (client.start(b"%d" % n) for n in range(5))
    assert [call.stream_id for call in (one, two, three, four, five)] == [1, 3, 0, 0, 0]
    assert not client.wire.is_idle
    client.wire.cancel(four, CANCELLED)
    assert client.sent() == []
    client.give(client.server.answer(3))
    assert three.stream_id == 5
    assert [f.payload for f in client.sent() if f.kind == peer.DATA] == [message(b"2"), b""]
    assert five.stream_id == 0
    client.give(peer.settings({peer.MAX_CONCURRENT_STREAMS: 3}))
    assert five.stream_id == 7
    client.give(*(client.server.answer(n) for n in (1, 5, 7)))
    assert [code(call) for call in (one, two, three, four, five)] == [0, 0, 0, 1, 0]
    assert client.wire.is_idle


def test_no_streams_at_all_and_then_some() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 0})
    call = client.start()
    client.give(peer.settings({peer.MAX_CONCURRENT_STREAMS: 1}))
    assert call.stream_id == 1


def test_the_last_stream_id() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    client.wire._next_id = frames.MAX_WINDOW - 2
    one, two, three = (client.start() for _ in range(3))
    client.give(client.server.answer(one.stream_id))
    assert two.stream_id == frames.MAX_WINDOW
    assert client.wire.is_draining
    assert three.status == module._REPLACED
    client.give(client.server.answer(two.stream_id))
    assert code(two) == metadata.OK


def test_lose() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    calls = [client.start() for _ in range(3)]
    gone = Status(metadata.UNAVAILABLE, "gone")
    client.wire.lose(gone)
    client.wire.lose(Status(metadata.INTERNAL, "again"))
    assert [call.status for call in calls] == [gone] * 3
    assert client.wire.lost == gone
    assert set(client.wire.take_touched()) == set(calls)


# ---- SETTINGS ----------------------------------------------------------------------------------


def test_is_ready_by_the_peers_settings() -> None:
    wire = Connection()
    assert not wire.is_ready
    wire.receive(memoryview(peer.settings()))
    assert wire.is_ready


@pytest.mark.parametrize("size", [0, 64, 65536])
def test_a_table_size_change_and_then_another_namespace(size: int) -> None:
    client = Client()

    def namespace(name: str) -> str:
        client.wire.start(PATH, (("containerd-namespace", name),))
        (head,) = client.sent()
        return str(list(client.decoder.decode(head.payload))[-1][1])

    assert namespace("one") == "one"
    client.decoder.max_allowed_table_size = size
    client.give(peer.settings({peer.HEADER_TABLE_SIZE: size}))
    client.sent()
    assert [namespace(name) for name in ("two", "one", "three")] == ["two", "one", "three"]


def test_settings_with_unknown_keys_and_an_unasked_ack() -> None:
    client = Client()
    client.give(peer.settings({0x99: 7, 0xFFFF: 1}), frame(4, 1), frame(4, 1))
    assert client.wire.lost is None
    assert client.sent() == [Frame(4, 1, 0, b"")]


def test_h2_without_a_goaway(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    monkeypatch.setattr(client.wire._h2, "data_to_send", lambda: b"")
    client.give(peer.settings({4: 1 << 31}))
    assert client.sent()[-1].kind == peer.GOAWAY


# ---- properties --------------------------------------------------------------------------------

Outcome = tuple[list[tuple[list[bytes], Status | None]], list[Frame]]


def conversation(cuts: list[int] | None) -> Outcome:
    """Four calls with one stream of bytes, cut somewhere; what each of them got."""
    client = Client()
    calls = [client.start(b"x"), client.start(None), client.start(b""), client.start(b"")]
    server = Frames()
    parts = [
        server.headers(3, [*RESPONSE, ("x-bin", "AQ")], pieces=3),
        peer.ping(),
        server.answer(1, b"one", b"", b"three" * 50),
        peer.data(3, message(b"left")[:7], padding=3),
        frame(77, 1, 3, b"?"),
        server.headers(7, [(":status", "404")], end=True),
        peer.data(3, message(b"left")[7:] + message(b"right")),
        peer.settings({peer.INITIAL_WINDOW_SIZE: 70000}),
        peer.goaway(5, 0, b"bye"),
        server.trailers(3, 5, ("grpc-message", "%41")),
        peer.rst(5, 7),
    ]
    data = b"".join(parts)
    ends = sorted({0, len(data), *(cut % len(data) for cut in cuts or [])})
    for start, end in pairwise(ends):
        client.give(data[start:end])
    assert client.waiting == b""
    return [(client.inbox(call), call.status) for call in calls], client.sent()


@given(st.lists(st.integers(0, 10000), max_size=20))
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    assert conversation(cuts) == conversation(None)


def test_the_conversation_is_what_was_meant() -> None:
    (one, two, three, four), _ = conversation(None)
    assert one == ([b"one", b"", b"three" * 50], Status(metadata.OK))
    assert two == ([b"left", b"right"], Status(metadata.NOT_FOUND, "A"))
    assert three == ([], metadata.status_of_reset(7))
    assert four[1] is not None
    assert four[1].code == metadata.UNIMPLEMENTED


def near_frames() -> st.SearchStrategy[bytes]:
    """Bytes that look like frames, so that they come far in."""
    flags = st.sampled_from([0, 1, 4, 5, 8, 9, 12, 13, 32, 36, 44, 255])
    ids = st.sampled_from([0, 0, 1, 1, 3, 5, 2, 0x80000001])
    server = Frames()
    body = st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b"\0\0\0\1", b"\x7f\xff\xff\xff", bytes(8), message(b"x"), b"\x00\x04\x7f\xff\xff\xff"]
        ),
        st.sampled_from([server.block(RESPONSE), server.block([("grpc-status", "0")])]),
    )
    return st.builds(frame, st.integers(0, 10), flags, ids, body)


@settings(max_examples=400)
@given(st.lists(st.one_of(near_frames(), st.binary(max_size=30)), max_size=12), st.booleans())
def test_garbage_never_raises(parts: list[bytes], early: bool) -> None:
    client = Client()
    calls = [client.start(), client.start(None, timeout=1.0)]
    if early:
        client.give(client.server.headers(1))
    for part in parts:
        client.give(part)
        for call in calls:
            client.inbox(call)
            assert call.is_done == (call.status is not None)
    if client.wire.lost is not None:
        assert all(call.is_done for call in calls)
    client.sent()


@given(st.binary(max_size=100))
def test_garbage_instead_of_http2(data: bytes) -> None:
    wire = Connection()
    call = wire.start(PATH)
    used = wire.receive(memoryview(data))
    assert 0 <= used <= len(data)
    assert call.is_done == (wire.lost is not None)
