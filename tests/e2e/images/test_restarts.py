"""A daemon that is killed, ended or stopped in the middle of a pull, at many points of it."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from containerd_lite import Client, ProgressEvent
from containerd_lite.errors import DeadlineExceeded, Unavailable, Unknown
from containerd_lite.images.resolver import Fetcher, Reader, RegistryResolver
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.services import _base, content
from containerd_lite.services import lease_keeping as keeping
from tests.conftest import Count
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.overall import Told
from tests.harness.process import wait_until
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry]

#: Bytes of a layer that may be sent again, for each time that the daemon went away.
_AGAIN = 4 << 20
_IMAGE = images.random_image([7_000_000, 9_000_000, 5_000, 12_000_000], seed=60)


def _killed(daemon: Daemon) -> None:
    daemon.kill()
    daemon.start()


def _stopped_for_a_while(daemon: Daemon) -> None:
    pid = daemon.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        assert wait_until(lambda: _state(pid) == "T", 5)
    finally:
        os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


class _At(Told):
    """Calls ``strike`` beside the pull, at one of its events."""

    def __init__(self, place: int, strike: Callable[[], object]) -> None:
        super().__init__()
        self.place = place
        self.seen = 0
        self._thread = threading.Thread(target=strike)

    def __call__(self, event: ProgressEvent) -> None:
        super().__call__(event)
        if self.seen == self.place:
            self._thread.start()
        self.seen += 1

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


class _Counting(RegistryResolver):
    """Counts what of each blob was read from the registry."""

    def __init__(self) -> None:
        super().__init__()
        self.read: Counter[str] = Counter()

    def fetcher(self, ref: str) -> _Counting:  # type: ignore[override]
        self._inner: Fetcher = super().fetcher(ref)
        return self

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> Reader:
        return _Counted(self._inner.fetch(descriptor, offset), descriptor.digest, self.read)


class _Counted:
    def __init__(self, reader: Reader, digest: str, read: Counter[str]) -> None:
        self._reader, self._digest, self._read = reader, digest, read
        self.close = reader.close

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._reader.readinto(buffer)
        self._read[self._digest] += count
        return count


def _residue(daemon: Daemon, namespace: str) -> list[str]:
    lines = daemon.ctr("content", "ls", "-q", namespace=namespace).stdout.decode().split()
    return [*lines, *daemon.leftovers(namespace)]


def _is_gone(daemon: Daemon, namespace: str) -> bool:
    return not _residue(daemon, namespace)


@pytest.mark.parametrize(
    "strike",
    [_killed, Daemon.restart, _stopped_for_a_while],
    ids=["SIGKILL", "SIGTERM", "SIGSTOP"],
)
def test_a_pull_goes_on_when_the_daemon_is_back(
    own_daemon: Daemon, registry: Registry, strike: Callable[[Daemon], None], count: Count
) -> None:
    name = images.push(_IMAGE, registry.host, "restarted", "latest")
    rounds = count(3, 20)
    dry = _At(-1, print)
    with Client(own_daemon.address, namespace=own_daemon.new_namespace()) as client:
        client.pull(name, progress=dry).delete(sync=True)
    for number in range(rounds):
        namespace = own_daemon.new_namespace()
        at = _At(dry.seen * number // rounds, lambda: strike(own_daemon))
        with (
            Client(own_daemon.address, namespace=namespace) as client,
            _Counting() as resolver,
        ):
            try:
                image = client.pull(name, progress=at, resolver=resolver)
            except Unknown:  # a snapshotter that was killed may stumble over what it left itself
                assert client.list_images() == []
                image = client.pull(name)
            at.join()
            assert image.is_unpacked(), at.place
            image.delete(sync=True)
        again = {digest: read - len(_IMAGE.blobs[digest]) for digest, read in resolver.read.items()}
        assert max(again.values()) <= _AGAIN, (at.place, again)
        gone = functools.partial(_is_gone, own_daemon, namespace)
        assert wait_until(gone, 10), _residue(own_daemon, namespace)


def test_a_daemon_that_stands_still_is_given_up(
    own_daemon: Daemon, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_base, "_MAX_SILENCE", 0.5)
    monkeypatch.setattr(_base, "_LIVENESS_TIMEOUT", 0.5)
    monkeypatch.setattr(content, "_CHUNK_TIMEOUT", 1.0)
    monkeypatch.setattr(keeping, "_CLEANUP_TIMEOUT", 1.0)
    name = images.push(_IMAGE, registry.host, "stands-still", "latest")
    pid = own_daemon.pid

    def stop(event: ProgressEvent) -> None:
        if event.stage == "downloading" and event.offset > 3 << 20:
            os.kill(pid, signal.SIGSTOP)

    try:
        with (
            Client(own_daemon.address, timeout=1.0) as client,
            pytest.raises((Unavailable, DeadlineExceeded)),
        ):
            client.pull(name, progress=stop)
    finally:
        os.kill(pid, signal.SIGCONT)
