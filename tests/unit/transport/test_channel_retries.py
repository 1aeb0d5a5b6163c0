"""What is tried again; connections that are lost, closed, and made again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from containerd_lite.errors import (
    Cancelled,
    DeadlineExceeded,
    ProtocolError,
    SocketNotFound,
    Unavailable,
)
from containerd_lite.transport.base import Address
from containerd_lite.transport.channel import Channel
from tests.unit.transport.channels import PATH, echo_script, error_of, hang
from tests.wire import peer
from tests.wire.peer import Peer, Request, Wire, Worker, answering, echo, eventually

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("leaks_nothing")]


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_refused_stream_is_tried_once_more(refusals: int) -> None:  # grpcio, gRFC A6
    left = [refusals]

    def answer(wire: Wire, request: Request) -> None:
        left[0] -= 1
        if left[0] >= 0:
            wire.send(peer.rst(request.stream_id, 7))
        else:
            echo(wire, request)

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        if refusals == 1:
            assert channel.unary(PATH, b"x") == b"x"
        else:
            assert type(error_of(channel)) is Unavailable
        assert len(server.seen) == 1
        assert left[0] == (-1 if refusals == 1 else 0)


def test_other_resets_are_not_tried_again() -> None:
    seen = []

    def answer(wire: Wire, request: Request) -> None:
        seen.append(request)
        wire.send(peer.rst(request.stream_id, 2))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        error = error_of(channel)
        assert type(error) is ProtocolError
        assert not error.remedy  # the socket is the right one
        assert len(seen) == 1


def test_after_goaway_the_next_call_dials() -> None:
    def answer(wire: Wire, request: Request) -> None:
        echo(wire, request)
        if not wire.number:
            wire.send(peer.goaway(request.stream_id))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        for body in (b"a", b"b", b"c"):
            assert channel.unary(PATH, body) == body
        assert len(server.seen) == 2
        eventually(lambda: len(channel._links) == 1)


def test_calls_in_flight_finish_behind_goaway() -> None:
    """Two calls on one connection: the second is above the last id, and goes elsewhere."""
    both, went_elsewhere = threading.Event(), threading.Event()

    def script(wire: Wire) -> None:
        if wire.number:
            went_elsewhere.set()
            return echo_script(wire)
        wire.send(peer.settings())
        echo(wire, wire.request())
        one, two = wire.request(), wire.request()
        both.set()
        wire.send(peer.goaway(one.stream_id))
        went_elsewhere.wait(peer.PATIENCE)
        echo(wire, one)
        assert two.stream_id > one.stream_id
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        assert channel.unary(PATH, b"first") == b"first"
        workers = [Worker(channel.unary, PATH, body) for body in (b"a", b"b")]
        assert {bytes(worker.result()) for worker in workers} == {b"a", b"b"}  # type: ignore[call-overload]
        assert both.is_set()
        assert channel.unary(PATH, b"c") == b"c"
        assert len(server.seen) == 2
        assert len(channel._links) == 1  # the old one went with its last call


def test_the_daemon_goes_and_comes_back(server: Peer) -> None:
    with Channel(server.address) as channel:
        for _ in range(3):
            assert channel.unary(PATH, b"x") == b"x"
            with channel.stream(PATH, b"y") as stream:
                assert list(stream) == [b"y"]
            server.stop()
            for _ in range(2):
                assert type(error_of(channel)) is SocketNotFound
            server.listen()
        assert channel.unary(PATH, b"x") == b"x"
        assert len(channel._links) <= 2  # a spare one is found stale when it is wanted


def test_stale_spare_connections_cost_no_call(server: Peer) -> None:
    with Channel(server.address) as channel:
        streams = [channel.stream(PATH, b"x") for _ in range(6)]
        for stream in streams:
            assert list(stream) == [b"x"]
        assert len(channel._spare) == len(channel._links) == 4
        server.stop()
        server.listen()
        assert channel.unary(PATH, b"x", dedicated=True) == b"x"
        assert len(channel._links) == 1


def test_an_open_stream_learns_that_the_daemon_went(server: Peer) -> None:
    with Channel(server.address) as channel, channel.stream(PATH) as stream:
        worker = Worker(stream.receive)
        eventually(lambda: stream._link._is_polling)
        server.stop()
        with pytest.raises(Unavailable):
            worker.result()


def test_wait_for_ready_waits_for_the_socket() -> None:
    with Peer(echo_script, listening=False) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is SocketNotFound
        worker = Worker(lambda: channel.unary(PATH, b"x", timeout=5, wait_for_ready=True))
        error = error_of(channel, timeout=0.02, wait_for_ready=True)
        assert isinstance(error, Unavailable | DeadlineExceeded)
        server.listen()
        assert worker.result() == b"x"


def test_close_ends_the_wait_for_ready() -> None:
    with Peer(echo_script, listening=False) as server:
        channel = Channel(server.address)
        worker = Worker(lambda: channel.unary(PATH, b"x", wait_for_ready=True))
        channel.close()
        with pytest.raises(Cancelled):
            worker.result()


def count_requests(server: Peer) -> int:
    return sum(found.kind == peer.HEADERS for seen in server.seen for found in seen)


def test_close_with_calls_in_flight() -> None:
    with Peer(answering(hang)) as server:
        channel = Channel(server.address)
        workers = [Worker(channel.unary, PATH, b"x") for _ in range(8)]
        stream = channel.stream(PATH)
        workers.append(Worker(stream.receive))
        eventually(lambda: count_requests(server) == 9)
        channel.close()
        channel.close()
        for worker in workers:
            with pytest.raises(Cancelled):
                worker.result()
        with pytest.raises(Cancelled, match="closed"):
            channel.unary(PATH, b"y")
        stream.close()
        eventually(lambda: all(not worker.is_alive() for worker in workers))


def test_close_during_a_dial(server: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(server.address)
    dial: Callable[[Address, float | None], socket.socket] = Address.dial

    def closing(address: Address, timeout: float | None) -> socket.socket:
        sock = dial(address, timeout)
        channel.close()
        return sock

    monkeypatch.setattr(Address, "dial", closing)
    assert type(error_of(channel)) is Cancelled
    assert not channel._links


def test_no_descriptors_left(server: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    with Channel(server.address) as channel:
        monkeypatch.setattr(socket, "socketpair", fail)
        assert "Too many open files" in str(error_of(channel))
        monkeypatch.undo()
        assert channel.unary(PATH, b"x") == b"x"


def test_reconnect(server: Peer) -> None:
    with Channel(server.address) as channel:
        assert channel.unary(PATH, b"x") == b"x"
        stream = channel.stream(PATH)
        channel.reconnect()
        with pytest.raises(Unavailable):
            stream.receive()
        assert channel.unary(PATH, b"x") == b"x"
        assert len(server.seen) == 3
        stream.close()
