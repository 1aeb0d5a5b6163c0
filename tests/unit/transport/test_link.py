"""One connection under many threads: who reads, who is woken, and what interruptions do.

The link's socket is one end of a pair; the test holds the other and says what comes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from linecache import getline
from types import FrameType

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import InvalidArgument
from containerd_lite.transport.link import Link
from containerd_lite.transport.turns import Visit
from containerd_lite.wire import metadata
from containerd_lite.wire.call import Buffer, Call
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.metadata import Status
from tests.wire import peer
from tests.wire.peer import Frame, Wire, Worker, descriptors, eventually, message

NEVER = Deadline(None)
PATH = "/a.B/C"
CLOSED = Status(metadata.CANCELLED, "closed", origin="local")


class Interrupt(BaseException):
    """As KeyboardInterrupt: may come up anywhere, and is no error."""


class Pair:
    """A link and the server at its other end, which acts in the test's own thread."""

    def __init__(self, *, ready: bool = True) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(peer.PATIENCE)
        self.sock = theirs
        self.server = Wire(theirs, [], 0)
        self.link = Link(ours, Connection(), Deadline(peer.PATIENCE))
        if ready:
            self.server.send(peer.settings())

    def start(self, *body: bytes) -> Call:
        call = self.link.start(PATH, (), NEVER, body or None)
        assert call is not None
        return call

    def close(self) -> None:
        self.link.close(CLOSED)
        self.sock.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    before = descriptors()
    pair = Pair()
    yield pair
    pair.close()
    assert descriptors() == before


def ended(link: Link, call: Call, deadline: Deadline) -> bool:
    """Wait until a message has come, or the call has ended."""
    in_time, _ = link.receive(call, deadline)
    return in_time


def is_reading(link: Link) -> bool:
    return link._is_polling


def is_crowded(link: Link, followers: int) -> bool:
    return link._is_polling and len(link._followers) == followers


def test_one_call(pair: Pair) -> None:
    call = pair.start(b"ping")
    request = pair.server.request()
    assert request.message == b"ping"
    pair.server.send(pair.server.answer(1, b"pong"))
    assert pair.link.receive(call, NEVER) == (True, b"pong")
    assert pair.link.receive(call, NEVER) == (True, None)
    assert pair.link.is_idle


def test_a_reader_serves_followers_and_hands_over(pair: Pair) -> None:
    calls = [pair.start(b"%d" % n) for n in range(3)]
    workers = []
    for number, call in enumerate(calls):
        workers.append(Worker(pair.link.receive, call, NEVER))
        eventually(partial(is_crowded, pair.link, number))
    pair.server.send(pair.server.answer(3, b"b"))  # a follower's
    assert workers[1].result() == (True, b"b")
    pair.server.send(pair.server.answer(1, b"a"))  # the reader's own
    assert workers[0].result() == (True, b"a")
    eventually(lambda: is_reading(pair.link))
    pair.server.send(pair.server.answer(5, b"c"))
    assert workers[2].result() == (True, b"c")


def test_a_follower_that_times_out_promotes_the_next(pair: Pair) -> None:
    """The reader leaves in the very moment in which the follower it wakes gives up."""
    first, second, third = (pair.start(b"") for _ in range(3))
    reader = Worker(ended, pair.link, first, NEVER)
    eventually(lambda: is_reading(pair.link))
    hurried = Worker(ended, pair.link, second, Deadline(0.05))
    eventually(lambda: len(pair.link._followers) == 1 or not hurried.is_alive())
    patient = Worker(ended, pair.link, third, NEVER)
    eventually(lambda: third in {waiter.call for waiter in pair.link._followers})
    with pair.link._lock:  # nobody gets on until the deadline has passed
        pair.server.send(pair.server.answer(1))
        hurried.join(0.1)
    assert reader.result() is True
    assert hurried.result() is False
    pair.server.send(pair.server.answer(5))
    assert patient.result() is True


def test_cancel_wakes_the_reader(pair: Pair) -> None:
    call = pair.start(b"")
    worker = Worker(ended, pair.link, call, NEVER)
    eventually(lambda: is_reading(pair.link))
    pair.link.cancel(call, CLOSED)
    assert worker.result() is True
    assert call.status == CLOSED
    assert pair.server.read_until(peer.RST_STREAM).word == 8


