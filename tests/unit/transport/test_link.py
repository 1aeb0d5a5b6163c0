"""One connection under many threads: who reads, who is woken, and who is told that it went."""

from __future__ import annotations

import sys
from functools import partial

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.transport import link
from containerd_lite.wire import metadata
from containerd_lite.wire.call import Call
from containerd_lite.wire.metadata import Status
from tests.unit.transport.pair import CLOSED, NEVER, PATH, Pair, ended, is_crowded, is_reading
from tests.wire import peer
from tests.wire.peer import Worker, eventually, message

pytestmark = pytest.mark.interpreter


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
    eventually(lambda: pair.link._socket_io.sock.fileno() == -1)
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
    monkeypatch.setattr(pair.link, "_check_liveness", lambda: pair.sock.close())
    assert pair.link.start(PATH, (), NEVER, (b"",)) is None


def test_what_the_peer_said_before_it_went_is_read(pair: Pair) -> None:
    call = pair.start()
    parts = [peer.data(1, message(bytes(10000))) for _ in range(10)]
    pair.server.send(pair.server.headers(1), *parts, pair.server.trailers(1, 9))
    pair.sock.close()
    assert pair.link.send(call, (b"x",), False, NEVER)
    assert len(call.reader.messages) == 10
    assert call.status == Status(metadata.FAILED_PRECONDITION)


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


def test_a_message_whose_credit_is_due_waits_for_no_other(pair: Pair) -> None:
    call = pair.start(b"")
    body = bytes(1 << 20)
    whole = message(body)
    parts = [peer.data(1, whole[at : at + 16384]) for at in range(0, len(whole), 16384)]
    worker = Worker(pair.server.send, pair.server.headers(1), *parts)
    assert pair.link.receive(call, Deadline(peer.PATIENCE)) == (True, body)
    worker.result()
    assert pair.server.read_until(peer.WINDOW_UPDATE, 1).word == len(whole)


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


def test_a_response_that_comes_at_the_deadline_is_not_lost(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread reads it behind the deadline, while this one looks what has come."""
    other = pair.start(b"")
    looked: list[object] = []

    def look(things: list[object]) -> int:
        count = things.__len__()
        callers = {sys._getframe(1).f_code.co_name, sys._getframe(2).f_code.co_name}
        if not looked and "unary" in callers:
            looked.append(things)
            pair.server.request()
            pair.server.request()
            pair.server.send(pair.server.answer(3, b"pong"), pair.server.answer(1, b""))
            assert ended(pair.link, other, NEVER)  # the reader of both
        return count

    monkeypatch.setattr(link, "len", look, raising=False)
    call = pair.link.unary(PATH, (), Deadline(0.01), (b"ping",))
    assert looked
    assert call is not None
    assert call.status is not None
    assert (call.status.code, list(call.reader.messages)) == (metadata.OK, [b"pong"])
