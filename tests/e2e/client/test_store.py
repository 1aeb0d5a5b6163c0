"""containerd's content store, read and written by hand."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import time
from threading import Timer

import pytest

from containerd_lite import CancelToken, Client
from containerd_lite.errors import (
    AlreadyExists,
    Cancelled,
    DigestMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    SizeMismatch,
    Unavailable,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.dependencies,
    pytest.mark.usefixtures("nothing_left"),
]


def own(client: Client) -> bytes:
    """Content that no other namespace has: what one has, the daemon gives to others."""
    return f"content of {client.namespace}".encode()


def test_write_read_and_label(client: Client, daemon: Daemon, namespace: str) -> None:
    body = own(client) * 200_000  # over 4 MiB: several messages each way
    digest = digests.of(body)
    store = client.content_store
    with client.lease():
        with store.writer("ref", size=len(body), expected=digest) as writer:
            assert writer.offset == 0
            assert writer.write(memoryview(body)) == len(body)
            (status,) = store.statuses()
            assert (status.ref, status.total) == ("ref", len(body))
            assert writer.commit({"a": "b"}) == digest
        info = store.info(digest)
        assert (info.size, info.labels) == (len(body), {"a": "b"})
        assert store.update(digest, {"c": "d"}).labels == {"a": "b", "c": "d"}
        assert [found.digest for found in store.walk("labels.c==d")] == [digest]
        assert list(store.walk("labels.c==e")) == []
        with store.reader(digest) as file:
            assert file.read() == body
            assert file.seek(-10, io.SEEK_END) == len(body) - 10
            assert file.read(20) == body[-10:]
            assert file.seek(len(body) + 5) == file.tell()
            assert file.read(1) == b""  # as of any file
            assert file.seek(1_000_001) == file.tell()
            assert file.read(3) == body[1_000_001:1_000_004]
            with pytest.raises(OutOfRange):
                file.seek(-1)
        assert daemon.ctr("content", "get", digest, namespace=namespace).stdout == body
        store.delete(digest)
        for call in (store.info, store.reader, store.delete):
            with pytest.raises(NotFound):
                call(digest)


def test_one_writer_a_ref(client: Client) -> None:
    store, body = client.content_store, own(client)
    size, digest = len(body), digests.of(body)
    with client.lease():
        with store.writer("ref", size=size, expected=digest) as writer:
            writer.write(body[:2])
            with pytest.raises(Unavailable):
                store.writer("ref", size=size, expected=digest)
            writer.write(body[2:])
            writer.commit()
        with pytest.raises(AlreadyExists):
            store.writer("other", size=size, expected=digest)


def test_what_was_written_is_there_for_the_next_writer(client: Client) -> None:
    """However much: chunks that the daemon has not answered, and the end that commit sends."""
    store, body = client.content_store, own(client) * 150_000
    digest = digests.of(body)
    with client.lease():
        for number, size in enumerate((50_000, len(body) - 1, len(body))):
            ref = f"ref-{number}"
            writer = store.writer(ref, size=len(body), expected=digest)
            for start in range(0, size, 1 << 20):
                writer.write(body[start : min(start + (1 << 20), size)])
            writer.close()
            assert store.status(ref).offset == writer.offset == size
            with pytest.raises(FailedPrecondition, match="has ended"):
                writer.write(b"")
        for ref in ("ref-1", "ref-2"):
            with store.writer(ref, size=len(body), expected=digest) as writer:
                writer.write(body[writer.offset :])
        store.abort("ref-2")
        writer = store.writer("ref-0", size=len(body), expected=digest)
        assert writer.write(body[writer.offset :]) == len(body) - 50_000
        with pytest.raises(ValueError, match="of the block"), writer:
            raise ValueError("an error of the block")
        assert store.status("ref-0").offset == len(body)
        store.abort("ref-0")
        with store.writer("ref-1", size=len(body), expected=digest) as writer:
            assert writer.offset == len(body)
            assert writer.commit() == digest


def test_a_daemon_that_hangs_does_not_hold_up_an_interrupt(client: Client, daemon: Daemon) -> None:
    with client.lease():
        writer, start = client.content_store.writer("ref"), time.monotonic()
        try:
            os.kill(daemon.pid, signal.SIGSTOP)
            writer.write(b"a")
            with pytest.raises(KeyboardInterrupt), writer:
                raise KeyboardInterrupt
            assert time.monotonic() - start < 0.9
        finally:
            os.kill(daemon.pid, signal.SIGCONT)


def test_a_writer_says_what_it_has_written(client: Client) -> None:
    store, body = client.content_store, own(client) * 1000
    size, digest = len(body), digests.of(body)
    with client.lease():
        with store.writer("ref", size=size, expected=digests.of(b"other")) as writer:
            assert (writer.digest, writer.status().offset) == (digests.of(b""), 0)
            writer.write(body[:-9])
            assert writer.digest == digests.of(body[:-9])
            writer.write(body[-9:])
            found = writer.status()
            assert (found.ref, found.offset, found.total) == ("ref", size, size)
            assert (found.expected, writer.digest) == (digests.of(b"other"), digest)
            assert found.updated_at >= found.started_at >= store.status("ref").started_at
            assert writer.commit(expected=digest) == digest == writer.digest
            for use in (writer.status, writer.commit):
                with pytest.raises(FailedPrecondition, match="ref has ended"):
                    use()
        with pytest.raises(NotFound):
            store.status("ref")


def test_a_writer_begins_again(client: Client) -> None:
    store, body = client.content_store, own(client) * 100_000
    with client.lease():
        with store.writer("ref", size=len(body)) as writer:
            for wrong in (b"wrong" * 100_000, b"wrong"):
                writer.write(wrong)
                writer.truncate(len(wrong))
                with pytest.raises(InvalidArgument, match="but not to 3"):
                    writer.truncate(3)
                writer.truncate(0)
                assert writer.offset == store.status("ref").offset == 0
            writer.write(body[::-1])
            writer.truncate(0)
            writer.write(body[:-1])
            with pytest.raises(SizeMismatch):
                writer.commit()
        with store.writer("ref") as writer:
            assert writer.offset == len(body) - 1
            assert writer.commit(size=len(body) - 1) == digests.of(body[:-1])


def test_a_writer_waits_for_another(client: Client) -> None:
    store = client.content_store
    with client.lease():
        first = store.writer("ref")
        start = time.monotonic()
        with pytest.raises(Unavailable):
            store.writer("ref", lock_timeout=0.05)
        assert time.monotonic() - start >= 0.05
        token = CancelToken()
        cancel = Timer(0.1, token.cancel)
        cancel.start()
        with pytest.raises(Cancelled):
            store.writer("ref", lock_timeout=None, cancel=token)
        cancel.join()
        timer = Timer(0.1, first.close)
        timer.start()
        with store.writer("ref", lock_timeout=None) as second:
            assert second.offset == 0
        timer.join()
        with pytest.raises(InvalidArgument, match="lock_timeout"):
            store.writer("ref", lock_timeout=-1)
        store.abort("ref")


@pytest.mark.parametrize("count", [1, 300_000])
def test_bytes(client: Client, count: int) -> None:
    store, body = client.content_store, own(client) * count
    with client.lease():
        made = store.put(body, media_type="text/plain", labels={"a": "b"})
        assert (made.media_type, made.digest, made.size) == (
            "text/plain", digests.of(body), len(body)
        )  # fmt: skip
        assert store.put(body, labels={"c": "d"}) == Descriptor(
            "application/octet-stream", made.digest, made.size
        )
        assert store.info(made.digest).labels == {"a": "b", "c": "d"}
        assert store.read(made.digest, limit=len(body)) == body
        with pytest.raises(SizeMismatch, match=r"Pass a larger limit="):
            store.read(made.digest, limit=len(body) - 1)
        if count > 1:
            with pytest.raises(SizeMismatch, match="only 4194304"):
                store.read(made.digest)
        assert store.read(store.put(b"").digest) == b""
        with pytest.raises(NotFound):
            store.read(digests.of(body + b"other"))


def test_what_another_namespace_has_need_not_be_written(client: Client) -> None:
    body = own(client)
    size, digest = len(body), digests.of(body)
    other = client.in_namespace(client.namespace + "x")
    with client.lease(), other.lease():
        with client.content_store.writer("ref", size=size, expected=digest) as writer:
            writer.write(body)
            writer.commit()
        with other.content_store.writer("ref", size=size, expected=digest) as writer:
            assert (writer.offset, writer.digest) == (size, digest)
            assert writer.status().offset == size
            writer.commit()
        assert other.content_store.info(digest).size == size


@pytest.mark.parametrize(("start", "kind"), [(1, SizeMismatch), (0, DigestMismatch)])
def test_the_daemon_verifies(client: Client, start: int, kind: type[Exception]) -> None:
    store, body = client.content_store, own(client)
    with client.lease():
        with store.writer("ref", size=len(body), expected=digests.of(body)) as writer:
            writer.write(body[::-1][start:])
            with pytest.raises(kind):
                writer.commit()
        store.abort("ref")
        with pytest.raises(NotFound):
            store.abort("ref")


def test_a_buffer_may_be_used_again_and_its_content_comes_whole(client: Client) -> None:
    store, body = client.content_store, own(client) * 10_000
    digest, buffer = digests.of(body), bytearray(len(body) // 3)
    with client.lease():
        with store.writer("ref", size=len(body), expected=digest) as writer:
            for start in range(0, len(body), len(buffer)):
                piece = body[start : start + len(buffer)]
                buffer[: len(piece)] = piece
                writer.write(memoryview(buffer)[: len(piece)])
                buffer[:] = bytes(len(buffer))
            assert writer.offset == len(body)
            assert writer.commit() == digest
        with store.reader(digest) as file:
            assert file.read() == body


def test_more_than_was_promised(client: Client) -> None:
    store, body = client.content_store, own(client)
    with client.lease():
        with store.writer("ref", size=len(body), expected=digests.of(body)) as writer:
            writer.write(body)
            with pytest.raises(SizeMismatch, match=f"longer than the expected {len(body)} bytes"):
                writer.write(b"more")
        store.abort("ref")


def test_a_digest_of_another_kind(client: Client, daemon: Daemon) -> None:
    """Before 2.3 the daemon names content by sha256 alone, and says that the digest is wrong."""
    store, body = client.content_store, own(client)
    expected = f"sha512:{hashlib.sha512(body).hexdigest()}"
    with client.lease():
        with store.writer("ref", size=len(body), expected=expected) as writer:
            writer.write(body)
            if daemon.version_info >= (2, 3):
                assert writer.commit() == expected
                with store.reader(expected) as reader:
                    assert reader.read() == body
                store.delete(expected)
                return
            with pytest.raises(DigestMismatch) as told:
                writer.commit()
        assert "before 2.3 supports only sha256" in told.value.remedy
        store.abort("ref")
