"""The end of a subscription: by its owner, by the clock, by the daemon; and its life after that."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest

from containerd_lite import CancelToken, Client
from containerd_lite.errors import (
    Cancelled,
    ConnectionLost,
    DeadlineExceeded,
    FailedPrecondition,
    SocketNotFound,
)
from containerd_lite.services.event_types import GAP_TOPIC, Event, Gap, TaskStart
from containerd_lite.services.filters import Filter
from containerd_lite.services.subscription import EventStream
from tests.conftest import Count
from tests.e2e.services.leftovers import nothing_stays
from tests.harness.daemon import Daemon
from tests.harness.leaks import open_files
from tests.harness.process import wait_until

__all__ = ["nothing_stays"]
pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

_PATIENCE = 10.0


@pytest.fixture
def stream(client: Client, namespace: str) -> Iterator[EventStream]:
    """What happens in the test's namespace, all of it."""
    with client.event_service.subscribe(Filter("namespace") == namespace) as stream:
        stream.wait_until_subscribed(_PATIENCE)
        yield stream


def test_closed_from_another_thread(client: Client, count: Count) -> None:
    with ThreadPoolExecutor(1) as pool:
        for number in range(count(50, 1000)):
            stream = client.event_service.subscribe("topic==never", reconnect=bool(number % 2))
            waiting = pool.submit(list if number % 3 else _all_of, stream)
            if number % 5:
                stream.wait_until_subscribed(_PATIENCE)
            stream.close()
            assert waiting.result(_PATIENCE) == []
            stream.close()
            assert stream.receive() is None
            assert list(stream) == []
            assert "closed" in repr(stream)


def _all_of(stream: EventStream) -> list[Event]:
    with stream:
        return list(stream)


def test_close_is_at_once(client: Client, stream: EventStream) -> None:
    """What has come and was not read yet is not read any more."""
    for number in range(10):
        client.event_service.publish("/some/topic", TaskStart("c", number))
    assert next(stream).topic == "/some/topic"
    stream.close()
    assert list(stream) == []


def test_several_threads_share_it(client: Client, stream: EventStream) -> None:
    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(list, stream) for _ in range(4)]
        for number in range(200):
            client.event_service.publish("/some/topic", TaskStart("c", number))
        client.event_service.publish("/it/ends", TaskStart("c", 0))
        stream.wait_until_subscribed(_PATIENCE)  # whichever of them got that
        assert wait_until(lambda: stream.raw.poll() is None, _PATIENCE)
        stream.close()
        came = [event for reader in readers for event in reader.result(_PATIENCE)]
    pids = [event.event.pid for event in came if isinstance(event.event, TaskStart)]
    assert set(pids) <= set(range(200))
    assert len(pids) == len(came)


def test_the_time_is_over(client: Client, namespace: str) -> None:
    service = client.event_service
    for reconnect in (False, True):
        with service.subscribe("topic==never", timeout=0.2, reconnect=reconnect) as stream:
            with pytest.raises(DeadlineExceeded, match="subscription has expired") as caught:
                list(stream)
            assert isinstance(caught.value, TimeoutError)
            with pytest.raises(DeadlineExceeded):
                stream.receive()
    with (
        service.with_options(timeout=0.2).subscribe("topic==never") as stream,
        pytest.raises(DeadlineExceeded, match="has expired"),
    ):
        next(stream)


def test_the_time_is_over_however_much_happens(client: Client) -> None:
    is_over = threading.Event()

    def publish() -> None:
        while not is_over.is_set():
            client.event_service.publish("/some/topic", TaskStart("c", 1))

    with ThreadPoolExecutor(1) as pool:
        publisher = pool.submit(publish)
        try:
            with (
                client.event_service.subscribe('topic=="/some/topic"', timeout=0.3) as stream,
                pytest.raises(DeadlineExceeded, match="has expired"),
            ):
                list(stream)
        finally:
            is_over.set()
        publisher.result(_PATIENCE)


def test_a_wait_has_a_time_of_its_own(client: Client, stream: EventStream) -> None:
    with pytest.raises(DeadlineExceeded):
        stream.receive(0.01)
    token = CancelToken()
    timer = threading.Timer(0.05, token.cancel)
    timer.start()
    with pytest.raises(Cancelled, match="by its token"):
        stream.receive(cancel=token)
    timer.join()
    with pytest.raises(Cancelled, match="before the call"):
        stream.wait_until_subscribed(cancel=token)
    client.event_service.publish("/some/topic", TaskStart("c", 1))
    came = stream.receive(_PATIENCE)
    assert came is not None
    assert came.event == TaskStart("c", 1)
    assert "open" in repr(stream)


def test_a_closed_client(daemon: Daemon) -> None:
    for reconnect in (False, True):
        with Client(daemon.address) as client, ThreadPoolExecutor(1) as pool:
            stream = client.event_service.subscribe(reconnect=reconnect)
            waiting = pool.submit(next, stream)
            client.close()
            with pytest.raises(Cancelled):
                waiting.result(_PATIENCE)


