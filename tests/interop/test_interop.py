"""The cases of grpc's interop-test-descriptions.md that need nothing but a server, on grpcio's.

Each test is named after its case.  The two in which a server judges the client's compression are
in ``test_client_compression``, for grpcio's handlers cannot see it; the soaks are in
``test_soak``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hpack import Decoder

from containerd_lite.errors import Cancelled, DeadlineExceeded, Unimplemented, Unknown
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.stream import Stream
from tests.interop.messages import (
    Empty,
    SimpleRequest,
    StreamingInputCallRequest,
    StreamingInputCallResponse,
    StreamingOutputCallRequest,
    StreamingOutputCallResponse,
    check_large,
    large_request,
    large_response,
    path,
    payload,
)
from tests.interop.relay import Relay, flags_and_sizes
from tests.wire.peer import DATA, HEADERS, RST_STREAM, descriptors, eventually

CANCEL = 8  # RFC 9113, 7
REQUEST_SIZES = (27182, 8, 1828, 45904)
RESPONSE_SIZES = (31415, 9, 2653, 58979)
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"


@pytest.fixture(autouse=True)
def leaks_nothing(server: Path) -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.fixture
def channel(server: Path) -> Iterator[Channel]:
    with Channel(f"unix://{server}") as channel:
        yield channel


@pytest.fixture
def relay(server: Path) -> Iterator[Relay]:
    with Relay(server) as relay:
        yield relay


@pytest.fixture
def watched(relay: Relay) -> Iterator[Channel]:
    """A channel whose frames the relay keeps."""
    with Channel(relay.address) as channel:
        yield channel


def output_request(*sizes: int, body: int | None = None) -> bytes:
    request = StreamingOutputCallRequest(response_parameters=[{"size": size} for size in sizes])
    if body is not None:
        request.payload.body = bytes(body)
    data: bytes = request.SerializeToString()
    return data


def body_of(response: bytes | bytearray | None) -> bytes:
    assert response is not None
    body: bytes = StreamingOutputCallResponse.FromString(bytes(response)).payload.body
    return body


def bodies(stream: Stream) -> list[bytes]:
    return [body_of(response) for response in stream]


def resets(relay: Relay) -> list[int]:
    """The codes of the resets that the client has sent."""
    return [one.word for seen in relay.seen for one in seen if one.kind == RST_STREAM]


# ---- messages ----------------------------------------------------------------------------------


def test_empty_unary(channel: Channel) -> None:
    assert channel.unary(path("EmptyCall"), Empty().SerializeToString()) == b""


def test_large_unary(channel: Channel) -> None:
    response = channel.unary(path("UnaryCall"), large_request())
    check_large(response)
    assert response == large_response()


def test_client_streaming(channel: Channel) -> None:
    with channel.stream(path("StreamingInputCall")) as stream:
        for size in REQUEST_SIZES:
            stream.send(StreamingInputCallRequest(payload=payload(size)).SerializeToString())
        stream.finish_sending()
        (response,) = stream
    told = StreamingInputCallResponse.FromString(bytes(response))
    assert told.aggregated_payload_size == 74922


def test_server_streaming(channel: Channel) -> None:
    with channel.stream(path("StreamingOutputCall"), output_request(*RESPONSE_SIZES)) as stream:
        assert bodies(stream) == [bytes(size) for size in RESPONSE_SIZES]


def test_ping_pong(channel: Channel) -> None:
    with channel.stream(path("FullDuplexCall")) as stream:
        for sent, wanted in zip(REQUEST_SIZES, RESPONSE_SIZES, strict=True):
            stream.send(output_request(wanted, body=sent))
            assert body_of(stream.receive()) == bytes(wanted)
        stream.finish_sending()
        assert stream.receive() is None


def test_empty_stream(channel: Channel) -> None:
    with channel.stream(path("FullDuplexCall")) as stream:
        stream.finish_sending()
        assert list(stream) == []


# ---- compression by the server -----------------------------------------------------------------


def test_server_compressed_unary(relay: Relay, watched: Channel) -> None:
    for wanted in (True, False):
        check_large(
            watched.unary(path("UnaryCall"), large_request(response_compressed={"value": wanted}))
        )
    (compressed, size), plain = flags_and_sizes(relay.answered[0])
    assert compressed == 1
    assert size < 314159
    assert plain == (0, len(large_response()))
    # grpcio compresses whether it was told this or not; other servers do not.
    first = next(one for one in relay.seen[0] if one.kind == HEADERS)
    fields = dict(Decoder().decode(first.payload, raw=True))
    assert b"gzip" in fields[b"grpc-accept-encoding"].split(b",")


def test_server_compressed_streaming(relay: Relay, watched: Channel) -> None:
    sizes = (31415, 92653)
    wanted = [{"size": sizes[0], "compressed": {"value": True}}]
    wanted += [{"size": sizes[1], "compressed": {"value": False}}]
    request = StreamingOutputCallRequest(response_parameters=wanted).SerializeToString()
    with watched.stream(path("StreamingOutputCall"), request) as stream:
        assert bodies(stream) == [bytes(size) for size in sizes]
    assert [flag for flag, _ in flags_and_sizes(relay.answered[0])] == [1, 0]


# ---- metadata and status -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["UnaryCall", "FullDuplexCall"])
def test_custom_metadata(channel: Channel, method: str) -> None:
    initial = ("x-grpc-test-echo-initial", "test_initial_metadata_value")
    trailing = ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab")
    request = large_request() if method == "UnaryCall" else output_request(314159, body=271828)
    with channel.stream(path(method), request, metadata=(initial, trailing)) as stream:
        (response,) = stream  # both methods have the payload in the same field
        assert body_of(response) == bytes(314159)
        assert initial in stream.initial_metadata
        assert trailing in stream.trailing_metadata


@pytest.mark.parametrize("method", ["UnaryCall", "FullDuplexCall"])
def test_status_code_and_message(channel: Channel, method: str) -> None:
    wanted = {"code": 2, "message": "test status message"}
    kind = SimpleRequest if method == "UnaryCall" else StreamingOutputCallRequest
    request = kind(response_status=wanted).SerializeToString()
    with channel.stream(path(method), request) as stream:
        with pytest.raises(Unknown) as caught:
            stream.receive()
        assert (type(caught.value), caught.value.message) == (Unknown, "test status message")


def test_special_status_message(channel: Channel) -> None:
    request = SimpleRequest(response_status={"code": 2, "message": SPECIAL})
    with pytest.raises(Unknown) as caught:
        channel.unary(path("UnaryCall"), request.SerializeToString())
    assert caught.value.raw_message == SPECIAL


def test_unimplemented_method(channel: Channel) -> None:
    with pytest.raises(Unimplemented):
        channel.unary(path("UnimplementedCall"), Empty().SerializeToString())


def test_unimplemented_service(channel: Channel) -> None:
    with pytest.raises(Unimplemented):
        channel.unary(
            "/grpc.testing.UnimplementedService/UnimplementedCall", Empty().SerializeToString()
        )


# ---- the end of a call from this side ----------------------------------------------------------


def test_cancel_after_begin(relay: Relay, watched: Channel) -> None:
    with watched.stream(path("StreamingInputCall")) as stream:
        stream.cancel()
        with pytest.raises(Cancelled):
            stream.receive()
    eventually(lambda: resets(relay) == [CANCEL])
    kinds = [one.kind for one in relay.seen[0]]
    assert HEADERS in kinds
    assert DATA not in kinds


def test_cancel_after_first_response(relay: Relay, watched: Channel) -> None:
    with watched.stream(path("FullDuplexCall")) as stream:
        stream.send(output_request(31415, body=27182))
        assert body_of(stream.receive()) == bytes(31415)
        stream.cancel()
        with pytest.raises(Cancelled):
            stream.receive()
    eventually(lambda: resets(relay) == [CANCEL])


def test_timeout_on_sleeping_server(channel: Channel) -> None:
    def call(timeout: float | None = None) -> None:
        with channel.stream(path("FullDuplexCall"), timeout=timeout) as stream:
            stream.send(output_request(body=27182))
            if timeout is None:
                stream.finish_sending()
            assert stream.receive() is None

    call()  # the connection is there, and the server answers who goes on
    with pytest.raises(DeadlineExceeded):
        call(timeout=0.001)
