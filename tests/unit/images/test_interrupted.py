"""Pushes, pulls and copies that are interrupted, or fail, while a registry lets them wait."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import Cancelled, RegistryError
from containerd_lite.images.job import Job, side_by_side
from containerd_lite.images.walk import Dispatcher
from containerd_lite.interrupt import pause
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry import upload
from tests.harness.interrupts import Interrupt
from tests.unit.images.shelf import AMD, layout_of
from tests.unit.registry.samples import Uploads, manifest
from tests.unit.registry.scripted import Reply, Request, Scripted, reply

pytestmark = pytest.mark.interpreter

#: Against hanging (seconds): less than any time-out of the client's.
PATIENCE = 5.0
FIRST, SECOND = (Descriptor.from_json(layer) for layer in AMD.layers[:2])
BUSY = reply(429, Retry_After="20")
Say = Callable[[], object]


class Host(Scripted):
    """A registry that has the image but for one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.ref = f"{self.host}/app:v1"
        for name in ("v1", AMD.digest):
            for method in ("HEAD", "GET"):
                self.on(method, f"/v2/app/manifests/{name}", manifest(AMD.blobs[AMD.digest]))
        for digest, blob in AMD.blobs.items():
            for method in ("HEAD", "GET"):
                self.on(method, f"/v2/app/blobs/{digest}", reply(200, blob))
        self.uploads = Uploads(self, FIRST)

    def slow(self, say: Say, answer: bytes | None) -> Callable[[Request], Reply]:
        """Lets the client wait, by an answer or by none, and says so in the latter case."""

        def silence() -> Iterator[bytes]:
            say()
            self.closing.wait(2 * PATIENCE)
            yield b""

        return lambda _: silence() if answer is None else answer


@pytest.fixture
def server() -> Iterator[Host]:
    host = Host()
    with host:
        yield host


@pytest.fixture
def ring() -> Iterator[Say]:
    """Raises ``Interrupt`` in the main thread, once.

    Another thread gets the signal, as it may when a process gets one: it does not wake the main
    thread.
    """
    rings = [signal.SIGUSR1]

    def raise_it(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name == "_remove":
            # A weak reference's callback, whose exceptions Python drops.
            threading.Timer(0.01, signal.pthread_kill, (threading.get_ident(), number)).start()
            return
        raise Interrupt

    before = signal.signal(signal.SIGUSR1, raise_it)

    def ring() -> None:
        if rings:
            signal.pthread_kill(threading.get_ident(), rings.pop())

    yield ring
    signal.signal(signal.SIGUSR1, before)


def retrying(say: Say) -> Callable[[ProgressEvent], object]:
    """Says that the client is about to wait before another try."""
    return lambda event: event.stage == "retrying" and say()


@contextmanager
def soon() -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < PATIENCE


@pytest.mark.parametrize("answer", [BUSY, None], ids=["busy", "silent"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", f"/v2/app/blobs/{FIRST.digest}"),
        ("POST", Uploads.ROOT),
        ("PUT", Uploads.PATH),
    ],
)
def test_a_push_that_is_interrupted_ends(
    server: Host,
    ring: Say,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    answer: bytes | None,
) -> None:
    if method == "POST":  # which is waited for so long
        monkeypatch.setattr(upload, "_DELETE_TIMEOUT", 0.3)
    server.on(method, path, server.slow(ring, answer))
    layout = layout_of(tmp_path, AMD)
    with soon(), pytest.raises(Interrupt):
        layout.push(server.ref, layout.get_image("localhost/it:1"), progress=retrying(ring))
    assert len(server.seen(method, path)) == 1
    assert len(server.seen("DELETE", Uploads.PATH)) == (1 if method == "PUT" else 0)


def test_an_upload_that_was_about_to_begin_is_ended(
    server: Host, ring: Say, tmp_path: Path
) -> None:
    """Its place is in the answer, which is waited for a little."""

    def begin(request: Request) -> bytes:
        ring()
        time.sleep(0.3)
        return server.uploads.begin(request)

    server.on("POST", Uploads.ROOT, begin)
    layout = layout_of(tmp_path, AMD)
    with soon(), pytest.raises(Interrupt):
        layout.push(server.ref, layout.get_image("localhost/it:1"))
    assert len(server.seen("DELETE", Uploads.PATH)) == 1


def test_a_registry_that_is_silent_for_good_is_not_waited_for(
    server: Host, ring: Say, tmp_path: Path
) -> None:
    server.on("PUT", Uploads.PATH, server.slow(ring, None))
    server.on("DELETE", Uploads.PATH, server.slow(ring, None))
    layout = layout_of(tmp_path, AMD)
    with soon(), pytest.raises(Interrupt):
        layout.push(server.ref, layout.get_image("localhost/it:1"))


@pytest.mark.parametrize("answer", [BUSY, None], ids=["busy", "silent"])
def test_a_pull_that_is_interrupted_ends(
    server: Host, ring: Say, tmp_path: Path, answer: bytes | None
) -> None:
    path = f"/v2/app/blobs/{FIRST.digest}"
    server.on("GET", path, server.slow(ring, answer))
    layout = Layout(tmp_path)
    with soon(), pytest.raises(Interrupt):
        layout.pull(server.ref, platform="linux/amd64", progress=retrying(ring))
    assert len(server.seen("GET", path)) == 1


@pytest.mark.parametrize("answer", [BUSY, None], ids=["busy", "silent"])
def test_a_copy_that_is_interrupted_while_it_reads_ends(
    server: Host, ring: Say, answer: bytes | None
) -> None:
    path = f"/v2/app/blobs/{FIRST.digest}"
    server.on("GET", path, server.slow(ring, answer))
    with Host() as target, soon(), pytest.raises(Interrupt):
        Layout("/dev/null/x").copy(server.ref, f"{target.host}/app:v2", progress=retrying(ring))
    assert len(server.seen("GET", path)) == 1
    assert len(target.seen("DELETE", Uploads.PATH)) == 1


@pytest.mark.parametrize("answer", [BUSY, None], ids=["busy", "silent"])
def test_the_failure_of_one_blob_ends_the_wait_of_another(
    server: Host, tmp_path: Path, answer: bytes | None
) -> None:
    waits = threading.Event()
    server.on("PUT", Uploads.PATH, server.slow(waits.set, answer))

    def refuse(_: Request) -> bytes:
        assert waits.wait(PATIENCE)
        return reply(400, "no")

    server.on("HEAD", f"/v2/app/blobs/{SECOND.digest}", refuse)
    layout = layout_of(tmp_path, AMD)
    with soon(), pytest.raises(RegistryError, match="HTTP 400"):
        layout.push(server.ref, layout.get_image("localhost/it:1"), progress=retrying(waits.set))
    assert len(server.seen("PUT", Uploads.PATH)) == 1


@pytest.mark.parametrize("dispatch", [True, False])
def test_whatever_works_for_a_job_hears_its_word(dispatch: bool) -> None:
    job, together, ended = Job(), threading.Barrier(2), list[BaseException]()

    def work(descriptor: Descriptor) -> Sequence[Descriptor]:
        together.wait(PATIENCE)
        if descriptor is SECOND:
            raise LookupError
        try:
            pause(PATIENCE)
        except Cancelled as error:
            ended.append(error)
            raise
        return ()

    def run() -> None:
        if not dispatch:
            side_by_side(work, (FIRST, SECOND), job, 2)
        with Dispatcher(work, 2, job) as work_of_all:
            work_of_all.add(FIRST)
            work_of_all.add(SECOND)
            work_of_all.wait()

    with pytest.raises(LookupError):
        run()
    assert len(ended) == 1
