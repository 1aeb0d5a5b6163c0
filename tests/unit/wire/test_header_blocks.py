"""What a response may look like, and messages that come or go compressed."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.wire import frames, metadata
from containerd_lite.wire.framing import opened
from containerd_lite.wire.metadata import Status
from tests.wire import peer
from tests.wire.client import PATH, Client, code, resets
from tests.wire.peer import Frame, message

Script = Callable[[Client], bytes]
HEADERS_ONCE: Script = lambda c: c.server.headers(1)  # noqa: E731


def answered(*more: peer.Field, end: bool = False) -> Script:
    """Response headers with some more fields, or trailers with them."""
    fields = (("grpc-status", "0"), *more) if end else (*peer.RESPONSE, *more)
    first = HEADERS_ONCE if end else lambda c: b""
    return lambda c: first(c) + c.server.headers(1, fields, end=end)


BREAKS_A_CALL: dict[str, Script] = {
    "DATA first": lambda c: peer.data(1, message(b"x")),
    "DATA first, and the end": lambda c: peer.data(1, b"", end=True),
    "HEADERS twice": lambda c: c.server.headers(1) + c.server.headers(1),
    "1xx behind HEADERS": lambda c: c.server.headers(1) + c.server.headers(1, [(":status", "103")]),
    "1xx that ends the stream": lambda c: c.server.headers(1, [(":status", "103")], end=True),
    "trailers that do not end it": lambda c: (
        c.server.headers(1) + c.server.headers(1, [("grpc-status", "0")])
    ),
    "no :status": lambda c: c.server.headers(1, [("x", "y")]),
    "no :status in Trailers-Only": lambda c: c.server.trailers(1),
    ":status in trailers": lambda c: (
        c.server.headers(1) + c.server.headers(1, [*peer.RESPONSE, ("grpc-status", "0")], end=True)
    ),
    ":status twice": lambda c: c.server.headers(1, [(":status", "200"), (":status", "200")]),
    ":status behind a field": lambda c: c.server.headers(1, [("x", "y"), (":status", "200")]),
    ":status of two digits": lambda c: c.server.headers(1, [(":status", "20")]),
    ":status that is no number": lambda c: c.server.headers(1, [(":status", "2x0")]),
    ":path of a request": answered((":path", "/")),
    "a pseudo-header nobody knows": lambda c: c.server.headers(1, [(":x", "y"), *peer.RESPONSE]),
    "a name in upper case": answered(("Upper", "x")),
    "a blank in a name": answered(("a b", "x")),
    "no name": answered(("", "x")),
    "a NUL in a value": answered(("x", "a\0b")),
    "a line break in a value of trailers": answered(("grpc-message", "a\r\nb"), end=True),
    "connection": answered(("connection", "close")),
    "transfer-encoding": answered(("transfer-encoding", "chunked")),
    "less than content-length": lambda c: (
        answered(("content-length", "10"))(c) + peer.data(1, message(b"")) + c.server.trailers(1)
    ),
    "more than content-length": lambda c: (
        answered(("content-length", "4"))(c) + peer.data(1, message(b""), end=True)
    ),
}


@pytest.mark.parametrize("script", BREAKS_A_CALL.values(), ids=BREAKS_A_CALL.keys())
def test_what_breaks_a_call(client: Client, script: Script) -> None:
    call, other = client.start(), client.start()
    client.give(script(client), client.server.answer(3, b"x"))
    assert (code(call), code(other)) == (metadata.INTERNAL, metadata.OK)
    assert resets(client.sent()) == [(1, frames.PROTOCOL_ERROR)]


@pytest.mark.parametrize(
    "fields",
    [[("x-blank", " a ")], [("content-length", "8")], [("content-length", "x")], [("te", "x")]],
)
def test_what_breaks_nothing(fields: list[peer.Field]) -> None:
    """gRPC does not encode blanks of ``grpc-message``; a length that is right, or no number."""
    client = Client()
    call = client.start()
    client.give(
        answered(*fields)(client),
        peer.data(1, message(b"abc")),
        client.server.trailers(1, 5, ("grpc-message", " not found ")),
    )
    assert call.status == Status(metadata.NOT_FOUND, " not found ")


def test_compressed_answers() -> None:
    """PROTOCOL-HTTP2.md: each message has a flag of its own, and a fresh context."""
    client = Client()
    call = client.start()
    headers = answered(("grpc-encoding", "gzip"))(client)
    body = gzip.compress(b"one")
    client.give(
        headers,
        peer.data(1, message(body, 1) + message(b"two") + message(body, 1)),
        client.server.trailers(1),
    )
    assert [opened(message) for message in call.reader.messages] == [b"one", b"two", b"one"]
    assert code(call) == metadata.OK


@pytest.mark.parametrize("encoding", ["identity", "br", None])
@pytest.mark.parametrize("flag", [1, 2])
def test_a_compressed_message_that_was_not_agreed_on(encoding: str | None, flag: int) -> None:
    client = Client()
    call = client.start()
    fields = [("grpc-encoding", encoding)] if encoding else []
    client.give(answered(*fields)(client), peer.data(1, message(b"x", flag)))
    assert code(call) == metadata.INTERNAL
    assert resets(client.sent()) == [(1, frames.CANCEL)]


def fields_of(client: Client, head: Frame) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in client.decoder.decode(head.payload)]


def test_a_message_that_is_sent_compressed() -> None:
    client = Client()
    call = client.wire.start(PATH, encoding="gzip")
    client.wire.send(call, b"squeezed", is_compressed=True)
    client.wire.send(call, b"plain", last=True)
    head, *rest = client.sent()
    assert ("grpc-encoding", "gzip") in [
        (str(n), str(v)) for n, v in client.decoder.decode(head.payload)
    ]
    assert b"".join(f.payload for f in rest) == message(b"squeezed", 1) + message(b"plain")


def test_a_header_list_that_is_larger_than_the_peer_takes() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1, 6: 1000})
    large = (("x", "y" * 1000),)
    with pytest.raises(InvalidArgument):
        client.wire.start(PATH, large)
    first = client.start()
    queued = client.wire.start(PATH, large)
    last = client.start()
    client.give(client.server.answer(1))
    assert (code(first), code(queued)) == (metadata.OK, metadata.RESOURCE_EXHAUSTED)
    assert last.stream_id == 3


def test_a_queued_call_tells_the_time_that_is_left() -> None:
    client = Client({peer.MAX_CONCURRENT_STREAMS: 1})
    left = [5.0, 2.0]
    client.start()
    client.wire.start(PATH, (), lambda: left[-1])
    left.append(1.0)
    client.sent()
    client.give(client.server.answer(1))
    head = next(f for f in client.sent() if f.kind == peer.HEADERS)
    assert ("grpc-timeout", "1000000u") in [
        (str(n), str(v)) for n, v in client.decoder.decode(head.payload)
    ]
