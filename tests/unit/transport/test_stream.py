"""One streaming call as its caller sees it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from containerd_lite.errors import Cancelled, DeadlineExceeded, NotFound, Unavailable
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.stream import UNDECODED, Stream
from tests.wire import peer
from tests.wire.peer import (
    RESPONSE,
    Peer,
    Request,
    Wire,
    Worker,
    answering,
    descriptors,
    eventually,
    message,
)

pytestmark = pytest.mark.interpreter

PATH = "/a.v1.Things/Watch"


def serve(wire: Wire, request: Request) -> None:
    """Does what the first message says."""
    stream_id, what = request.stream_id, request.message.decode()
    if what == "two":
        wire.send(wire.answer(stream_id, b"one", b"two"))
    elif what == "fail":
        more = (("grpc-message", "no%20such thing"), ("grpc-status-details-bin", "AQI"))
        wire.send(wire.headers(stream_id), peer.data(stream_id, message(b"one")))
        wire.send(wire.trailers(stream_id, 5, *more))
    elif what == "hang":
        fields = [*RESPONSE, ("x", "y")]
        wire.send(wire.headers(stream_id, fields), peer.data(stream_id, message(b"one")))
    elif what == "large":
        wire.send(wire.headers(stream_id))
        flood(wire, stream_id)
    else:
        wire.send(wire.answer(stream_id, bytes(request.body)))


def flood(wire: Wire, stream_id: int) -> None:
    """Messages of 1 MiB as the window goes, at most 64."""
    window = 4 << 20
    for _ in range(64):
        body = message(bytes(1 << 20))
        for at in range(0, len(body), 16384):
            part = body[at : at + 16384]
            while window < len(part):
                window += wire.read_until(peer.WINDOW_UPDATE, stream_id).word
            wire.send(peer.data(stream_id, part))
            window -= len(part)
    wire.send(wire.trailers(stream_id))


@pytest.fixture
def server() -> Iterator[Peer]:
    with Peer(answering(serve)) as running:
        yield running


@pytest.fixture
def channel(server: Peer) -> Iterator[Channel]:
    before = descriptors()
    with Channel(server.address) as open_one:
        yield open_one
    assert not open_one._links
    server.stop()
    assert descriptors() <= before


def cancels(server: Peer, number: int = 0) -> list[int]:
    """The codes of the RST_STREAM frames that a connection of the peer's has seen."""
    seen = server.seen[number] if number < len(server.seen) else []
    return [found.word for found in seen if found.kind == peer.RST_STREAM]


def is_crowded(stream: Stream, followers: int) -> bool:
    return stream._link._is_polling and len(stream._link._followers) == followers


def watch(server: Peer) -> None:
    """Make the peer read what comes outside of a request: it does, in `request`."""
    eventually(lambda: bool(cancels(server)))


def test_server_streaming(channel: Channel) -> None:
    with channel.stream(PATH, b"two") as stream:
        assert list(stream) == [b"one", b"two"]
        assert stream.receive() is None
        assert stream.is_done
        assert stream.poll() is None
    assert "Things.Watch" in repr(stream)


def test_bidirectional(channel: Channel) -> None:
    with channel.stream(PATH) as stream:
        stream.send(b"he", memoryview(b"llo"))
        stream.send(b"")
        stream.send(b"!", last=True)
        stream.finish_sending()
        got = stream.receive()
    assert got == message(b"hello") + message(b"") + message(b"!")


def test_failure(channel: Channel, server: Peer) -> None:
    stream = channel.stream(PATH, b"fail")
    assert stream.receive() == b"one"
    for _ in range(2):
        with pytest.raises(NotFound) as caught:
            stream.receive()
    assert caught.value.message == "no such thing"
    assert caught.value.operation == "Things.Watch"
    assert caught.value.address == server.address
    assert caught.value.details == ((UNDECODED, b"\1\2"),)


def test_metadata(channel: Channel) -> None:
    with channel.stream(PATH, b"hang") as stream:
        assert stream.receive() == b"one"
        assert stream.initial_metadata == (("x", "y"),)
        assert stream.trailing_metadata == ()


def test_a_wait_of_its_own_leaves_the_call_as_it_is(channel: Channel) -> None:
    with channel.stream(PATH, b"hang", timeout=60) as stream:
        assert stream.receive(timeout=5) == b"one"
        for _ in range(2):
            with pytest.raises(DeadlineExceeded, match="no message arrived"):
                stream.receive(timeout=0.01)
        assert not stream.is_done


def test_the_deadline_ends_the_call(channel: Channel, server: Peer) -> None:
    with channel.stream(PATH, b"hang", timeout=0.1) as stream:
        assert stream.receive() == b"one"
        with pytest.raises(DeadlineExceeded) as caught:
            stream.receive()
        assert isinstance(caught.value, TimeoutError)
        assert stream.is_done
        watch(server)
    assert cancels(server) == [8]


def test_a_deadline_while_sending(server: Peer) -> None:
    with Channel(server.address) as channel, channel.stream(PATH, timeout=0.1) as stream:
        server.stop()  # before it can grant anything
        with pytest.raises((DeadlineExceeded, Unavailable)):
            Worker(lambda: (stream.send(bytes(1 << 20)), stream.receive())).result()  # type: ignore[func-returns-value]


