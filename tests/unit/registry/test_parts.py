"""One blob over several connections: in order, whole, and ended when it is closed."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from containerd_lite.errors import (
    Cancelled,
    DigestMismatch,
    RegistryError,
    RegistryNotFound,
    RegistryUnavailable,
)
from containerd_lite.interrupt import Interrupt
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry import download as fetch
from containerd_lite.registry import parts
from containerd_lite.registry.blob import BlobReader
from containerd_lite.registry.parts import PartsReader
from containerd_lite.registry.registry import Registry
from tests.harness.interrupts import Interrupt as Interruption
from tests.harness.interrupts import Tracer
from tests.unit.registry.samples import Naps
from tests.unit.registry.scripted import Reply, Request, Scripted, reply

PART = 1000
CONNECTIONS = 3
#: Against hanging (seconds).
PATIENCE = 5.0


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fetch, parts):
        monkeypatch.setattr(module, "PART", PART)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert not working()


def working() -> list[threading.Thread]:
    """The threads of readers."""
    return [t for t in threading.enumerate() if t.name.startswith("containerd-lite-part")]


class Host:
    """Gives ranges of one blob, or what a test puts in place of some of them."""

    def __init__(self, server: Scripted, size: int) -> None:
        self.blob = bytes(i * 7 % 251 for i in range(size))
        self.layer = Descriptor(mt.OCI_LAYER, digests.of(self.blob), size)
        #: By the first byte of the range: what to do the first time that it is asked for.
        self.instead: dict[int, Callable[[Request], Reply]] = {}
        #: The first and the last byte of each range, in the order in which they came.
        self.asked: list[tuple[int, int]] = []
        self.came = threading.Condition()
        server.on("GET", f"/v2/app/blobs/{self.layer.digest}", self.give)

    def give(self, request: Request) -> Reply:
        start, end = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        with self.came:
            self.asked.append((start, end))
            self.came.notify_all()
            instead = self.instead.pop(start, None)
        return instead(request) if instead else self.range(start, end)

    def wait(self, count: int) -> None:
        """Until so many ranges have been asked for."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.asked) >= count, PATIENCE)

    def range(self, start: int, end: int, **options: object) -> bytes:
        body, said = self.blob[start : end + 1], f"bytes {start}-{end}/{len(self.blob)}"
        return reply(206, body, Content_Range=said, **options)  # type: ignore[arg-type]


def opened(
    registry: Registry, ref: Reference, host: Host, *, connections: int = CONNECTIONS
) -> BlobReader | PartsReader:
    return registry.open_blob(ref, host.layer, connections=connections)


