"""Connections as they are needed: made, shared, lost, made again."""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from containerd_lite.errors import (
    Cancelled,
    ConnectionLost,
    ConnectionRefused,
    ContainerdError,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    ProtocolError,
    SocketNotFound,
    Unavailable,
    Unimplemented,
)
from containerd_lite.transport.address import Address
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.link import Link
from containerd_lite.wire.call import Call
from tests.wire import peer
from tests.wire.peer import (
    Peer,
    Request,
    Wire,
    Worker,
    answering,
    descriptors,
    echo,
    eventually,
    message,
)

PATH = "/a.v1.Things/Get"


@pytest.fixture(autouse=True)
def leaks_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    before = descriptors()
    yield
    if "interrupts" in request.node.name:
        gc.collect()  # what was interrupted before it had a name
        assert before <= descriptors() <= before + 4  # socket.socketpair itself can lose some
        return
    assert descriptors() == before


@pytest.fixture
def server() -> Iterator[Peer]:
    with Peer(answering(echo)) as running:
        yield running


def error_of(channel: Channel, **options: float) -> ContainerdError:
    with pytest.raises(ContainerdError) as caught:
        channel.unary(PATH, b"x", **options)  # type: ignore[arg-type]
    return caught.value


def test_an_address_has_its_tls(server: Peer) -> None:
    with pytest.raises(InvalidArgument, match="one of the two"):
        Channel(Address.parse(server.address), tls=False)


# ---- calls -------------------------------------------------------------------------------------


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
        assert told[1].endswith("u")
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


echo_script = answering(echo)


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
        assert "Is this the gRPC socket" in error.remedy
        assert not channel._links