def test_cancel_from_another_thread(channel: Channel, server: Peer) -> None:
    with channel.stream(PATH, b"hang") as stream:
        assert stream.receive() == b"one"
        worker = Worker(stream.receive)
        eventually(lambda: stream._link._is_polling)
        stream.cancel()
        with pytest.raises(Cancelled):
            worker.result()
        watch(server)
    assert cancels(server) == [8]


def test_close_from_two_threads_gives_back_once(channel: Channel) -> None:
    stream = channel.stream(PATH, b"hang")
    barrier = threading.Barrier(4)

    def close() -> None:
        barrier.wait(peer.PATIENCE)
        stream.close()

    for worker in [Worker(close) for _ in range(4)]:
        worker.result()
    assert channel._spare == [stream._link]


def test_a_stream_that_was_read_to_its_end_gives_its_connection_back(channel: Channel) -> None:
    for _ in range(5):
        assert list(channel.stream(PATH, b"two")) == [b"one", b"two"]
    assert len(channel._links) == 1


def test_leaving_while_another_thread_waits_keeps_no_connection(channel: Channel) -> None:
    for _ in range(3):
        with channel.stream(PATH, b"hang") as stream:
            assert stream.receive() == b"one"
            workers = [Worker(stream.receive) for _ in range(3)]
            eventually(partial(is_crowded, stream, 2))
        for worker in workers:
            with pytest.raises(Cancelled):
                worker.result()
    assert len(channel._links) == len(channel._spare) == 1


def test_an_abandoned_stream_is_cancelled_at_the_next_call(channel: Channel, server: Peer) -> None:
    stream: Stream | None = channel.stream(PATH, b"hang")
    assert stream is not None
    stream.receive()
    stream = None
    gc.collect()
    assert cancels(server) == []
    channel.unary(PATH, b"echo")
    watch(server)
    assert cancels(server) == [8]
    assert len(channel._links) == 2
    assert len(channel._spare) == 1


def test_abandoned_streams_keep_no_connections(channel: Channel) -> None:
    for _ in range(20):
        channel.stream(PATH, b"hang").receive()
        channel.stream(PATH, b"two").receive()
    gc.collect()
    channel.unary(PATH, b"echo")
    assert len(channel._links) <= 5


def test_an_unread_stream_starves_nobody_and_is_bounded(channel: Channel) -> None:
    with channel.stream(PATH, b"large") as stream:
        unread = stream._call.reader.messages

        def look() -> int:
            with stream._link._lock:
                stream._link._read_available()
            return sum(map(len, unread))

        eventually(lambda: look() >= 3 << 20)
        for _ in range(50):
            assert channel.unary(PATH, b"echo") == message(b"echo")
            assert look() <= 4 << 20


def test_a_large_stream_is_read_to_its_end(channel: Channel) -> None:
    with channel.stream(PATH, b"large") as stream:
        assert sum(map(len, stream)) == 64 << 20


def test_one_sends_while_another_receives(server: Peer) -> None:
    """Echo of 300 messages, each sent when there is room, while the answers are read."""

    def script(wire: Wire) -> None:
        wire.send(peer.settings())
        stream_id = wire.read_until(peer.HEADERS).stream_id
        wire.send(wire.headers(stream_id))
        while True:
            found = wire.read_until(peer.DATA)
            wire.send(peer.data(stream_id, found.payload))
            if found.flags & peer.END_STREAM:
                wire.send(wire.trailers(stream_id))
                return wire.wait_closed()

    with Peer(script) as echoing, Channel(echoing.address) as channel:
        with channel.stream(PATH) as stream:

            def send() -> None:
                for number in range(300):
                    stream.send(b"%d" % number, bytes(5000))
                stream.finish_sending()

            worker = Worker(send)
            got = [int(bytes(body[:-5000])) for body in stream]
            worker.result()
        assert got == list(range(300))


# ---- retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_refused_stream_begins_once_more(refusals: int) -> None:  # gRFC A6
    left = [refusals]

    def answer(wire: Wire, request: Request) -> None:
        left[0] -= 1
        if left[0] >= 0:
            wire.send(peer.rst(request.stream_id, 7))
        else:
            serve(wire, request)

    before = descriptors()
    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        with channel.stream(PATH, b"two") as stream:
            if refusals == 1:
                assert list(stream) == [b"one", b"two"]
            else:
                with pytest.raises(Unavailable):
                    stream.receive()
        assert left[0] == (-1 if refusals == 1 else 0)
        assert len(channel._links) == len(channel._spare) == 1
    assert descriptors() == before


def test_a_stream_that_was_answered_does_not_begin_again() -> None:
    seen = []

    def answer(wire: Wire, request: Request) -> None:
        seen.append(request)
        wire.send(wire.headers(request.stream_id), peer.data(request.stream_id, message(b"one")))
        wire.send(peer.rst(request.stream_id, 7))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        with channel.stream(PATH, b"x") as stream:
            assert stream.receive() == b"one"
            with pytest.raises(Unavailable):
                stream.receive()
        assert len(seen) == 1


def test_a_stream_that_sends_on_does_not_begin_again() -> None:
    """What was sent is not kept: the caller has to say it again."""

    def answer(wire: Wire, request: Request) -> None:
        wire.send(peer.rst(request.stream_id, 7))

    with Peer(answering(answer)) as server, Channel(server.address) as channel:
        with channel.stream(PATH) as stream:
            stream.send(b"x", last=True)
            with pytest.raises(Unavailable):
                stream.receive()
        assert len([f for f in server.seen[0] if f.kind == peer.HEADERS]) == 1