def test_cancel_wakes_a_follower(pair: Pair) -> None:
    one, two = pair.start(b""), pair.start(b"")
    reader = Worker(ended, pair.link, one, NEVER)
    eventually(lambda: is_reading(pair.link))
    follower = Worker(pair.link.receive, two, NEVER)
    eventually(lambda: len(pair.link._followers) == 1)
    pair.link.cancel(two, CLOSED)
    assert follower.result() == (True, None)
    pair.server.send(pair.server.answer(1))
    assert reader.result() is True


def test_close_while_somebody_polls(pair: Pair) -> None:
    calls = [pair.start(b"") for _ in range(3)]
    workers = [Worker(ended, pair.link, call, NEVER) for call in calls]
    eventually(lambda: is_reading(pair.link) and len(pair.link._followers) == 2)
    pair.link.close(CLOSED)
    pair.link.close(CLOSED)
    assert [worker.result() for worker in workers] == [True] * 3
    assert {call.status for call in calls} == {CLOSED}
    eventually(lambda: pair.link._pump.sock.fileno() == -1)
    assert not pair.link.is_usable
    assert pair.link.start(PATH, (), NEVER, (b"",)) is None


def test_the_peer_goes(pair: Pair) -> None:
    calls = [pair.start(b"") for _ in range(3)]
    workers = [Worker(ended, pair.link, call, NEVER) for call in calls]
    eventually(lambda: is_reading(pair.link) and len(pair.link._followers) == 2)
    pair.sock.close()
    assert [worker.result() for worker in workers] == [True] * 3
    assert {call.status.code for call in calls if call.status} == {metadata.UNAVAILABLE}


def test_a_peer_that_went_while_nobody_looked(pair: Pair) -> None:
    ended(pair.link, pair.start(b""), Deadline(0.05))
    pair.sock.close()
    assert pair.link.start(PATH, (), NEVER, (b"",)) is None


def test_nothing_was_sent_when_the_first_write_failed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer goes between the look and the write."""
    pair.start(b"")
    monkeypatch.setattr(pair.link, "_look", lambda: pair.sock.close())
    assert pair.link.start(PATH, (), NEVER, (b"",)) is None


def test_what_the_peer_said_before_it_went_is_read(pair: Pair) -> None:
    call = pair.start()
    parts = [peer.data(1, message(bytes(10000))) for _ in range(10)]
    pair.server.send(pair.server.headers(1), *parts, pair.server.trailers(1, 9))
    pair.sock.close()
    assert pair.link.send(call, (b"x",), False, NEVER)
    assert len(call.reader.messages) == 10
    assert call.status == Status(metadata.FAILED_PRECONDITION)


# ---- sending -----------------------------------------------------------------------------------

LARGE = bytes(1 << 20)


def clog(pair: Pair) -> Call:
    """An open call; the peer grants windows without end, and does not read."""
    pair.server.send(peer.window_update(0, 1 << 30), peer.settings({4: 1 << 30}))
    call = pair.start()
    pair.link.poll(call)
    return call


@pytest.mark.parametrize("sender_first", [True, False])
def test_a_sender_is_woken_when_all_is_sent(pair: Pair, sender_first: bool) -> None:
    """Nothing comes from the peer: the socket's room alone must wake it, whoever polls."""
    call = clog(pair)
    jobs: list[Callable[[], object]] = [
        partial(pair.link.send, call, (LARGE,), True, NEVER),
        partial(pair.link.receive, call, NEVER),
    ]
    if not sender_first:
        jobs.reverse()
    workers = []
    for number, job in enumerate(jobs):
        workers.append(Worker(job))
        eventually(partial(is_crowded, pair.link, number))
    if not sender_first:
        workers.reverse()
    size = 0
    while size < len(LARGE) + 5:
        found = pair.server.read()
        size += len(found.payload) if found.kind == peer.DATA else 0
    assert workers[0].result() is True
    pair.server.send(pair.server.answer(1, b"thanks"))
    assert workers[1].result() == (True, b"thanks")


def test_a_sender_is_woken_by_another_threads_write(pair: Pair) -> None:
    call = clog(pair)
    worker = Worker(pair.link.send, call, (LARGE,), True, NEVER)
    eventually(lambda: is_reading(pair.link))
    with pair.link._lock:  # all is read and sent while the sender cannot look
        while buffers := pair.link._pump.next_buffers():
            pair.link._pump.wrote(buffers, pair.link._pump.write(buffers))
            pair.sock.recv(1 << 20)
    assert worker.result() is True


