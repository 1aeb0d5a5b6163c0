"""Long use of one channel, a fifth of its calls abandoned: nothing grows, and nothing runs dry."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import Cancelled, DeadlineExceeded
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.transport.channel import Channel
from containerd_lite.transport.stream import Stream
from tests.conftest import Count
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch, open_files
from tests.wire.peer import Worker

pytestmark = [pytest.mark.daemon, pytest.mark.dependencies]

_MIB = 1 << 20
_THREADS = 8
#: What a soak may add to the memory that the process had after a warm-up.
_MOST_GROWTH = 5 * _MIB

_VERSION = "containerd.services.version.v1.Version/Version"
_READ = "containerd.services.content.v1.Content/Read"
#: What a round does, and how often of 100 times; those of the second row are left undone.
_KINDS = {
    **{"answered": 65, "read": 15},
    **{"dropped": 5, "cancelled": 5, "expired": 5, "closed": 5},
}


class Load:
    """Calls of many kinds through one channel; `run` may be called in many threads at once."""

    def __init__(self, channel: Channel, namespace: str) -> None:
        self.channel = channel
        self._metadata = (("containerd-namespace", namespace),)
        self._path = CONTAINERD.method(_READ).path
        self._version = self._ask(None)
        self._small: tuple[str, bytes] = ("", b"")
        self.big = ""
        self.late: list[None] = []
        self.done: list[Counter[str]] = []

    def write(self, client: Client, seed: str) -> None:
        """Write a small blob and one of two messages, for the rounds to read."""
        body = random.Random(seed).randbytes(2 * _MIB)
        self._small = _written(client, [body[:1000]]), body[:1000]
        self.big = _written(client, [body])

    def stream(self, digest: str) -> Stream:
        request = CONTAINERD.method(_READ).request(digest=digest).SerializeToString()
        return self.channel.stream(self._path, request, metadata=self._metadata)

    def read(self, digest: str) -> Iterator[bytes]:
        """A blob's chunks, each message decoded."""
        response = CONTAINERD.method(_READ).response
        with self.stream(digest) as stream:
            for message in stream:
                yield response.FromString(bytes(message)).data

    def begun(self, *, is_read: bool = True) -> Stream:
        """The big blob's stream, one of its two messages read."""
        stream = self.stream(self.big)
        if is_read:
            message = stream.receive()
            assert message is not None
            assert len(message) > _MIB
        return stream

    def run(self, seed: int, rounds: int) -> None:
        """Go so many rounds, and add how many of each kind they were to `done`."""
        source = random.Random(seed)
        kinds = source.choices(list(_KINDS), list(_KINDS.values()), k=rounds)
        for kind in kinds:
            getattr(self, f"_{kind}")(source.random() < 0.5)
        self.done.append(Counter(kinds))

    def _ask(self, timeout: float | None) -> bytes:
        path = CONTAINERD.method(_VERSION).path
        return bytes(self.channel.unary(path, b"", metadata=self._metadata, timeout=timeout))

    def _answered(self, coin: bool) -> None:
        assert self._ask(60 if coin else None) == self._version

    def _read(self, coin: bool) -> None:
        digest, body = self._small
        assert b"".join(self.read(digest)) == body

    def _dropped(self, coin: bool) -> None:
        self.begun(is_read=coin)

    def _cancelled(self, coin: bool) -> None:
        with self.begun(is_read=coin) as stream:
            stream.cancel()
            with pytest.raises(Cancelled):
                list(stream)

    def _expired(self, coin: bool) -> None:
        try:  # another thread may have read the answer before this one looks at the clock
            assert self._ask(1e-6 if coin else 3e-4) == self._version
        except DeadlineExceeded:
            self.late.append(None)

    def _closed(self, coin: bool) -> None:
        with self.begun():
            pass


def _written(client: Client, chunks: list[bytes]) -> str:
    digest, size = digest_of(chunks), sum(map(len, chunks))
    with client.content_store.writer(digest, size=size, expected=digest) as writer:
        for chunk in chunks:
            writer.write(chunk)
        writer.commit()
    return digest


def digest_of(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def resident() -> int:
    """The memory of this process, in bytes, once all that can be given back has been.

    glibc keeps what was freed below something that is still in use, in an arena for each thread
    that once was; how much that is depends on luck, and it is no leak: so it is asked to let go.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def load(daemon: Daemon, namespace: str, client: Client, no_leftovers: Watch) -> Iterator[Load]:
    """A load on a channel of its own, its blobs kept from collection; nothing may be left."""
    with client.lease(), Channel(daemon.address) as channel:
        load = Load(channel, namespace)
        load.write(client, namespace)
        yield load


@pytest.mark.turns(3, "heavy")
def test_a_soak_leaves_nothing_and_takes_nothing(
    load: Load, client: Client, namespace: str, count: Count
) -> None:
    source = random.Random(f"last {namespace}")
    chunks = [source.randbytes(_MIB) for _ in range(count(8, 64))]
    last = _written(client, chunks)
    del chunks

    def soak(calls: int) -> Counter[str]:
        load.done.clear()
        workers = [Worker(load.run, seed, calls // _THREADS) for seed in range(_THREADS)]
        for worker in workers:
            worker.join()  # as long as it takes: the test as a whole has a bound
            worker.result()
        for stream in [load.begun() for _ in range(_THREADS)]:
            stream.close()  # as many connections are spare now as ever will be
        assert digest_of(load.read(last)) == last  # after all that, a long stream goes well
        return sum(load.done, Counter())

    soak(count(800, 10_000))
    threads, files, memory = threading.active_count(), len(open_files()), resident()
    calls = count(3200, 100_000)
    done = soak(calls)
    growth = resident() - memory
    assert done.total() == calls
    abandoned = calls - done["answered"] - done["read"]
    assert 0.18 < abandoned / calls < 0.22
    assert len(load.late) > done["expired"] / 2
    assert threading.active_count() == threads
    assert len(open_files()) == files
    assert growth < _MOST_GROWTH, f"{growth / _MIB:.1f} MiB more after {calls} calls"


@pytest.mark.parametrize("way", ["dropped", "cancelled", "closed"])
def test_abandoned_streams_do_not_use_up_the_window(load: Load, way: str, count: Count) -> None:
    """grpclib #67: what nobody reads takes room in the connection's window all the same.

    Each stream leaves a message of 1 MiB unread at least, on the one connection that is spare.
    """
    assert sum(map(len, load.read(load.big))) == 2 * _MIB
    sockets = set(open_files().values())
    for _ in range(count(100, 2000)):
        stream = load.begun()
        if way == "cancelled":
            stream.cancel()
        if way != "dropped":
            stream.close()
        del stream
    assert sum(map(len, load.read(load.big))) == 2 * _MIB
    assert set(open_files().values()) == sockets, "it was another connection"