def test_one_that_is_dropped_leaves_nothing(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        client.version()
        before = len(open_files())
        for _ in range(20):
            client.event_service.subscribe(reconnect=True).wait_until_subscribed(_PATIENCE)
        client.version()
        with client.event_service.subscribe() as stream:  # whoever dials, collects
            stream.wait_until_subscribed(_PATIENCE)
        # Each connection has three descriptors, and four are kept for what comes.
        assert len(open_files()) <= before + 4 * 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_neither_forks_nor_pickles(client: Client, own_daemon: Daemon) -> None:
    with (
        Client(own_daemon.address) as other,
        client.event_service.subscribe() as stream,
        other.event_service.subscribe(reconnect=True) as lost,
    ):
        own_daemon.stop()
        with pytest.raises(DeadlineExceeded):
            lost.receive(0.2)
        with pytest.raises(TypeError, match="subscribe in the process"):
            pickle.dumps(stream)
        pid = os.fork()
        if not pid:  # pragma: no cover - the child's coverage is lost
            refused = 0
            try:
                for one in (stream, lost):
                    with suppress(FailedPrecondition):
                        one.receive(_PATIENCE)
                        continue
                    refused += 1
                    one.close()
            finally:
                os._exit(0 if refused == 2 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stream.wait_until_subscribed(_PATIENCE)  # it is still this process's


# ---- daemons come and go -----------------------------------------------------------------------


def _publish(client: Client, pid: int) -> None:
    client.event_service.publish("/some/topic", TaskStart("c", pid))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart(own_daemon: Daemon, how: str, count: Count) -> None:
    with (
        Client(own_daemon.address, namespace=own_daemon.namespace) as client,
        client.event_service.subscribe(Filter("topic") == "/some/topic", reconnect=True) as stream,
        ThreadPoolExecutor(1) as pool,
    ):
        stream.wait_until_subscribed(_PATIENCE)
        for number in range(count(2, 10)):
            _publish(client, 2 * number)
            last = next(stream)
            assert last.event == TaskStart("c", 2 * number)
            # Once nobody reads meanwhile, once somebody does.
            waiting = pool.submit(next, stream) if number % 2 else None
            before = datetime.now(timezone.utc)
            getattr(own_daemon, how)()
            own_daemon.start()
            client.event_service.publish("/not/wanted", TaskStart("c", 99))
            marker = waiting.result(_PATIENCE) if waiting else stream.receive(_PATIENCE)
            assert marker is not None
            assert isinstance(marker.event, Gap)
            assert (marker.topic, marker.namespace) == (GAP_TOPIC, "")
            assert marker.event.since == last.timestamp < before
            assert before < marker.event.until == marker.timestamp
            assert marker.event.reason
            # It stands: what happens from now on comes, and first.
            _publish(client, 2 * number + 1)
            assert next(stream).event == TaskStart("c", 2 * number + 1)
        assert stream.poll() is None


def test_one_gap_for_several_restarts(own_daemon: Daemon) -> None:
    with (
        Client(own_daemon.address, namespace=own_daemon.namespace) as client,
        client.event_service.subscribe('topic=="/some/topic"', reconnect=True) as stream,
    ):
        stream.wait_until_subscribed(_PATIENCE)
        own_daemon.kill()
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                stream.receive(0.2)
            assert "lost" in repr(stream)
            assert stream.poll() is None
            own_daemon.start()
            own_daemon.kill()
        own_daemon.start()
        stream.wait_until_subscribed(_PATIENCE)
        _publish(client, 1)
        assert isinstance(next(stream).event, Gap)
        assert next(stream).event == TaskStart("c", 1)


def test_reconnecting_the_client_is_a_gap(client: Client, namespace: str) -> None:
    with client.event_service.subscribe('topic=="/some/topic"', reconnect=True) as stream:
        stream.wait_until_subscribed(_PATIENCE)
        client.reconnect()
        came = stream.receive(_PATIENCE)
        assert came is not None
        assert isinstance(came.event, Gap)
        _publish(client, 1)
        assert next(stream).event == TaskStart("c", 1)


def test_without_reconnect_it_is_an_error(own_daemon: Daemon) -> None:
    with Client(own_daemon.address) as client, client.event_service.subscribe() as stream:
        stream.wait_until_subscribed(_PATIENCE)
        own_daemon.stop()
        with pytest.raises(ConnectionLost):
            list(stream)
        with pytest.raises(SocketNotFound):
            client.event_service.subscribe(reconnect=True)


@pytest.mark.parametrize("is_frozen", [False, True], ids=["gone", "asleep"])
def test_closed_while_it_waits_for_the_daemon(own_daemon: Daemon, is_frozen: bool) -> None:
    with (
        Client(own_daemon.address) as client,
        ThreadPoolExecutor(4) as pool,
        client.event_service.subscribe(reconnect=True) as stream,
    ):
        stream.wait_until_subscribed(_PATIENCE)
        token = CancelToken()
        cancelled = [pool.submit(stream.receive, cancel=token) for _ in range(2)]
        waiting = [pool.submit(list, stream) for _ in range(2)]
        with _away(own_daemon, client, is_frozen):
            assert wait_until(lambda: "lost" in repr(stream), _PATIENCE)
            token.cancel()
            for each in cancelled:
                with pytest.raises(Cancelled):
                    each.result(_PATIENCE)
            stream.close()
            assert [one.result(_PATIENCE) for one in waiting] == [[], []]


@contextmanager
def _away(daemon: Daemon, client: Client, is_frozen: bool) -> Iterator[None]:
    """The daemon is not there, or does not stir."""
    if not is_frozen:
        daemon.kill()
        yield
        return
    os.kill(daemon.pid, signal.SIGSTOP)  # it is connected to, and does not answer
    try:
        assert wait_until(lambda: _is_stopped(daemon.pid), _PATIENCE)
        client.reconnect()
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    """Whether all threads of a process are: one that is not yet may answer."""
    stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return {stat.rpartition(")")[2].split()[0] for stat in stats} == {"T"}


def test_patience_at_the_beginning(own_daemon: Daemon) -> None:
    own_daemon.stop()
    with Client(own_daemon.address) as client:
        service = client.event_service.with_options(wait_for_ready=True)
        with pytest.raises(DeadlineExceeded):
            service.subscribe(timeout=0.2)
        starter = threading.Thread(target=own_daemon.start)
        starter.start()
        with service.subscribe(timeout=60) as stream:
            stream.wait_until_subscribed(_PATIENCE)
        starter.join()
