"""Archives that the daemon reads and writes, beside those of ``ctr``."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import pytest

from containerd_lite import Client
from containerd_lite.errors import ContainerdError, NotFound
from containerd_lite.images.daemon.by_daemon import DaemonTransfers
from containerd_lite.images.job import Job
from containerd_lite.oci import platform as known
from containerd_lite.progress import ProgressEvent
from containerd_lite.services.transfer_types import ImageReference
from tests.conftest import Count
from tests.e2e.images.by_daemon.moving import (
    ALL,
    IMAGE,
    INDEX,
    blobs_of,
    check_there,
    ctr_lines,
    names_of,
    nobody,
)
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.generations]


def test_export(
    mover: Daemon, client: Client, transfers: DaemonTransfers, everybody: Registry
) -> None:
    """Of two images, which ``ctr`` reads."""
    names = [f"{everybody.host}/library/{name}:1" for name in ("image", "index")]
    for name in names:
        transfers.pull(name, platforms=ALL, credentials=nobody)
    archive = io.BytesIO()
    events: list[ProgressEvent] = []
    transfers.export_stream(archive, names, platforms=ALL, job=Job(events.append))
    assert events == [ProgressEvent("done", name) for name in names]
    other = mover.new_namespace()
    mover.ctr(
        "images",
        "import",
        *("--all-platforms", "--no-unpack", *(("--local",) if mover.version_info >= (2,) else ())),
        "-",
        input=archive.getvalue(),
        namespace=other,
    )
    with client.in_namespace(other) as there:
        check_there(mover, there, names[0], IMAGE)
        check_there(mover, there, names[1], INDEX)
        for name in names:
            there.image_service.delete(name, sync=True)
    with pytest.raises(NotFound, match="no/such"):
        transfers.export_stream(io.BytesIO(), [names[0], "no/such:1"], platforms=ALL)


def test_many_exports_at_once_are_complete(
    mover: Daemon, client: Client, transfers: DaemonTransfers, everybody: Registry, count: Count
) -> None:
    """``ctr`` ends before the daemon has sent everything: some of its archives are cut off."""
    name = f"{everybody.host}/library/image:1"
    transfers.pull(name, platforms=ALL, credentials=nobody)

    def export(number: int) -> bytes:
        archive = io.BytesIO()
        transfers.export_stream(archive, [name], platforms=ALL)
        return archive.getvalue()

    with ThreadPoolExecutor(8) as pool:
        (archive,) = set(pool.map(export, range(count(24, 160))))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        blobs = {path.rpartition("/")[2] for path in tar.getnames() if "/sha256/" in path}
    assert blobs == {digest.partition(":")[2] for digest in IMAGE.blobs}
    assert archive.endswith(bytes(1024))


class Full(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device")


def test_an_export_that_cannot_be_written(
    client: Client, transfers: DaemonTransfers, everybody: Registry
) -> None:
    name = f"{everybody.host}/library/large:1"
    transfers.pull(name, platforms=ALL, credentials=nobody)
    full: BinaryIO = Full()  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space left"):
        transfers.export_stream(full, [name], platforms=ALL)


@pytest.fixture
def archive(mover: Daemon, everybody: Registry) -> bytes:
    """What ``ctr`` exported."""
    namespace = mover.new_namespace()
    name = f"{everybody.host}/library/image:1"
    local = ("--local",) if mover.version_info >= (2,) else ()
    mover.ctr("images", "pull", "--skip-verify", *local, name, namespace=namespace)
    said = mover.export(name, namespace)
    mover.ctr("images", "rm", "--sync", name, namespace=namespace)
    return said


def test_import(
    mover: Daemon, client: Client, transfers: DaemonTransfers, everybody: Registry, archive: bytes
) -> None:
    name = f"{everybody.host}/library/image:1"
    events: list[ProgressEvent] = []
    padded = archive + bytes(1 << 20)  # the daemon leaves what is behind the end
    for body, references in (
        (archive, ()),
        (padded, (ImageReference("mine/", is_prefix=True, allow_overwrite=True),)),
    ):
        found = transfers.import_stream(
            io.BytesIO(body),
            platforms=ALL,
            references=references,
            unpack=known.default(),
            labels={"a": "b"},
            job=Job(events.append),
        )
        assert found == [name]
        assert events.pop() == ProgressEvent("done", name)
    check_there(mover, client, name, IMAGE)
    assert client.image_service.get(name).labels == {"a": "b"}
    kinds = [line[-1] for line in ctr_lines(mover, client, "snapshots", "ls")]
    assert kinds == ["Committed"] * len(IMAGE.layers)


class Breaking(io.BytesIO):
    """Breaks off before the last of its bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 500_000:
            raise OSError(5, "Input/output error")
        return super().read(size)


def cut(body: bytes) -> BinaryIO:
    return io.BytesIO(body[:500_000])


def junk(body: bytes) -> BinaryIO:
    return io.BytesIO(b"junk" * 500_000)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [(cut, ContainerdError), (junk, ContainerdError), (Breaking, OSError)],
)
def test_an_archive_that_is_broken(
    spoil: Callable[[bytes], BinaryIO],
    expected: type[Exception],
    mover: Daemon,
    client: Client,
    archive: bytes,
) -> None:
    with pytest.raises(expected), client.lease():
        DaemonTransfers.of(client).import_stream(spoil(archive), platforms=ALL)
    assert not names_of(mover, client)
    assert not blobs_of(mover, client)


class Endless(io.RawIOBase):
    """An archive with a file that does not end; in the middle another part of the job fails."""

    def __init__(self, job: Job) -> None:
        head = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
        head.size = 1 << 33
        self._head = head.tobuf()
        self._job = job
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        body, self._head = self._head or bytes(size), b""
        self.given += len(body)
        if self.given > 1 << 20 and not self._job.stop.is_set():
            self._job.fail(ValueError("another part"))
        return body


def test_an_import_beside_what_fails(mover: Daemon, client: Client) -> None:
    job = Job()
    endless: BinaryIO = Endless(job)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="another part"), client.lease():
        DaemonTransfers.of(client).import_stream(endless, platforms=ALL, job=job)
    assert not blobs_of(mover, client)
