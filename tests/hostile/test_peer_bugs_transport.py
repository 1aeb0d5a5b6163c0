"""What other gRPC clients got wrong about connections, threads and processes, named after issues.

The facts that shape the transport stand at the end: what GOAWAY, a bad frame and a daemon that
starts again do to calls, and that nobody is pinged.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
from collections.abc import Callable
from socket import AF_UNIX, socket

import pytest

from containerd_lite.errors import (
    Cancelled,
    ConnectionLost,
    ConnectionRefused,
    ContainerdError,
    DeadlineExceeded,
    ProtocolError,
    SocketNotFound,
    Unavailable,
)
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.stream import Stream
from tests.conftest import Count
from tests.wire import peer
from tests.wire.peer import (
    PATIENCE,
    Frame,
    Peer,
    Request,
    Wire,
    Worker,
    answering,
    data,
    descriptors,
    echo,
    eventually,
    goaway,
    message,
    ping,
    rst,
    settings,
)

pytestmark = pytest.mark.dependencies

PATH = "/a.v1.Things/Get"
# ---- calls that fail ---------------------------------------------------------------------------


def requests(server: Peer) -> int:
    return sum(found.kind == peer.HEADERS for seen in server.seen for found in seen)


def unary(channel: Channel) -> object:
    return channel.unary(PATH, b"x")


def server_streaming(channel: Channel) -> object:
    with channel.stream(PATH, b"x") as stream:
        return b"".join(stream)


def bidirectional(channel: Channel) -> object:
    with channel.stream(PATH) as stream:
        stream.send(b"x", last=True)
        return b"".join(stream)


def blocked_sender(channel: Channel) -> object:
    with channel.stream(PATH) as stream:
        stream.send(bytes(1 << 20))
        return b"".join(stream)


Caller = Callable[[Channel], object]

STAGES: dict[str, Callable[[Wire, int], bytes]] = {
    "nothing": lambda wire, n: b"",
    "headers": lambda wire, n: wire.headers(n),
    "half a message": lambda wire, n: wire.headers(n) + data(n, message(b"half")[:7]),
    "a message": lambda wire, n: wire.headers(n) + data(n, message(b"whole")),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("caller", [unary, server_streaming, blocked_sender])
@pytest.mark.parametrize("end", ["a reset", "the connection's end"])
def test_purerpc_the_end_of_a_stream_hangs_no_call(caller: Caller, stage: str, end: str) -> None:
    """Nor does the end of the connection, whatever came before; no call here has a deadline."""

    def script(wire: Wire) -> None:
        wire.send(settings())
        stream_id = wire.read_until(peer.HEADERS).stream_id
        wire.send(STAGES[stage](wire, stream_id))
        if end == "a reset":
            wire.send(rst(stream_id, 2))
            wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        worker = Worker(caller, channel)
        with pytest.raises(ProtocolError if end == "a reset" else ConnectionLost):
            worker.result()


@pytest.mark.parametrize(
    ("caller", "refusals", "tries"),
    [
        (unary, 1, 2),
        (unary, 9, 2),
        (server_streaming, 1, 2),
        (server_streaming, 9, 2),
        (bidirectional, 1, 1),
        (blocked_sender, 1, 1),
    ],
)
@pytest.mark.parametrize("way", ["REFUSED_STREAM", "GOAWAY"])
def test_grpcio_refused_streams_are_sent_once_more(
    caller: Caller, refusals: int, tries: int, way: str
) -> None:
    """Once, and only where the call is in our hands as a whole (gRFC A6, transparent retries)."""
    left = [refusals]

    def script(wire: Wire) -> None:
        wire.send(settings())
        while True:
            stream_id = wire.read_until(peer.HEADERS).stream_id
            left[0] -= 1
            if left[0] < 0:
                wire.send(wire.answer(stream_id, b"at last"))
            else:
                wire.send(rst(stream_id, 7) if way == "REFUSED_STREAM" else goaway(0))

    with Peer(script) as server, Channel(server.address) as channel:
        worker = Worker(caller, channel)
        if refusals < tries:
            assert worker.result() == b"at last"
        else:
            with pytest.raises(Unavailable):
                worker.result()
        assert requests(server) == tries
        assert len(server.seen) == (tries if way == "GOAWAY" else 1)


# ---- forks, ends, and channels that are dropped ------------------------------------------------

FORK = """
import os, signal, subprocess, sys, threading, warnings
from containerd_lite.transport.channel import Channel

