"""Wherever a thread is interrupted, its connection goes on or is given up, and nobody hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.transport.link import Link
from containerd_lite.transport.multiplexer import Waiter
from containerd_lite.wire import metadata
from containerd_lite.wire.call import Call
from tests.harness.interrupts import Alarm, Interrupt, Tracer
from tests.unit.transport.pair import CLOSED, NEVER, PATH, Pair, ended, is_reading
from tests.wire import peer
from tests.wire.peer import Worker, descriptors, eventually

pytestmark = pytest.mark.interpreter


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


@pytest.mark.parametrize("where", ["read", "process", "write", "process_sent"])
def test_an_interrupt_in_the_middle_of_it_breaks_the_link(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    other = pair.start(b"")
    worker = Worker(ended, pair.link, other, NEVER)
    eventually(lambda: is_reading(pair.link))
    mine = pair.start(b"")

    def interrupt(*_: object) -> None:
        raise Interrupt

    monkeypatch.setattr(pair.link._socket_io, where, interrupt)
    if where in ("write", "process_sent"):
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
    visit = Waiter(call, lambda call: False)
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
        with suppress(Interrupt), Tracer("transport", at) as tracer:
            job(pair.link, calls[1] if job is JOBS["receive"] else calls[2])
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
