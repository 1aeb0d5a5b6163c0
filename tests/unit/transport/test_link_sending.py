"""Senders on one connection: who wakes them, and what goes out when it breaks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import InvalidArgument
from containerd_lite.wire import calls, metadata
from containerd_lite.wire.call import Buffer, Call
from containerd_lite.wire.metadata import Status
from tests.unit.transport.pair import CLOSED, NEVER, PATH, Pair, ended, is_crowded, is_reading
from tests.wire import peer
from tests.wire.peer import Frame, Worker, eventually

pytestmark = pytest.mark.interpreter

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
        while buffers := pair.link._socket_io.next_buffers():
            pair.link._socket_io.process_sent(buffers, pair.link._socket_io.write(buffers))
            pair.sock.recv(1 << 20)
    assert worker.result() is True


def test_a_sender_that_polls_is_told_that_another_thread_has_sent_all(pair: Pair) -> None:
    call = clog(pair)
    worker = Worker(pair.link.send, call, (LARGE,), True, NEVER)
    eventually(lambda: is_reading(pair.link))
    with pair.link._lock:  # and the socket has no room left
        pair.link._wire.outgoing.clear()
        pair.link._socket_io.has_drained = True
        pair.link._wake_waiters()
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


def test_what_a_caller_leaves_behind_is_sent_by_the_reader(pair: Pair) -> None:
    """A call begins with a message that the socket does not take at once; nobody waits for it."""
    call = clog(pair)
    reader = Worker(ended, pair.link, call, NEVER)
    eventually(lambda: is_reading(pair.link))
    pair.link.start(PATH, (), NEVER, (LARGE,))
    size = 0
    while size < len(LARGE) + 5:
        found = pair.server.read()
        size += len(found.payload) if (found.kind, found.stream_id) == (peer.DATA, 3) else 0
    pair.server.send(pair.server.answer(1))
    assert reader.result() is True


def test_a_call_that_waited_for_room_is_sent_by_whoever_makes_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if nothing had been read for long: then the last one to write must see to the rest."""
    monkeypatch.setattr(calls, "MAX_UNSENT", 0)
    reader = Worker(ended, pair.link, pair.start(b""), NEVER)
    eventually(lambda: is_reading(pair.link))
    monkeypatch.undo()
    pair.start(b"")
    assert [pair.server.request().stream_id for _ in range(2)] == [1, 3]
    pair.server.send(pair.server.answer(1), pair.server.answer(3))
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
    write = pair.link._socket_io.write

    def slow(buffers: list[Buffer]) -> int | Status:
        monkeypatch.undo()
        went = write(buffers)
        pair.server.send(peer.ping(b"short"))
        reader.result()
        return went

    monkeypatch.setattr(pair.link._socket_io, "write", slow)
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
