"""The word to stop: it ends what a thread asks for and waits for, and nothing of anybody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from containerd_lite.errors import Cancelled
from containerd_lite.images.resolver import RegistryPusher
from containerd_lite.interrupt import Interrupt, check, pause, shielded
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry import upload
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from containerd_lite.store.write_locks import write_lock
from tests.unit.registry.samples import (
    BLOB,
    BLOB_PATH,
    BODY,
    LAYER,
    PINNED,
    TAGGED,
    TARGET,
    Uploads,
    manifest,
)
from tests.unit.registry.scripted import Reply, Request, Scripted, challenge, reply

pytestmark = pytest.mark.interpreter

ROOT, ONE = Uploads.ROOT, Uploads.PATH
#: More than the sockets of both ends hold, so that sending it has to wait for the peer.
BIG = b"\0" * (24 << 20)
BIG_LAYER = Descriptor(mt.OCI_LAYER, digests.of(BIG), len(BIG))
#: Against hanging (seconds): less than any time-out of the client's.
PATIENCE = 5.0
BUSY = reply(429, Retry_After="20")


class Worker:
    """Does something in a thread of its own, which a word can end."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.word = Interrupt()
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.word.watching():
                self._work()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Gives the word, and expects it to be heeded."""
        self.word.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert isinstance(self.error, Cancelled)


class Moment:
    """Plays a script, and tells when the client waits."""

    def __init__(self, server: Scripted, answer: bytes | None = None) -> None:
        """Without an answer it is silent, until the server closes."""
        self._came = threading.Event()
        self._server = server
        self._answer = answer

    def __call__(self, _: Request) -> Reply:
        return self._silence() if self._answer is None else self._answer

    def _silence(self) -> Iterator[bytes]:
        self._came.set()
        self._server.closing.wait(2 * PATIENCE)
        yield b""

    def note(self, event: ProgressEvent) -> None:
        """For the client's progress: it is about to try again."""
        assert event.stage == "retrying"
        self._came.set()

    def wait(self) -> None:
        assert self._came.wait(PATIENCE)


@dataclass
class Host:
    server: Scripted
    tls: TlsFiles | None

    @property
    def ref(self) -> Reference:
        return Reference.parse(f"{self.server.host}/app:v1")

    def client(self, moment: Moment) -> Registry:
        return Registry(self.server.host, tls=self.tls, progress=moment.note)


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with Scripted(tls=request.param) as server:
        yield Host(server, TlsFiles(skip_verify=True) if request.param else None)


@pytest.mark.parametrize("answer", [BUSY, None], ids=["busy", "silent"])
@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", BLOB_PATH), ("POST", ROOT), ("PUT", ONE), ("GET", "/v2/")]
)
def test_an_upload_ends_wherever_it_is(
    host: Host, monkeypatch: pytest.MonkeyPatch, method: str, path: str, answer: bytes | None
) -> None:
    if method == "POST":  # which is waited for so long
        monkeypatch.setattr(upload, "_DELETE_TIMEOUT", 0.3)
    Uploads(server := host.server)
    server.on(method, path, moment := Moment(server, answer))
    single = path == "/v2/"
    with host.client(moment) as registry:
        worker = Worker(lambda: registry.upload_blob(host.ref, LAYER, BLOB, single_post=single))
        moment.wait()
        worker.stop()
    assert len(server.seen(method, path)) == 1
    # What was begun is deleted all the same.
    assert len(server.seen("DELETE", ONE)) == (1 if method == "PUT" else 0)


def test_an_upload_ends_while_the_registry_takes_nothing(host: Host) -> None:
    Uploads(server := host.server, BIG_LAYER)
    server.hasty.add(("PUT", ONE))
    server.on("PUT", ONE, moment := Moment(server))
    with host.client(moment) as registry:
        worker = Worker(lambda: registry.upload_blob(host.ref, BIG_LAYER, BIG))
        moment.wait()
        worker.stop()
    assert len(server.seen("DELETE", ONE)) == 1


@pytest.mark.parametrize("answer", [BUSY, None], ids=["busy", "silent"])
def test_a_download_ends_before_it_has_begun(host: Host, answer: bytes | None) -> None:
    host.server.on("GET", BLOB_PATH, moment := Moment(host.server, answer))
    with host.client(moment) as registry:
        worker = Worker(lambda: registry.open_blob(host.ref, LAYER))
        moment.wait()
        worker.stop()
    assert len(host.server.requests) == 1