assert "dataclasses" in sys.modules  # a fork during a late import of it would hang the child
warnings.simplefilter("ignore", DeprecationWarning)  # fork and threads: that is what this is for
sys.setswitchinterval(1e-5)
channel, stop = Channel(sys.argv[1]), threading.Event()

def check(body):
    assert channel.unary("/a.v1.Things/Get", body) == body
    with channel.stream("/a.v1.Things/Get", body) as stream:
        assert b"".join(stream) == body

def load():
    while not stop.is_set():
        check(b"load")

def rounds():
    for _ in range(15):
        check(b"parent")
        subprocess.run(["true"], check=True)
        pid = os.fork()
        if not pid:
            signal.alarm(5)
            try:
                threads = [threading.Thread(target=check, args=(b"child",)) for _ in range(2)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
                check(b"child")
                channel.close()
                os._exit(0)
            finally:
                os._exit(1)
        check(b"parent")
        assert os.waitpid(pid, 0)[1] == 0
    done.append(1)

done = []
threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads: thread.start()
forker = threading.Thread(target=rounds)
forker.start()
forker.join()
stop.set()
for thread in threads: thread.join()
channel.close()
print(len(done))
"""


def test_grpc_18075_fork(count: Count) -> None:
    """A fork in the midst of other threads' calls: neither side hangs, nor does a subprocess."""
    for _ in range(count(1, 25)):
        with Peer(answering(echo)) as server:
            done = subprocess.run(
                [sys.executable, "-W", "error", "-c", FORK, server.address],
                capture_output=True,
                text=True,
                timeout=60,
            )
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_grpc_20026_close_does_not_deadlock(count: Count) -> None:
    """Closed from two threads while one waits for events, one cannot send, and others call."""

    def answer(wire: Wire, request: Request) -> None:
        if request.message == b"events":
            wire.send(wire.headers(request.stream_id), data(request.stream_id, message(b"1")))
        else:
            echo(wire, request)

    def busy() -> None:
        while True:
            channel.unary(PATH, b"x")

    for _ in range(count(15, 300)):
        with Peer(answering(answer, {peer.INITIAL_WINDOW_SIZE: 1000})) as server:
            channel = Channel(server.address)
            events = channel.stream(PATH, b"events")
            assert events.receive() == b"1"
            workers = [Worker(events.receive), Worker(busy), Worker(busy)]
            workers.append(Worker(blocked_sender, channel))
            eventually(lambda server=server: requests(server) >= 6)  # type: ignore[misc]
            closers = [Worker(channel.close) for _ in range(2)]
            for worker in closers:
                worker.result()
            for worker in workers:
                with pytest.raises(Cancelled):
                    worker.result()
            events.close()


def drop_channels(address: str) -> None:
    for number in range(100):
        channel = Channel(address)
        assert channel.unary(PATH, b"x") == b"x"
        stream: Stream | None = channel.stream(PATH, b"y")
        assert stream is not None
        if number % 2:
            assert list(stream) == [b"y"]
        del stream, channel


def test_grpc_38327_channels_that_are_dropped_leave_no_descriptor() -> None:
    """Python's sockets warn when they are closed so; they are closed all the same."""
    with Peer(answering(echo)) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        before = descriptors()
        drop_channels(server.address)
        gc.collect()
        eventually(lambda: descriptors() == before)  # the server's, too
        assert len(server.seen) == 200


# ---- the facts that shape the transport --------------------------------------------------------


def test_fact_1_goaway_lets_accepted_streams_finish() -> None:
    """Both ways, with windows and PING behind GOAWAY; h2 itself refuses all of that."""

    def script(wire: Wire) -> None:
        if wire.number:
            answering(echo)(wire)
        wire.send(settings())
        stream_id = wire.read_until(peer.HEADERS).stream_id
        wire.send(wire.headers(stream_id), data(stream_id, message(b"one")))
        wire.send(goaway(stream_id), ping(b"draining"))
        request = wire.request()  # gives credit, too
        wire.send(data(stream_id, message(b"%d" % len(request.body))), wire.trailers(stream_id))
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        with channel.stream(PATH, timeout=PATIENCE) as stream:
            assert stream.receive() == b"one"
            stream.send(bytes(300_000), last=True)
            assert stream.receive() == b"300005"
            assert stream.receive() is None
        assert channel.unary(PATH, b"next", timeout=PATIENCE) == b"next"
        assert Frame(peer.PING, peer.ACK, 0, b"draining") in server.seen[0]
        eventually(lambda: requests(server) == 2)


def test_fact_2_good_frames_before_a_bad_one_count() -> None:
    """All in one write: an answer, then what breaks the connection and the other call."""
    answered: list[bytes] = []

    def script(wire: Wire) -> None:
        if wire.number:
            answering(echo)(wire)
        wire.send(settings())
        echo(wire, wire.request())
        one, two = wire.request(), wire.request()
        assert one.message != two.message
        answered.append(one.message)
        wire.send(wire.answer(one.stream_id, one.message) + data(0, b"on no stream"))
        wire.wait_closed()

    with Peer(script) as server, Channel(server.address) as channel:
        channel.unary(PATH, timeout=PATIENCE)
        workers = {body: Worker(channel.unary, PATH, body) for body in (b"a", b"b")}
        for body, worker in workers.items():
            try:
                assert worker.result() == body
                assert answered == [body]
            except ProtocolError:
                assert answered != [body]
        assert channel.unary(PATH, b"next", timeout=PATIENCE) == b"next"
        assert len(server.seen) == 2


def quiet(wire: Wire, request: Request) -> None:
    if request.message != b"events":
        echo(wire, request)


def check_gone(channel: Channel, gone: type[ContainerdError]) -> None:
    """Every call fails, unary or streaming; one that waits does so until its deadline."""
    for caller in (unary, server_streaming):
        with pytest.raises(ContainerdError) as caught:
            caller(channel)
        assert type(caught.value) is gone
    with pytest.raises((gone, DeadlineExceeded)):
        channel.unary(PATH, b"x", timeout=0.1, wait_for_ready=True)


@pytest.mark.parametrize("gone", [SocketNotFound, ConnectionRefused])
def test_fact_3_a_daemon_that_starts_again(gone: type[ContainerdError]) -> None:
    """It ends without GOAWAY; then its socket's file is away, or is there and nobody behind it."""
    with Peer(answering(quiet)) as server, Channel(server.address) as channel:
        for _ in range(3):
            assert channel.unary(PATH, b"x", timeout=PATIENCE) == b"x"
            expected = requests(server) + 2
            events = channel.stream(PATH, b"events")
            in_flight = [Worker(events.receive), Worker(channel.unary, PATH, b"events")]
            eventually(lambda: requests(server) == expected)  # noqa: B023
            server.stop()
            if gone is ConnectionRefused:
                with socket(AF_UNIX) as stale:
                    stale.bind(str(server.path))
            for worker in in_flight:
                with pytest.raises(ConnectionLost):
                    worker.result()
            events.close()
            check_gone(channel, gone)
            patient = Worker(patiently, channel)
            server.path.unlink(missing_ok=True)
            server.listen()
            assert patient.result() == b"y"


def patiently(channel: Channel) -> object:
    return channel.unary(PATH, b"y", timeout=PATIENCE, wait_for_ready=True)


def test_fact_4_nobody_is_pinged() -> None:
    """containerd ends a connection on which an idle client pings; its own PINGs are answered."""

    def answer(wire: Wire, request: Request) -> None:
        wire.send(ping(b"estimate"))
        quiet(wire, request)

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        assert channel.unary(PATH, b"x", timeout=PATIENCE) == b"x"
        with channel.stream(PATH, b"events") as events:
            with pytest.raises(DeadlineExceeded):
                events.receive(timeout=0.3)
            with pytest.raises(DeadlineExceeded):
                channel.unary(PATH, b"events", timeout=0.1)
        assert channel.unary(PATH, b"x", timeout=PATIENCE) == b"x"
        pings = [found for seen in server.seen for found in seen if found.kind == peer.PING]
    assert set(pings) == {Frame(peer.PING, peer.ACK, 0, b"estimate")}
    assert len(pings) >= 3