def test_a_sender_that_polls_is_told_that_another_thread_has_sent_all(pair: Pair) -> None:
    call = clog(pair)
    worker = Worker(pair.link.send, call, (LARGE,), True, NEVER)
    eventually(lambda: is_reading(pair.link))
    with pair.link._lock:  # and the socket has no room left
        pair.link._wire.outgoing.clear()
        pair.link._pump.has_drained = True
        pair.link._wake()
    assert worker.result() is True


def test_the_reader_polls_for_the_room_that_another_call_wants(pair: Pair) -> None:
    call = clog(pair)
    other = pair.start(b"")
    reader = Worker(ended, pair.link, other, NEVER)
    eventually(lambda: is_reading(pair.link))
    sender = Worker(pair.link.send, call, (LARGE,), True, NEVER)
    size = 0
    while size < len(LARGE) + 5:
        found = pair.server.read()
        size += len(found.payload) if (found.kind, found.stream_id) == (peer.DATA, 1) else 0
    assert sender.result() is True
    pair.server.send(pair.server.answer(3))
    assert reader.result() is True


def test_a_window_wakes_the_sender(pair: Pair) -> None:
    call = pair.start()
    worker = Worker(pair.link.send, call, (bytes(100000),), True, NEVER)
    found = pair.server.read_until(peer.DATA)
    size = len(found.payload)
    while size < 100005:  # with credit as it goes
        size += len(pair.server.read_until(peer.DATA).payload)
    assert worker.result() is True


def test_a_blocked_sender_reads(pair: Pair) -> None:
    call = clog(pair)
    worker = Worker(pair.link.send, call, (LARGE,), True, NEVER)
    eventually(lambda: is_reading(pair.link))
    other = pair.start(b"")
    follower = Worker(ended, pair.link, other, NEVER)
    pair.server.send(pair.server.answer(3), pair.server.answer(1, status=8))
    assert follower.result() is True
    assert worker.result() is True  # the call has ended: nothing more is sent
    assert call.status == Status(metadata.RESOURCE_EXHAUSTED)


def test_a_sender_has_a_deadline(pair: Pair) -> None:
    call = clog(pair)
    assert pair.link.send(call, (LARGE,), True, Deadline(0.02)) is False


def test_bad_requests_break_nothing(pair: Pair) -> None:
    call = pair.start(b"")
    with pytest.raises(InvalidArgument):
        pair.link.start(PATH, (("a", "\n"),), NEVER, (b"",))
    with pytest.raises(TypeError):
        pair.link.start(PATH, (), NEVER, ("text",))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pair.link.send(call, (7,), False, NEVER)  # type: ignore[arg-type]
    pair.server.send(pair.server.answer(1))
    assert ended(pair.link, call, NEVER)
    assert call.status == Status(metadata.OK)


def test_what_was_written_when_the_connection_broke_is_not_written_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader finds a fault while another thread's write is not accounted for yet."""
    reader = Worker(ended, pair.link, pair.start(b""), NEVER)
    eventually(lambda: is_reading(pair.link))
    write = pair.link._pump.write

    def slow(buffers: list[Buffer]) -> int | Status:
        monkeypatch.undo()
        went = write(buffers)
        pair.server.send(peer.ping(b"short"))
        reader.result()
        return went

    monkeypatch.setattr(pair.link._pump, "write", slow)
    pair.start(b"once")
    found = last_words(pair)
    assert [f.stream_id for f in found if f.kind == peer.HEADERS] == [1, 3]
    assert found[-1] == Frame(peer.GOAWAY, 0, 0, peer.word(0) + peer.word(6))


def last_words(pair: Pair) -> list[Frame]:
    """All that the client has said, once it has closed."""
    found = []
    with suppress(peer.Closed):
        while True:
            found.append(pair.server.read())
    return found


def test_what_waits_to_go_out_goes_before_the_end(pair: Pair) -> None:
    """A PING that came with a call's end is answered, if not at the next write (RFC 9113, 6.7)."""
    call = pair.start(b"")
    pair.server.send(peer.ping(b"with end"), pair.server.answer(1))
    assert ended(pair.link, call, NEVER)
    pair.link.close(CLOSED)
    assert last_words(pair)[-1] == Frame(peer.PING, peer.ACK, 0, b"with end")


# ---- receiving ---------------------------------------------------------------------------------


def test_two_receivers_of_one_call_share_its_messages(pair: Pair) -> None:
    call = pair.start(b"")
    workers = [Worker(pair.link.receive, call, NEVER) for _ in range(2)]
    eventually(lambda: is_reading(pair.link) and len(pair.link._followers) == 1)
    pair.server.send(pair.server.headers(1), peer.data(1, message(b"a")))
    eventually(lambda: not all(worker.is_alive() for worker in workers))
    pair.server.send(peer.data(1, message(b"b")))
    results = [worker.result() for worker in workers]
    assert (True, b"a") in results
    assert (True, b"b") in results