def test_a_download_ends_in_the_midst_and_nothing_is_tried_again(server: Scripted) -> None:
    came, told = threading.Event(), list[ProgressEvent]()

    def half(_: Request) -> Iterator[bytes]:
        yield reply(200, BLOB)[:-1]
        server.closing.wait(2 * PATIENCE)

    def read() -> None:
        with registry.open_blob(Reference.parse(f"{server.host}/app:v1"), LAYER) as reader:
            assert len(reader.read(100)) == 100
            came.set()
            reader.readall()

    server.on("GET", BLOB_PATH, half)
    with Registry(server.host, progress=told.append) as registry:
        worker = Worker(read)
        assert came.wait(PATIENCE)
        worker.stop()
    assert len(server.requests) == 1
    assert told == []


def test_all_that_one_thread_has_under_way_ends(
    server: Scripted, another: Callable[..., Scripted]
) -> None:
    """A copy reads here while it writes there."""
    target = another()
    Uploads(target)
    came = threading.Event()

    def half(_: Request) -> Iterator[bytes]:
        yield reply(200, BLOB)[:-1]
        came.set()
        server.closing.wait(2 * PATIENCE)

    server.on("GET", BLOB_PATH, half)
    here, there = (Reference.parse(f"{one.host}/app:v1") for one in (server, target))
    with Registry(server.host) as source, Registry(target.host) as registry:
        worker = Worker(
            lambda: registry.upload_blob(there, LAYER, lambda at: source.open_blob(here, LAYER, at))  # type: ignore[arg-type, return-value]
        )
        assert came.wait(PATIENCE)
        worker.stop()
    assert len(target.seen("DELETE", ONE)) == 1


def test_a_slow_lane_ends(server: Scripted, ref: Reference) -> None:
    """Where the user's own limit is what one waits for."""
    waits = threading.Event()

    def wait(seconds: float) -> None:
        waits.set()
        pause(seconds)

    server.on("GET", PINNED, manifest())
    with Registry(server.host, max_rate=1, sleep=wait) as registry:
        worker = Worker(lambda: registry.fetch_manifest(ref, TARGET))
        assert waits.wait(PATIENCE)
        worker.stop()


def test_who_waits_for_anothers_token_ends(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    moment = Moment(server)
    server.on("HEAD", TAGGED, challenge(f'Bearer realm="{server.origin}/token",service="x"'))
    server.on("GET", "/token", moment)
    first = Worker(lambda: registry.resolve(ref))
    moment.wait()
    Worker(lambda: registry.resolve(ref)).stop()
    first.stop()
    assert len(server.seen("GET", "/token")) == 1


def test_who_waits_for_a_turn_ends(server: Scripted, registry: Registry, ref: Reference) -> None:
    pusher = RegistryPusher(registry, ref)
    with write_lock((ref.name, TARGET.digest), check):
        worker = Worker(lambda: pusher.name(TARGET, BODY))
        worker.stop()
    assert server.requests == []


def test_a_connection_that_was_given_back_is_not_cut(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    """It may be another's by then."""
    server.on("HEAD", TAGGED, manifest())
    server.on("GET", BLOB_PATH, reply(200, BLOB))
    word = Interrupt()
    with word.watching():
        registry.resolve(ref)
        with registry.open_blob(ref, LAYER) as reader:
            assert reader.readall() == BLOB
    word.set()
    assert registry.resolve(ref) == TARGET
    assert server.connections == 1


def test_nothing_is_asked_for_once_the_word_was_given(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    word = Interrupt()

    def ask() -> None:
        with word.watching():
            word.set()
            registry.resolve(ref)

    with pytest.raises(Cancelled):
        ask()
    with pytest.raises(Cancelled), word.watching():
        pytest.fail("it is not begun")
    assert server.requests == []


def test_a_word_within_a_word() -> None:
    outer, inner = Interrupt(), Interrupt()
    with outer.watching():
        with inner.watching(), outer.watching(), inner.watching():
            check()
        with inner.watching(), shielded():
            outer.set()
            assert inner.is_set()
            check()
            pause(0)
        for call in (check, lambda: pause(2 * PATIENCE), lambda: outer.watching().__enter__()):
            with pytest.raises(Cancelled):
                call()
    check()


def test_a_word_that_is_no_longer_listened_to_reaches_nobody() -> None:
    outer, inner = Interrupt(), Interrupt()
    with outer.watching(), inner.watching():
        pass
    outer.set()
    assert not inner.is_set()
