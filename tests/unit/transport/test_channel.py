"""Calls through a channel: how they go, and how they fail."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import (
    Cancelled,
    ConnectionLost,
    ConnectionRefused,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ProtocolError,
    SocketNotFound,
    Unimplemented,
)
from containerd_lite.transport.address import parse_address
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.link import Link
from containerd_lite.wire.call import Call
from tests.unit.transport.channels import PATH, echo_script, error_of, hang
from tests.wire import peer
from tests.wire.peer import Peer, Request, Wire, answering, descriptors, message

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("leaks_nothing")]


def test_an_address_has_its_tls(server: Peer) -> None:
    with pytest.raises(InvalidArgument, match="already contains its TLS settings"):
        Channel(parse_address(server.address), tls=False)


def test_nothing_happens_before_the_first_call(server: Peer) -> None:
    with Channel(server.address) as channel:
        assert server.seen == []
        for _ in range(3):
            assert channel.unary(PATH, b"ping") == b"ping"
        assert channel.unary(PATH) == b""
        assert len(server.seen) == 1
        assert server.address in repr(channel)


def test_a_connection_of_its_own(server: Peer) -> None:
    with Channel(server.address) as channel:
        for _ in range(5):
            assert channel.unary(PATH, b"a", dedicated=True) == b"a"
            assert channel.unary(PATH, b"b") == b"b"
        assert len(server.seen) == 2


def test_metadata_and_timeout_reach_the_peer() -> None:
    def answer(wire: Wire, request: Request) -> None:
        told = [request.headers.get(name, "") for name in ("containerd-namespace", "grpc-timeout")]
        wire.send(wire.answer(request.stream_id, "|".join(told).encode()))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        metadata = (("containerd-namespace", "k8s.io"),)
        told = bytes(channel.unary(PATH, b"", metadata=metadata, timeout=100)).decode().split("|")
        assert told[0] == "k8s.io"
        assert told[1].endswith("m")
        assert channel.unary(PATH, b"") == b"|"


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_unary_call_has_one_response(count: int) -> None:
    def answer(wire: Wire, request: Request) -> None:
        bodies = b"".join(message(b"x") for _ in range(count))
        wire.send(wire.headers(request.stream_id), peer.data(request.stream_id, bodies))
        if count < 3:
            wire.send(wire.trailers(request.stream_id))  # or never

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is ProtocolError


def test_bad_metadata_costs_no_connection(server: Peer) -> None:
    with Channel(server.address) as channel:
        for dedicated in (False, True) * 5:
            with pytest.raises(InvalidArgument) as caught:
                channel.unary(PATH, b"x", metadata=(("a", "\n"),), dedicated=dedicated)
            assert caught.value.operation == "Things.Get"
        assert channel.unary(PATH, b"x") == b"x"
        assert len(channel._links) == 2


def test_descriptors_do_not_grow(server: Peer) -> None:
    with Channel(server.address) as channel:
        channel.unary(PATH, b"x")
        list(channel.stream(PATH, b"x"))
        before = descriptors()
        for _ in range(100):
            channel.unary(PATH, b"x")
            channel.unary(PATH, b"x", dedicated=True)
            with channel.stream(PATH, b"x") as stream:
                assert stream.receive() == b"x"
        assert descriptors() == before
        assert os.getpid() == channel._pid


# ---- errors ------------------------------------------------------------------------------------


def test_no_socket_and_nobody_behind_it(tmp_path: Path) -> None:
    server = Peer(echo_script)
    with server:
        pass
    with Channel(server.address) as channel:
        error = error_of(channel)
        assert type(error) is SocketNotFound
        assert error.operation == "Things.Get"
        assert error.address == server.address
    (tmp_path / "s").touch()
    with Channel(str(tmp_path / "s")) as channel:
        assert type(error_of(channel)) is ConnectionRefused


def http1(wire: Wire) -> None:
    wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    wire.wait_closed()


def ssh(wire: Wire) -> None:
    wire.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    wire.wait_closed()


def garbage(wire: Wire) -> None:
    wire.send(peer.settings(), bytes(range(256)) * 100)
    wire.wait_closed()


@pytest.mark.parametrize("script", [http1, ssh])
def test_something_that_does_not_speak_http2(script: peer.Script) -> None:
    with Peer(script) as server, Channel(server.address) as channel:
        error = error_of(channel)
        assert type(error) is ProtocolError
        assert "Check that this is the gRPC socket" in error.remedy
        assert not channel._links


@pytest.mark.parametrize("script", [http1, ssh])
def test_what_came_before_the_call_was_begun_counts(
    script: peer.Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Link.start

    def late(link: Link, *args: Any) -> Call | None:
        select.select([link._socket_io.sock], [], [], peer.PATIENCE)
        return start(link, *args)

    monkeypatch.setattr(Link, "start", late)
    with Peer(script) as server, Channel(server.address) as channel:
        error = error_of(channel)
        assert type(error) is ProtocolError
        assert "Check that this is the gRPC socket" in error.remedy
        assert error.operation == "Things.Get"
        assert len(server.seen) == 1
    with Peer(lambda wire: None) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is ConnectionLost


def test_garbage() -> None:
    with Peer(garbage) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is ProtocolError


def test_an_http2_server_that_is_not_grpc() -> None:
    def answer(wire: Wire, request: Request) -> None:
        fields = [(":status", "404"), ("content-type", "text/plain")]
        body = peer.data(request.stream_id, b"404 page not found\n", end=True)
        wire.send(wire.headers(request.stream_id, fields), body)

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is Unimplemented


def test_a_peer_that_says_nothing() -> None:
    with Peer(peer.silent) as server, Channel(server.address, connect_timeout=0.05) as channel:
        assert type(error_of(channel)) is ConnectionLost
        assert type(error_of(channel, timeout=0.01)) is DeadlineExceeded
        assert len(server.seen) <= 2


def test_eof_before_settings_is_tried_once_more() -> None:
    def script(wire: Wire) -> None:
        if wire.number:
            echo_script(wire)

    with Peer(script) as server, Channel(server.address) as channel:
        assert channel.unary(PATH, b"x") == b"x"
        assert len(server.seen) == 2
    with Peer(lambda wire: None) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is ConnectionLost
        assert len(server.seen) <= 2 * 6


def test_eof_in_the_middle_is_not_tried_again() -> None:
    def script(wire: Wire) -> None:
        wire.send(peer.settings())
        request = wire.request()
        wire.send(wire.headers(request.stream_id))

    with Peer(script) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is ConnectionLost
        assert len(server.seen) == 1


def test_a_deadline() -> None:
    with Peer(answering(hang)) as server, Channel(server.address) as channel:
        error = error_of(channel, timeout=0.05)
        assert isinstance(error, DeadlineExceeded)
        assert isinstance(error, TimeoutError)
        assert channel.unary(PATH, b"y") == b"y"  # the connection is as good as before
        resets = [f for f in server.seen[0] if f.kind == peer.RST_STREAM]
        assert [f.word for f in resets] == [8]
        assert len(server.seen) == 1


def test_a_cancel_of_the_peers_after_the_deadline_is_the_deadline() -> None:
    gate = threading.Event()

    def answer(wire: Wire, request: Request) -> None:
        gate.wait(peer.PATIENCE)
        wire.send(wire.headers(request.stream_id), wire.trailers(request.stream_id, 1))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        gate.set()
        assert type(error_of(channel)) is Cancelled
        gate.clear()
        threading.Timer(0.1, gate.set).start()
        assert type(error_of(channel, timeout=0.05)) is DeadlineExceeded


def test_deadlines_in_the_far_future(server: Peer) -> None:
    with Channel(server.address, connect_timeout=None) as channel:
        for timeout in (float("inf"), 1e12, 3e6):
            assert channel.unary(PATH, b"x", timeout=timeout) == b"x"


def test_an_internal_error_of_the_peers_is_internal() -> None:
    def answer(wire: Wire, request: Request) -> None:
        wire.send(wire.headers(request.stream_id), wire.trailers(request.stream_id, 13))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is Internal