def test_poll_never_waits_and_gives_credit(pair: Pair) -> None:
    call = pair.start(b"")
    assert pair.link.poll(call) is None
    body = message(bytes(1 << 20))
    parts = [peer.data(1, body[at : at + 16384]) for at in range(0, len(body), 16384)]
    worker = Worker(pair.server.send, pair.server.headers(1), *parts)
    eventually(lambda: pair.link.poll(call) is not None)
    worker.result()
    assert pair.server.read_until(peer.WINDOW_UPDATE, 1).word == len(body)


def test_more_than_one_response_ends_a_unary_call(pair: Pair) -> None:
    worker = Worker(pair.link.unary, PATH, (), NEVER, (b"",))
    pair.server.request()
    pair.server.send(pair.server.headers(1), peer.data(1, message(b"a") * 2))
    call = worker.result()
    assert isinstance(call, Call)
    assert call.status is not None
    assert call.status.code == metadata.INTERNAL
    assert pair.server.read_until(peer.RST_STREAM).word == 8


def test_a_unary_call_and_its_deadline(pair: Pair) -> None:
    call = pair.link.unary(PATH, (), Deadline(0.02), (b"",))
    assert call is not None
    assert call.status is not None
    assert (call.status.code, call.status.origin) == (metadata.DEADLINE_EXCEEDED, "local")
    assert pair.server.read_until(peer.RST_STREAM).word == 8


@pytest.mark.parametrize("timeout", [float("inf"), 1e10, 3e6])
def test_deadlines_in_the_far_future(pair: Pair, timeout: float) -> None:
    one, two = (pair.link.start(PATH, (), Deadline(timeout), (b"",)) for _ in range(2))
    assert one is not None
    assert two is not None
    reader = Worker(ended, pair.link, one, Deadline(timeout))
    eventually(lambda: is_reading(pair.link))
    follower = Worker(ended, pair.link, two, Deadline(timeout))
    eventually(lambda: len(pair.link._followers) == 1)
    pair.server.send(pair.server.answer(3), pair.server.answer(1))
    assert (reader.result(), follower.result()) == (True, True)


def test_a_silent_peer() -> None:
    pair = Pair(ready=False)
    pair.link._ready_by = Deadline(0.05)
    calls = [pair.start(b"") for _ in range(2)]
    workers = [Worker(ended, pair.link, call, NEVER) for call in calls]
    assert [worker.result() for worker in workers] == [True, True]
    for call in calls:
        assert call.status is not None
        assert call.status.code == metadata.UNAVAILABLE
        assert not call.status.is_unprocessed  # it may wake up, and find the call
    pair.close()


def test_eof_before_settings() -> None:
    pair = Pair(ready=False)
    call = pair.start(b"")
    pair.sock.close()
    assert ended(pair.link, call, NEVER)
    assert call.status is not None
    assert call.status.is_unprocessed
    pair.close()


# ---- interruptions -----------------------------------------------------------------------------


class Alarm:
    """Raises `Interrupt` in the main thread some seconds from now."""

    def __init__(self, seconds: float) -> None:
        main = threading.get_ident()
        self._timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGUSR1))

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGUSR1, self._ring)
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()
        signal.signal(signal.SIGUSR1, self._before)

    def _ring(self, number: int, where: FrameType | None) -> None:
        raise Interrupt


def test_an_interrupted_reader_hands_over(pair: Pair) -> None:
    mine, other = pair.start(b""), pair.start(b"")
    started = threading.Event()

    def follow() -> bool:
        eventually(lambda: is_reading(pair.link))
        started.set()
        return ended(pair.link, other, NEVER)

    follower = Worker(follow)
    with Alarm(0.05), pytest.raises(Interrupt):
        ended(pair.link, mine, NEVER)
    started.wait(peer.PATIENCE)
    assert pair.link.is_usable  # it was interrupted in poll, where nothing is half done
    pair.server.send(pair.server.answer(3))
    assert follower.result() is True


def test_an_interrupt_while_the_lock_is_contended_keeps_it_whole(pair: Pair) -> None:
    """The lock must not be given back by a thread that did not get it."""
    call = pair.start(b"")
    with pair.link._lock:
        with Alarm(0.02), pytest.raises(Interrupt):
            ended(pair.link, call, NEVER)
        assert pair.link._lock.locked()
    pair.server.send(pair.server.answer(1))
    assert ended(pair.link, call, NEVER)


