"""One channel under many threads, and under interrupts."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

import pytest

from containerd_lite.errors import Cancelled, DeadlineExceeded, Unavailable
from containerd_lite.transport.channel import Channel
from tests.harness.interrupts import Interrupt
from tests.unit.transport.channels import PATH, echo_script, hang
from tests.wire import peer
from tests.wire.peer import Peer, Worker, answering, echo, eventually

pytestmark = [pytest.mark.interpreter, pytest.mark.usefixtures("leaks_nothing")]


@pytest.fixture
def hectic() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_threads_that_dial_at_once_share_one_connection(server: Peer) -> None:
    with Channel(server.address) as channel:
        barrier = threading.Barrier(16)

        def call() -> object:
            barrier.wait(peer.PATIENCE)
            return channel.unary(PATH, b"x")

        assert [worker.result() for worker in [Worker(call) for _ in range(16)]] == [b"x"] * 16
        assert len(channel._links) == 1


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
