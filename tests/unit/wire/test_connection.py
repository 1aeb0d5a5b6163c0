"""All calls of one connection: requests, responses, their ends, SETTINGS."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.wire import frames, metadata
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.credit import CONNECTION_WINDOW, STREAM_WINDOW
from containerd_lite.wire.metadata import Status
from tests.wire import peer
from tests.wire.client import PATH, Client, code, resets
from tests.wire.peer import RESPONSE, Frame, frame, message


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
    assert rest == [Frame(0, 1, 1, message(b"hello"))]
    client.wire.send(call, b"too late")
    assert client.sent() == []


def test_a_request_that_has_its_message_from_the_start() -> None:
    client = Client()
    call = client.wire.start(PATH, message=[b"he", memoryview(b"llo")])
    assert client.sent()[1:] == [Frame(0, 1, 1, message(b"hello"))]
    client.wire.send(call, b"no more")
    client.wire.start(PATH, encoding="gzip", message=[b"squeezed"])
    assert client.sent()[1:] == [Frame(0, 1, 3, message(b"squeezed", compressed=1))]


def test_it_waits_with_its_call() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    client.start()
    client.wire.start(PATH, message=[b"hello"])
    assert client.sent() == []
    client.give(peer.rst(1, frames.CANCEL))
    assert client.sent()[1:] == [Frame(0, 1, 3, message(b"hello"))]


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
    ],
)
def test_an_answer_that_is_not_grpc(
    client: Client, fields: list[tuple[str | bytes, str | bytes]], expected: int
) -> None:
    call = client.start()
    body = peer.data(1, b"<html>404 page not found</html>", end=True)
    client.give(client.server.headers(1, fields), body)
    assert code(call) == expected
    assert client.inbox(call) == []
    other = client.start()
    client.give(client.server.headers(3, fields, end=True))
    assert code(other) == expected


def test_an_answer_that_is_not_grpc_and_does_not_end(client: Client) -> None:
    call = client.start()
    client.give(client.server.headers(1, [(":status", "404")]))
    for _ in range(4):
        client.give(peer.data(1, bytes(16_384)))
        assert not call.is_done
    client.give(peer.data(1, b"x"))
    assert code(call) == metadata.UNIMPLEMENTED
    assert resets(client.sent()) == [(1, frames.CANCEL)]


def test_a_grpc_status_behind_another_answer_counts(client: Client) -> None:
    """http-grpc-status-mapping.md: if there is a grpc-status, it must be used."""
    call = client.start()
    client.give(client.server.headers(1, [(":status", "503")]), client.server.trailers(1, 5))
    assert code(call) == metadata.NOT_FOUND


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
    monkeypatch.setattr(client.wire._settings.h2, "data_to_send", lambda: b"")
    client.give(peer.settings({4: 1 << 31}))
    assert client.sent()[-1].kind == peer.GOAWAY