@pytest.mark.parametrize("where", ["read", "take_in", "write", "wrote"])
def test_an_interrupt_in_the_middle_of_it_breaks_the_link(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    other = pair.start(b"")
    worker = Worker(ended, pair.link, other, NEVER)
    eventually(lambda: is_reading(pair.link))
    mine = pair.start(b"")

    def interrupt(*_: object) -> None:
        raise Interrupt

    monkeypatch.setattr(pair.link._pump, where, interrupt)
    if where.startswith("w"):
        with pytest.raises(Interrupt):
            pair.start(b"")
        assert worker.result() is True
    else:
        pair.server.send(pair.server.answer(1))
        with pytest.raises(Interrupt):
            worker.result()
    monkeypatch.undo()
    assert ended(pair.link, mine, NEVER)
    for call in (mine, other):
        assert call.status is not None
        assert call.status.code == metadata.UNAVAILABLE
    assert not pair.link.is_usable


def test_an_interrupted_unary_call_is_cancelled(pair: Pair) -> None:
    with Alarm(0.05), pytest.raises(Interrupt):
        pair.link.unary(PATH, (), NEVER, (b"",))
    assert pair.server.read_until(peer.RST_STREAM).word == 8
    assert pair.link.is_idle
    assert pair.link.is_usable


class Tracer:
    """Raises `Interrupt` at one line executed in the transport, counted from the start.

    Not at a `with`, which comes again just before the lock is given back, nor at a bare `try`: no
    call is made there, so no signal's handler can run.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.hit = False

    def __call__(self, where: FrameType, event: str, arg: object) -> Tracer | None:
        if os.sep + "transport" + os.sep not in where.f_code.co_filename:
            return None
        line = getline(where.f_code.co_filename, where.f_lineno)
        if event == "line" and not self.hit and line.split()[0] not in ("with", "try:"):
            self.left -= 1
            if self.left < 0:
                self.hit = True
                raise Interrupt
        return self


class Watched(Link):
    """Remembers whether there ever was a reader."""

    was_read = False

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_reader" and value is not None:
            self.was_read = True


class Raiser:
    """A poller that is interrupted whenever it is asked to wait."""

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        raise Interrupt


def follow(link: Link, call: Call) -> threading.Lock:
    """Have a visit wait for a call; the lock is free once that was woken."""
    visit = Visit(call, lambda: False)
    visit.event = threading.Lock()
    visit.event.acquire()
    call.waiters.append(visit)
    link._followers[visit] = None
    return visit.event


JOBS: dict[str, Callable[[Link, Call], object]] = {
    "receive": lambda link, call: link.receive(call, NEVER),
    "send": lambda link, call: link.send(call, (b"more",), False, NEVER),
    "unary": lambda link, call: link.unary(PATH, (), Deadline(0.001), (b"",)),
    "cancel": lambda link, call: link.cancel(call, CLOSED),
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
@pytest.mark.parametrize("twice", [False, True], ids=["once", "in poll and again"])
def test_an_interrupt_at_each_line_hangs_nobody(
    twice: bool, job: Callable[[Link, Call], object]
) -> None:
    """Followers go on, or are told, wherever the reader or the writer is interrupted."""
    before = descriptors()
    for at in range(10_000):
        pair = Pair()
        calls = [pair.start(b"") for _ in range(2)] + [pair.start()]
        pair.server.send(pair.server.answer(3, b"x"), pair.server.answer(1, b"y"))
        events = [follow(pair.link, call) for call in (calls[0], calls[2])]
        pair.link.__class__ = Watched
        if twice:
            pair.link._poller = Raiser()  # type: ignore[assignment]
        tracer, traced = Tracer(at), sys.gettrace()
        sys.settrace(tracer)
        try:
            job(pair.link, calls[1] if job is JOBS["receive"] else calls[2])
        except Interrupt:
            pass
        finally:
            sys.settrace(traced)
        woken = [not event.locked() for event in events]
        assert pair.link._reader is None
        assert not pair.link._is_writing
        assert not pair.link._lock.locked()
        assert any(woken) or not vars(pair.link).get("was_read"), "nobody reads"
        assert woken[0] or not calls[0].is_done
        assert woken[1] or not calls[2].is_done
        for call in calls:
            call.waiters.clear()
        pair.link._followers.clear()
        pair.close()
        if not tracer.hit:
            break
    assert at > 10
    assert descriptors() == before