@pytest.mark.parametrize("script", [http1, ssh])
def test_what_came_before_the_call_was_begun_counts(
    script: peer.Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Link.start

    def late(link: Link, *args: Any) -> Call | None:
        select.select([link._pump.sock], [], [], peer.PATIENCE)
        return start(link, *args)

    monkeypatch.setattr(Link, "start", late)
    with Peer(script) as server, Channel(server.address) as channel:
        error = error_of(channel)
        assert type(error) is ProtocolError
        assert "Is this the gRPC socket" in error.remedy
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


def hang(wire: Wire, request: Request) -> None:
    """Answers nothing, but what says so."""
    if request.message != b"x":
        echo(wire, request)


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


# ---- retries and new connections ---------------------------------------------------------------


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
        assert type(error_of(channel)) is ProtocolError
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


def test_threads_that_dial_at_once_share_one_connection(server: Peer) -> None:
    with Channel(server.address) as channel:
        barrier = threading.Barrier(16)

        def call() -> object:
            barrier.wait(peer.PATIENCE)
            return channel.unary(PATH, b"x")

        assert [worker.result() for worker in [Worker(call) for _ in range(16)]] == [b"x"] * 16
        assert len(channel._links) == 1


# ---- many threads ------------------------------------------------------------------------------


@pytest.fixture
def hectic() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hectic")
def test_each_of_many_threads_gets_its_own_answers() -> None:
    limited = {peer.MAX_CONCURRENT_STREAMS: 5}

    def run(channel: Channel, name: int) -> None:
        for number in range(60):
            body = b"%d/%d" % (name, number) + bytes(number % 7 * 1000)
            assert channel.unary(PATH, body, timeout=30) == body

    for values in (None, limited):
        with Peer(answering(echo, values)) as server, Channel(server.address) as channel:
            for worker in [Worker(run, channel, name) for name in range(16)]:
                worker.result()
            assert len(channel._links) == 1


@pytest.mark.usefixtures("hectic")
def test_some_cancel_some_time_out_some_abandon_and_nobody_hangs() -> None:
    def run(channel: Channel, name: int) -> None:
        dice = random.Random(name)
        for number in range(40):
            body = b"%d/%d" % (name, number)
            match dice.randrange(6):
                case 0:
                    with pytest.raises(DeadlineExceeded):
                        channel.unary(PATH, b"x", timeout=0.001)
                case 1:
                    channel.stream(PATH, b"x")
                case 2:
                    with channel.stream(PATH, body) as stream:
                        threading.Thread(target=stream.cancel).start()
                        with suppress(Cancelled):
                            assert stream.receive() == body
                case 3:
                    assert list(channel.stream(PATH, body)) == [body]
                case _:
                    assert channel.unary(PATH, body, timeout=30) == body

    with Peer(answering(hang)) as server, Channel(server.address) as channel:
        for worker in [Worker(run, channel, name) for name in range(8)]:
            worker.result()
        assert channel.unary(PATH, b"end") == b"end"
        assert len(channel._links) <= 5
        assert all(link.is_idle for link in channel._links)


@pytest.mark.usefixtures("hectic")
def test_close_and_reconnect_under_load() -> None:
    def run(channel: Channel) -> int:
        done = 0
        while True:
            try:
                assert channel.unary(PATH, b"y") == b"y"
                done += 1
            except Unavailable:
                pass
            except Cancelled:
                return done

    with Peer(echo_script) as server:
        channel = Channel(server.address)
        workers = [Worker(run, channel) for _ in range(8)]

        def is_enough() -> bool:
            channel.reconnect()
            return len(server.seen) >= 30

        try:
            eventually(is_enough)
        finally:
            channel.close()
        for worker in workers:
            worker.result()


class Interrupt(BaseException):
    """As KeyboardInterrupt."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("hectic")
def test_interrupts_anywhere_hang_nobody(server: Peer) -> None:
    """The main thread is interrupted again and again in its calls; the others go on.

    A socket may be interrupted between its making and its first name: then it is the collector
    that closes it, and warns.
    """
    if sys.gettrace() is not None:
        pytest.skip("a trace function can raise between a lock and its with; a signal cannot")
    stop = threading.Event()

    def run() -> int:
        done = 0
        while not stop.is_set():
            try:
                assert channel.unary(PATH, b"%d" % done, timeout=20) == b"%d" % done
                done += 1
            except Unavailable:
                pass  # the interrupt broke the connection
        return done

    def pester() -> None:
        while not stop.wait(dice.uniform(1e-5, 3e-3)):
            if armed[0] and not sent[0]:
                sent[0] = True
                signal.pthread_kill(main, signal.SIGUSR1)

    def ring(number: int, where: FrameType | None) -> None:
        sent[0] = False
        if armed[0]:
            armed[0] = False
            raise Interrupt

    dice, main, armed, sent = random.Random(1), threading.get_ident(), [False], [False]
    before = signal.signal(signal.SIGUSR1, ring)
    with Channel(server.address) as channel:
        workers = [Worker(run) for _ in range(3)]
        pesterer = Worker(pester)
        hits = 0
        try:
            while hits < 300:
                try:
                    try:
                        armed[0] = True
                        channel.unary(PATH, b"main", timeout=20)
                    finally:
                        armed[0] = False
                except Interrupt:
                    hits += 1
                except Unavailable:
                    pass  # the interrupt before broke the connection
        finally:
            stop.set()
            pesterer.result()
            signal.signal(signal.SIGUSR1, before)
        assert all(worker.result() for worker in workers)
        assert channel.unary(PATH, b"end", timeout=20) == b"end"


# ---- fork --------------------------------------------------------------------------------------

FORK = """
import os, sys, threading, warnings
from containerd_lite.errors import Cancelled, FailedPrecondition
from containerd_lite.transport.channel import Channel

warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads: that is what this is for
PATH = "/a.v1.Things/Get"
channel = Channel(sys.argv[1])
stop = threading.Event()

def load():
    while not stop.is_set():
        assert channel.unary(PATH, b"load", timeout=20) == b"load"

def child(number, stream):
    for function in (stream.receive, lambda: stream.send(b"x")):
        try:
            function()
        except FailedPrecondition:
            pass
        else:
            raise AssertionError("the parent's stream")
    threads = [threading.Thread(target=check, args=(number,)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    stream.close()
    check(number)
    assert len(channel._links) == 1, channel._links
    channel.close()
    try:
        channel.unary(PATH, b"x")
    except Cancelled:
        pass

def check(number):
    assert channel.unary(PATH, b"%d" % number, timeout=20) == b"%d" % number

threads = [threading.Thread(target=load) for _ in range(int(sys.argv[2]))]
for thread in threads: thread.start()
with channel.stream(PATH) as stream:
    for number in range(20):
        check(number)
        pid = os.fork()
        if not pid:
            code = 1
            try:
                child(number, stream)
                code = 0
            except BaseException as error:
                print("child", repr(error), file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        check(number)
        assert os.waitpid(pid, 0)[1] == 0
    stop.set()
    for thread in threads: thread.join()
    stream.send(b"still mine", last=True)
    assert stream.receive() == b"still mine"
    assert stream.receive() is None
channel.close()
print("done")
"""


@pytest.mark.parametrize("threads", [0, 4])
def test_fork(server: Peer, threads: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, server.address, str(threads)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_the_child_of_a_closed_channel_stays_closed(server: Peer) -> None:
    channel = Channel(server.address)
    assert channel.unary(PATH, b"x") == b"x"
    channel.close()
    channel._pid = -1  # as in a child
    with pytest.raises(Cancelled):
        channel.unary(PATH, b"x")


def test_an_internal_error_of_the_peers_is_internal() -> None:
    def answer(wire: Wire, request: Request) -> None:
        wire.send(wire.headers(request.stream_id), wire.trailers(request.stream_id, 13))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert type(error_of(channel)) is Internal


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