SIZES = [n * PART + d for n in (2, 3, 4, 9) for d in (-1, 0, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("connections", [2, 3, 16])
def test_a_blob_comes_whole_and_in_order(
    server: Scripted, registry: Registry, ref: Reference, size: int, connections: int
) -> None:
    host = Host(server, size)
    if size <= 2 * PART:
        server.on("GET", f"/v2/app/blobs/{host.layer.digest}", reply(200, host.blob))
    with opened(registry, ref, host, connections=connections) as reader:
        assert isinstance(reader, PartsReader) == (size > 2 * PART)
        assert reader.readall() == host.blob
        assert (reader.tell(), reader.read(1)) == (size, b"")
    wanted = [(at, min(at + PART, size) - 1) for at in range(0, size, PART)]
    assert sorted(host.asked) == (wanted if size > 2 * PART else [])
    assert server.connections <= connections


@pytest.mark.parametrize("step", [1, 7, 999, 1000, 1001, 1 << 20])
def test_buffers_may_have_any_size(
    server: Scripted, registry: Registry, ref: Reference, step: int
) -> None:
    host = Host(server, 4 * PART + 3)
    found, buffer = b"", memoryview(bytearray(step))
    with opened(registry, ref, host) as reader:
        assert reader.readinto(bytearray()) == 0
        while taken := reader.readinto(buffer):
            found += buffer[:taken]
            assert reader.tell() == len(found)
    assert found == host.blob


def test_threads_end_with_the_blob(server: Scripted, registry: Registry, ref: Reference) -> None:
    host = Host(server, 5 * PART)
    with opened(registry, ref, host) as reader:
        assert reader.read(1)
        assert working()
        reader.readall()
        assert not working()


def test_the_parts_are_side_by_side(server: Scripted, registry: Registry, ref: Reference) -> None:
    """None of them is answered before all are asked for."""
    host = Host(server, 9 * PART)
    together = threading.Barrier(CONNECTIONS)

    def wait(request: Request) -> Reply:
        together.wait(PATIENCE)
        start, end = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        return host.range(start, end)

    host.instead = {at * PART: wait for at in range(1, 1 + CONNECTIONS)}
    with opened(registry, ref, host) as reader:
        assert reader.readall() == host.blob


def test_no_more_parts_are_asked_for_than_there_is_room(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 20 * PART)
    with opened(registry, ref, host) as reader:
        for consumed in range(8):
            room = consumed + CONNECTIONS + 1
            host.wait(room)
            assert len(host.asked) == room
            assert max(start for start, _ in host.asked) == (consumed + CONNECTIONS) * PART
            assert len(reader.read(PART)) == PART


def test_a_host_that_does_not_know_ranges_gives_it_all_at_once(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 9 * PART)
    server.on("GET", f"/v2/app/blobs/{host.layer.digest}", reply(200, host.blob))
    with opened(registry, ref, host) as reader:
        assert isinstance(reader, BlobReader)
        assert reader.readall() == host.blob
    assert len(server.requests) == 1


def test_a_host_that_does_not_know_ranges_is_verified(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 9 * PART)
    server.on("GET", f"/v2/app/blobs/{host.layer.digest}", reply(200, b"!" * 9 * PART))
    with opened(registry, ref, host) as reader, pytest.raises(DigestMismatch):
        reader.readall()


def test_a_host_that_forgets_about_ranges_in_between(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 5 * PART)
    host.instead = {at * PART: lambda _: reply(200, host.blob) for at in (1, 3, 4)}
    with opened(registry, ref, host) as reader:
        assert reader.readall() == host.blob


@pytest.mark.parametrize("at", range(5))
def test_a_part_that_breaks_off_is_gone_on_with(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps, at: int
) -> None:
    host = Host(server, 5 * PART)

    def cut(_: Request) -> Iterator[bytes]:
        start = at * PART
        yield host.range(start, start + PART - 1)[:-400]

    host.instead[at * PART] = cut
    with opened(registry, ref, host) as reader:
        assert reader.readall() == host.blob
    assert (at * PART + 600, at * PART + 999) in host.asked
    assert len(naps) == 1


def test_a_part_that_never_comes_ends_it(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 5 * PART)

    def refuse(request: Request) -> bytes:
        host.instead[3 * PART] = refuse
        return b""

    refuse(Request("GET", "", {}))
    with opened(registry, ref, host) as reader:
        with pytest.raises(RegistryUnavailable, match="fetch"):
            reader.readall()
        assert reader.closed
        assert not working()


def test_a_part_that_is_gone_ends_it(server: Scripted, registry: Registry, ref: Reference) -> None:
    host = Host(server, 5 * PART)
    host.instead[2 * PART] = lambda _: reply(404)
    with opened(registry, ref, host) as reader, pytest.raises(RegistryNotFound):
        reader.readall()


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("said", ["bytes 0-7/9", "bytes 1000-1999/*", "", "nonsense"])
def test_another_range_than_asked_for_is_an_error(
    server: Scripted, registry: Registry, ref: Reference, at: int, said: str
) -> None:
    host = Host(server, 5 * PART)
    host.instead[at * PART] = lambda _: reply(206, b"!" * PART, Content_Range=said)
    with pytest.raises(RegistryError, match="range"), opened(registry, ref, host) as reader:
        reader.readall()


@pytest.mark.parametrize("verify", [True, False])
def test_the_whole_is_verified_unless_the_store_does(
    server: Scripted, registry: Registry, ref: Reference, verify: bool
) -> None:
    host = Host(server, 5 * PART)
    host.blob = host.blob[:2500] + b"!" + host.blob[2501:]
    with registry.open_blob(ref, host.layer, connections=CONNECTIONS, verify=verify) as reader:
        for _ in range(4):
            assert len(reader.read(PART)) == PART
        if verify:
            with pytest.raises(DigestMismatch, match=host.layer.digest):
                reader.read(1)
        else:
            assert reader.readall() == host.blob[4 * PART :]


def stalling(
    server: Scripted, host: Host, at: int, begun: threading.Semaphore, silent: bool
) -> None:
    """A part that stops amid its body, or before it has said anything."""

    def stall(_: Request) -> Iterator[bytes]:
        yield b"" if silent and at else host.range(at, at + PART - 1)[:-400]
        begun.release()
        server.outlasted |= not server.closing.wait(PATIENCE - 1)  # less than the client's

    host.instead[at] = stall


@pytest.mark.parametrize("silent", [False, True])
def test_closing_ends_parts_that_stall(
    server: Scripted, registry: Registry, ref: Reference, silent: bool
) -> None:
    host = Host(server, 9 * PART)
    begun = threading.Semaphore(0)
    for at in range(CONNECTIONS):
        stalling(server, host, at * PART, begun, silent)
    with opened(registry, ref, host) as reader:
        for _ in range(CONNECTIONS):
            assert begun.acquire(timeout=PATIENCE)
    assert not server.outlasted
    assert reader.closed
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


@pytest.fixture
def _unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_unfrozen")
def test_an_interrupt_at_any_line_of_opening_leaves_no_thread_and_no_request(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 9 * PART)
    hits = 0
    while True:
        kept: Interruption | None = None
        gc.freeze()  # so that the next lines look only at objects of this round
        gc.collect()  # else the lines of an earlier reader's __del__ may be among those that count
        try:
            with Tracer("registry/parts.py", hits) as tracer:
                reader = opened(registry, ref, host)
        except Interruption as interruption:
            kept = interruption  # its frames keep the readers, which would close if they were freed
        if not tracer.hit:
            break
        assert kept is not None
        assert not working()
        readers = [found for found in gc.get_objects() if isinstance(found, BlobReader)]
        assert all(found._response is None for found in readers)
        hits += 1
    assert hits > 30
    assert reader.readall() == host.blob


def test_a_signal_that_another_thread_gets_ends_a_read(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 9 * PART)
    begun, is_open = threading.Semaphore(0), threading.Event()
    for at in range(CONNECTIONS):
        stalling(server, host, at * PART, begun, True)

    def interrupt(*_: object) -> None:
        raise Interruption

    def ring() -> None:
        for _ in range(CONNECTIONS):
            begun.acquire(timeout=PATIENCE)
        is_open.wait(PATIENCE)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=ring)
    thread.start()
    try:
        with opened(registry, ref, host) as reader:
            is_open.set()
            with pytest.raises(Interruption):
                reader.readall()
        assert reader.closed
    finally:
        thread.join(PATIENCE)
        signal.signal(signal.SIGUSR1, before)
    assert not server.outlasted


@pytest.mark.parametrize("silent", [False, True])
def test_a_word_to_who_reads_ends_parts_that_stall(
    server: Scripted, registry: Registry, ref: Reference, silent: bool
) -> None:
    host, word = Host(server, 9 * PART), Interrupt()
    begun = threading.Semaphore(0)
    for at in range(CONNECTIONS):
        stalling(server, host, at * PART, begun, silent)
    ended: list[bool] = []

    def read() -> None:
        with word.watching(), opened(registry, ref, host) as reader:
            with pytest.raises(Cancelled):
                reader.readall()
            ended.append(reader.closed)

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(CONNECTIONS):
        assert begun.acquire(timeout=PATIENCE)
    word.set()
    thread.join(PATIENCE)
    assert ended == [True]
    assert not server.outlasted


def test_closing_twice_is_closing_once(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 9 * PART)
    reader = opened(registry, ref, host)
    reader.close()
    reader.close()
    assert reader.closed


def test_a_reader_that_is_dropped_ends_its_threads(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    host = Host(server, 9 * PART)
    reader = opened(registry, ref, host)
    assert reader.read(10) == host.blob[:10]
    threads = working()
    del reader
    for thread in threads:
        thread.join(PATIENCE)
