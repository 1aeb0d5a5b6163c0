"""What other gRPC clients got wrong about calls: each bug once more, named after its issue.

The rules of PROTOCOL-HTTP2.md and http-grpc-status-mapping.md that a client must keep stand here,
too.  Windows, memory and timeouts are in `test_peer_bugs_wire`; connections, threads and processes
in `test_peer_bugs_transport`.
"""

from __future__ import annotations

import gzip
from base64 import b64decode

import pytest
from hpack import Decoder

from containerd_lite.errors import (
    Cancelled,
    ContainerdError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ProtocolError,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from containerd_lite.transport.channel import Channel
from tests.wire import peer
from tests.wire.peer import (
    PATIENCE,
    RESPONSE,
    Answer,
    Field,
    Peer,
    Request,
    Wire,
    answering,
    data,
    echo,
    goaway,
    message,
    rst,
    settings,
)

pytestmark = pytest.mark.dependencies

PATH = "/a.v1.Things/Get"

Outcome = bytes | type[ContainerdError]


def outcome(channel: Channel, body: bytes = b"x") -> Outcome:
    """What a unary call comes to: its answer, or the class of its error."""
    try:
        return bytes(channel.unary(PATH, body, timeout=PATIENCE))
    except ContainerdError as error:
        return type(error)


def outcome_of_stream(channel: Channel, body: bytes = b"x") -> Outcome:
    """As `outcome`, of a server-streaming call."""
    try:
        with channel.stream(PATH, body, timeout=PATIENCE) as stream:
            return b"".join(stream)
    except ContainerdError as error:
        return type(error)


def outcomes(answer: Answer) -> list[Outcome]:
    """What a unary and a server-streaming call come to, with a server that answers so."""
    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        return [outcome(channel), outcome_of_stream(channel)]


# ---- how a call ends ---------------------------------------------------------------------------

#: PROTOCOL-HTTP2.md, "Errors"; INTERNAL, said by no server, is a `ProtocolError`.
RESETS: dict[int, type[ContainerdError]] = {
    **dict.fromkeys(range(14), ProtocolError),
    7: Unavailable,
    8: Cancelled,
    11: ResourceExhausted,
    12: PermissionDenied,
    14: ProtocolError,  # RFC 9113, 7: an unknown code is as INTERNAL_ERROR
    0xFFFFFFFF: ProtocolError,
}


@pytest.mark.parametrize("reset", RESETS)
def test_grpclib_every_reset_has_its_status(reset: int) -> None:
    def answer(wire: Wire, request: Request) -> None:
        stream_id, stage = request.stream_id, request.message
        head = b"" if stage == b"at once" else wire.headers(stream_id)
        body = data(stream_id, message(b"?")) if stage == b"behind a message" else b""
        wire.send(head, body, rst(stream_id, reset))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        for stage in (b"at once", b"behind the headers", b"behind a message"):
            assert outcome(channel, stage) is RESETS[reset]
            assert outcome_of_stream(channel, stage) is RESETS[reset]
        assert len(server.seen) == 2  # the connections live on


#: http-grpc-status-mapping.md; 415 and others that it does not list are UNKNOWN.
STATUSES: dict[str, type[ContainerdError]] = {
    **dict.fromkeys(["200", "204", "301", "402", "415", "418", "500", "501", "599"], Unknown),
    **dict.fromkeys(["400", "431"], ProtocolError),  # INTERNAL
    "401": Unauthenticated,
    "403": PermissionDenied,
    "404": Unimplemented,
    **dict.fromkeys(["429", "502", "503", "504"], Unavailable),
}


def html(status: str) -> list[Field]:
    return [(":status", status), ("content-type", "text/html")]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("shape", ["headers", "a body", "trailers"])
def test_mapping_of_http_status_without_grpc_status(status: str, shape: str) -> None:
    def answer(wire: Wire, request: Request) -> None:
        stream_id = request.stream_id
        wire.send(wire.headers(stream_id, html(status), end=shape == "headers"))
        if shape == "a body":
            wire.send(data(stream_id, b"<html>", padding=3), data(stream_id, b"no", end=True))
        elif shape == "trailers":
            wire.send(wire.headers(stream_id, [("x", "y")], end=True))

    assert outcomes(answer) == [STATUSES[status]] * 2


@pytest.mark.parametrize("status", STATUSES)
def test_mapping_of_a_grpc_status_with_an_http_status(status: str) -> None:
    """Trailers-Only: "If grpc-status was provided, it must be used." """

    def answer(wire: Wire, request: Request) -> None:
        fields = [(":status", status), ("content-type", "application/grpc"), ("grpc-status", "5")]
        wire.send(wire.headers(request.stream_id, fields, end=True))

    assert outcomes(answer) == [NotFound] * 2


@pytest.mark.parametrize("status", ["204", "404", "503"])
def test_mapping_of_a_grpc_status_in_trailers_behind_an_http_status(status: str) -> None:
    """The same of a response of gRPC whose headers and trailers come one after the other."""

    def answer(wire: Wire, request: Request) -> None:
        fields = [(":status", status), ("content-type", "application/grpc")]
        wire.send(wire.headers(request.stream_id, fields), wire.trailers(request.stream_id, 5))

    assert outcomes(answer) == [NotFound] * 2


@pytest.mark.parametrize("way", ["REFUSED_STREAM", "GOAWAY"])
def test_grfc_a6_a_call_that_was_answered_is_not_sent_again(way: str) -> None:
    """Whoever has sent response headers has looked at the call, whatever comes behind them."""

    def script(wire: Wire) -> None:
        wire.send(settings())
        while True:
            stream_id = wire.request().stream_id
            end = rst(stream_id, 7) if way == "REFUSED_STREAM" else goaway(0)
            wire.send(wire.headers(stream_id), end)

    with Peer(script) as server, Channel(server.address) as channel:
        for number, ask in enumerate((outcome, outcome_of_stream), 1):
            found = ask(channel)
            assert isinstance(found, type)
            assert issubclass(found, Unavailable)
            assert len(requests_of(server)) == number


# ---- what a request looks like -----------------------------------------------------------------


def requests_of(server: Peer) -> list[list[tuple[str, str]]]:
    """The header fields of every request, in the order in which they stood."""
    return [
        [(str(name), str(value)) for name, value in Decoder().decode(found.payload)]
        for seen in server.seen
        for found in seen
        if found.kind == peer.HEADERS
    ]


def test_protocol_http2_request_headers() -> None:
    raw = bytes(range(256)) + b"~"  # its base64 would be padded
    metadata = (("Containerd-Namespace", "k8s.io"), ("trace-bin", raw))
    with Peer(answering(echo)) as server, Channel(server.address) as channel:
        channel.unary(PATH, b"x", metadata=metadata, timeout=100.5)
    (fields,) = requests_of(server)
    names = [name for name, _ in fields]
    found = dict(fields)
    assert set(names[:4]) == {":method", ":scheme", ":path", ":authority"}
    assert names[4] == "grpc-timeout"
    assert (found[":method"], found[":scheme"], found[":path"]) == ("POST", "http", PATH)
    assert found["te"] == "trailers"
    assert found["content-type"].startswith("application/grpc")
    assert names[-2:] == ["containerd-namespace", "trace-bin"]  # behind the call's definition
    sent = found["trace-bin"]
    assert "=" not in sent
    assert b64decode(sent + "=" * (-len(sent) % 4)) == raw
    (body,) = [one for one in server.seen[0] if one.kind == peer.DATA]
    assert body.flags == peer.END_STREAM


@pytest.mark.parametrize(
    "name", ["connection", "Keep-Alive", "proxy-connection", "transfer-encoding", "upgrade"]
)
def test_rfc_9113_fields_of_http1_connections_are_not_sent(name: str) -> None:
    """A message with one of them is malformed (8.2.2), and costs its stream at the least."""
    with Peer(answering(echo)) as server, Channel(server.address) as channel:
        with pytest.raises(InvalidArgument):
            channel.unary(PATH, b"x", metadata=((name, "x"),), timeout=PATIENCE)
        assert requests_of(server) == []


@pytest.mark.parametrize("form", ["unix://{}", "unix:{}", "{}"])
def test_grpc_38142_the_authority_is_localhost(form: str) -> None:
    """An authority made of the path is refused by servers on hyperium's h2."""
    with Peer(answering(echo)) as server, Channel(form.format(server.path)) as channel:
        assert outcome(channel) == outcome_of_stream(channel) == b"x"
    assert [dict(fields)[":authority"] for fields in requests_of(server)] == ["localhost"] * 2


# ---- what an answer may look like --------------------------------------------------------------


def test_grpcio_comma_joined_bin() -> None:
    """Values of one `-bin` field may be joined by commas, each padded or not."""
    joined = ("x-bin", "AQ==,AgM,,BAUG, Bw")

    def answer(wire: Wire, request: Request) -> None:
        stream_id = request.stream_id
        wire.send(wire.headers(stream_id, [*RESPONSE, joined]), wire.trailers(stream_id, 0, joined))

    values = [b"\1", b"\2\3", b"", b"\4\5\6", b"\7"]
    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        with channel.stream(PATH, b"x", timeout=PATIENCE) as stream:
            assert stream.receive() is None
        for metadata in (stream.initial_metadata, stream.trailing_metadata):
            assert metadata == tuple(("x-bin", value) for value in values)


def test_grpclib_and_grpcio_103_is_passed_over() -> None:
    """Early hints are skipped, and what they put into HPACK's table stays (RFC 9113, 8.1)."""
    hint: list[Field] = [(":status", "103"), ("link", "</style.css>"), ("x-long", "y" * 100)]

    def answer(wire: Wire, request: Request) -> None:
        stream_id = request.stream_id
        wire.send(wire.headers(stream_id, hint), wire.headers(stream_id, hint, pieces=3))
        wire.send(wire.headers(stream_id, [*RESPONSE, ("x-long", "y" * 100)]))
        wire.send(data(stream_id, message(b"an answer")), wire.trailers(stream_id))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert outcome(channel) == b"an answer"
        with channel.stream(PATH, b"x", timeout=PATIENCE) as stream:
            assert list(stream) == [b"an answer"]
            assert stream.initial_metadata == (("x-long", "y" * 100),)


def noise(stream_id: int) -> bytes:
    """Frames of types that nobody knows, with all flags, on streams of any kind (RFC 9113, 5.5)."""
    kinds = (10, 16, 42, 128, 255)
    ids = (0, 2, stream_id, stream_id + 100)
    return b"".join(peer.frame(kind, 255, n, b"?" * kind) for kind in kinds for n in ids)


def test_grpclib_unknown_frames_are_passed_over() -> None:
    def answer(wire: Wire, request: Request) -> None:
        stream_id, whole = request.stream_id, message(b"an answer")
        parts = [wire.headers(stream_id), data(stream_id, whole[:7]), data(stream_id, whole[7:])]
        for part in (*parts, wire.trailers(stream_id)):
            wire.send(noise(stream_id), part)
        wire.send(noise(stream_id))

    assert outcomes(answer) == [b"an answer"] * 2


def test_grpclib_empty_data_is_no_end() -> None:
    """Only END_STREAM ends a stream: empty frames stand for nothing, padded or not."""

    def answer(wire: Wire, request: Request) -> None:
        stream_id, whole = request.stream_id, message(b"an answer")
        nothing = data(stream_id, b"") + data(stream_id, b"", padding=0)
        nothing = (nothing + data(stream_id, b"", padding=255)) * 5
        wire.send(wire.headers(stream_id), nothing)
        for byte in whole:
            wire.send(data(stream_id, bytes((byte,))), nothing)
        wire.send(wire.trailers(stream_id))

    assert outcomes(answer) == [b"an answer"] * 2


def test_grpcio_padded_data_is_taken() -> None:
    """Padding of every length, in DATA and in HEADERS (RFC 9113, 6.1 and 6.2)."""

    def answer(wire: Wire, request: Request) -> None:
        stream_id, whole = request.stream_id, message(bytes(range(256)))
        padded = b"\5" + wire.block(RESPONSE) + bytes(5)
        wire.send(peer.frame(peer.HEADERS, peer.END_HEADERS | peer.PADDED, stream_id, padded))
        for at, byte in enumerate(whole):
            wire.send(data(stream_id, bytes((byte,)), padding=at % 256))
        wire.send(wire.trailers(stream_id))

    assert outcomes(answer) == [bytes(range(256))] * 2


def test_grpcio_a_trailer_of_60_kb_is_taken() -> None:
    def answer(wire: Wire, request: Request) -> None:
        fields: list[Field] = [("grpc-status", "5"), ("grpc-message", "n" * 60_000)]
        wire.send(wire.headers(request.stream_id))
        wire.send(wire.headers(request.stream_id, fields, end=True, pieces=5))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert outcome(channel) is NotFound


def test_grpclib_there_is_a_receive_limit() -> None:
    """It is judged by the prefix, before the body comes, and costs just the call."""

    def answer(wire: Wire, request: Request) -> None:
        stream_id, size = request.stream_id, int(request.message)
        body = bytes(size if size <= 1000 else 0)
        wire.send(wire.headers(stream_id), data(stream_id, b"\0" + peer.word(size) + body))
        if size <= 1000:
            wire.send(wire.trailers(stream_id))

    for limit in (1000, 16 << 20):  # the second is what containerd's own client has
        with (
            Peer(answering(answer)) as server,
            Channel(server.address, max_message=1000)
            if limit == 1000
            else Channel(server.address) as channel,
        ):
            for ask in (outcome, outcome_of_stream):
                assert ask(channel, b"1000") == bytes(1000)
                assert ask(channel, b"%d" % (limit + 1)) is ResourceExhausted
                assert ask(channel, b"1000") == bytes(1000)
            assert len(server.seen) == 2


def test_grpclib_gzip_is_known() -> None:
    """Each message has a context of its own; some need not be compressed."""
    bodies = [b"a" * 5000, b"", b"plain", b"a" * 5000]

    def answer(wire: Wire, request: Request) -> None:
        stream_id = request.stream_id
        assert "gzip" in request.headers["grpc-accept-encoding"].split(",")
        wire.send(wire.headers(stream_id, [*RESPONSE, ("grpc-encoding", "gzip")]))
        for body in bodies:
            is_plain = body == b"plain"
            whole = message(body if is_plain else gzip.compress(body), not is_plain)
            wire.send(data(stream_id, whole))
        wire.send(wire.trailers(stream_id))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert list(channel.stream(PATH, b"x", timeout=PATIENCE)) == bodies
