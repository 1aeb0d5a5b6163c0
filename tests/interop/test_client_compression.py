"""The cases of grpc's interop-test-descriptions.md in which the server judges what we compress."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.transport.channel import Channel
from tests.interop.h2_server import serve
from tests.interop.messages import (
    StreamingInputCallRequest,
    StreamingInputCallResponse,
    check_large,
    large_request,
    path,
    payload,
)
from tests.interop.relay import flags_and_sizes
from tests.wire.peer import Peer

PROBE = "compressed[?]"  # what the server says of a message that is not as it says of itself


@pytest.fixture
def server() -> Iterator[Peer]:
    with Peer(serve) as server:
        yield server


@pytest.fixture
def channel(server: Peer) -> Iterator[Channel]:
    with Channel(server.address) as channel:
        yield channel


def input_request(size: int, *, compressed: bool) -> bytes:
    request = StreamingInputCallRequest(
        payload=payload(size), expect_compressed={"value": compressed}
    )
    data: bytes = request.SerializeToString()
    return data


def test_client_compressed_unary(server: Peer, channel: Channel) -> None:
    compressed = large_request(expect_compressed={"value": True})
    plain = large_request(expect_compressed={"value": False})
    with pytest.raises(InvalidArgument, match=PROBE):
        channel.unary(path("UnaryCall"), compressed)
    check_large(channel.unary(path("UnaryCall"), compressed, compression="gzip"))
    check_large(channel.unary(path("UnaryCall"), plain))
    probed, (flag, size), third = flags_and_sizes(server.seen[0])
    assert (probed, third) == ((0, len(compressed)), (0, len(plain)))
    assert flag == 1
    assert size < len(compressed)


def test_client_compressed_streaming(server: Peer, channel: Channel) -> None:
    method = path("StreamingInputCall")
    with channel.stream(method, compression="gzip") as stream:
        stream.send(input_request(27182, compressed=True), compress=False)
        with pytest.raises(InvalidArgument, match=PROBE):
            stream.receive()
    with channel.stream(method, compression="gzip") as stream:
        stream.send(input_request(27182, compressed=True))
        stream.send(input_request(45904, compressed=False), compress=False)
        stream.finish_sending()
        (response,) = stream
    told = StreamingInputCallResponse.FromString(bytes(response))
    assert told.aggregated_payload_size == 73086
    flags = [flag for seen in server.seen for flag, _ in flags_and_sizes(seen)]
    assert flags == [0, 1, 0]
