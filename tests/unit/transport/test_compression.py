"""gzip both ways, as callers of a channel and of its streams see it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from containerd_lite.errors import InvalidArgument, ProtocolError, ResourceExhausted
from containerd_lite.transport.channel import Channel
from tests.wire import peer
from tests.wire.peer import RESPONSE, Peer, Request, Wire, answering, message

pytestmark = pytest.mark.interpreter

PATH = "/a.B/C"
GZIP = (*RESPONSE, ("grpc-encoding", "gzip"))


def serve(wire: Wire, request: Request) -> None:
    """The request's messages, each with its flag, back in one message; compressed itself."""
    what = request.message
    body = gzip.compress(bytes(request.body))
    if what == b"bomb":
        body = gzip.compress(bytes(2 << 20))
    elif what == b"broken":
        body = b"no gzip"
    stream_id = request.stream_id
    wire.send(wire.headers(stream_id, GZIP), peer.data(stream_id, message(body, 1)))
    wire.send(wire.trailers(stream_id))


@pytest.fixture
def server() -> Iterator[Peer]:
    with Peer(answering(serve)) as running:
        yield running


@pytest.fixture
def channel(server: Peer) -> Iterator[Channel]:
    with Channel(server.address, max_message=1 << 20) as channel:
        yield channel


def squeezed(body: bytes | bytearray) -> list[bytes]:
    """What lies in messages, each of them compressed."""
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        assert body[0] == 1
        found.append(gzip.decompress(body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def test_a_plain_call_with_a_compressed_answer(channel: Channel) -> None:
    assert channel.unary(PATH, b"x") == message(b"x")
    assert channel.unary(PATH, b"x", compression="identity") == message(b"x")


def test_a_compressed_call(channel: Channel) -> None:
    assert squeezed(channel.unary(PATH, b"ab", memoryview(b"c"), compression="gzip")) == [b"abc"]


def test_a_compressed_stream_with_one_message_that_is_not(channel: Channel) -> None:
    with channel.stream(PATH, compression="gzip") as stream:
        stream.send(b"one")
        stream.send(b"two", compress=False)
        stream.send(b"three", last=True)
        body = stream.receive()
        assert body is not None
        assert stream.receive() is None
    assert squeezed(body[: body.index(message(b"two"))]) == [b"one"]
    assert squeezed(body[body.index(message(b"two")) + 8 :]) == [b"three"]


def test_a_server_stream_with_a_compressed_request(channel: Channel) -> None:
    with channel.stream(PATH, b"x", compression="gzip") as stream:
        assert squeezed(stream.receive() or b"") == [b"x"]


def test_nothing_is_compressed_in_a_call_that_did_not_say_so(channel: Channel) -> None:
    with channel.stream(PATH) as stream:
        stream.send(b"x", last=True, compress=True)
        assert stream.receive() == message(b"x")


@pytest.mark.parametrize(
    ("what", "kind"), [(b"bomb", ResourceExhausted), (b"broken", ProtocolError)]
)
def test_what_cannot_be_opened(channel: Channel, what: bytes, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"B\.C"):
        channel.unary(PATH, what)
    with channel.stream(PATH, what) as stream, pytest.raises(kind, match=r"B\.C"):
        stream.receive()
    with channel.stream(PATH, what) as stream, pytest.raises(kind, match=r"B\.C"):
        peer.eventually(lambda: stream.poll() is not None)


def test_an_encoding_nobody_knows(channel: Channel, server: Peer) -> None:
    with pytest.raises(InvalidArgument, match="gzip"):
        channel.unary(PATH, b"x", compression="zstd")
    with pytest.raises(InvalidArgument, match="gzip"):
        channel.stream(PATH, compression="zstd")
    assert server.seen == []


# ---- limits ------------------------------------------------------------------------------------


def test_a_message_that_is_too_large_begins_nothing(channel: Channel, server: Peer) -> None:
    with pytest.raises(ResourceExhausted, match=r"B\.C.*1048577 bytes"):
        channel.unary(PATH, bytes(1 << 20), b"x")
    assert channel.unary(PATH, b"x") == message(b"x")
    kinds = [found.kind for found in server.seen[0]]
    assert kinds.count(peer.HEADERS) == 1
    assert peer.RST_STREAM not in kinds


def test_a_stream_goes_on_after_a_message_that_was_too_large(channel: Channel) -> None:
    with channel.stream(PATH) as stream:
        with pytest.raises(ResourceExhausted, match="limit"):
            stream.send(bytes((1 << 20) + 1), last=True)
        stream.send(b"x", last=True)
        assert stream.receive() == message(b"x")
