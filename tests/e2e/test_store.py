"""containerd's content store, read and written by hand."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    DigestMismatch,
    NotFound,
    OutOfRange,
    SizeMismatch,
    Unavailable,
)
from containerd_lite.oci import digest as digests
from containerd_lite.store.daemon import DaemonWriter
from tests.harness.daemon import Daemon
from tests.harness.process import wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_write_read_and_label(client: Client, daemon: Daemon, namespace: str) -> None:
    body = bytes(range(256)) * 20_000  # 5 MiB: several messages each way
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
    store, digest = client.content_store, digests.of(b"hello")
    with client.lease():
        with store.writer("ref", size=5, expected=digest) as writer:
            writer.write(b"he")
            with pytest.raises(Unavailable):
                store.writer("ref", size=5, expected=digest)
            writer.write(b"llo")
            writer.commit()
        with pytest.raises(AlreadyExists):
            store.writer("other", size=5, expected=digest)


def test_what_was_written_is_there_for_the_next_writer(client: Client) -> None:
    store, digest = client.content_store, digests.of(b"hello")
    with client.lease():
        with store.writer("ref", size=5, expected=digest) as writer:
            writer.write(b"hel")
            # Answers are not waited for, but the daemon has it in a moment.
            assert wait_until(lambda: 3 in [status.offset for status in store.statuses()], 5)
        found: list[DaemonWriter] = []

        def is_free() -> bool:
            """Whether the daemon has seen that the first writer has gone."""
            with suppress(Unavailable):
                found.append(store.writer("ref", size=5, expected=digest))
            return bool(found)

        assert wait_until(is_free, 5)
        with found[0] as writer:
            assert writer.offset == 3
            writer.write(b"lo")
            assert writer.commit() == digest


def test_what_another_namespace_has_need_not_be_written(client: Client) -> None:
    digest = digests.of(b"shared")
    other = client.in_namespace(client.namespace + "x")
    with client.lease(), other.lease():
        with client.content_store.writer("ref", size=6, expected=digest) as writer:
            writer.write(b"shared")
            writer.commit()
        with other.content_store.writer("ref", size=6, expected=digest) as writer:
            assert writer.offset == 6
            writer.commit()
        assert other.content_store.info(digest).size == 6


@pytest.mark.parametrize(("written", "kind"), [(b"hell", SizeMismatch), (b"jello", DigestMismatch)])
def test_the_daemon_verifies(client: Client, written: bytes, kind: type[Exception]) -> None:
    store = client.content_store
    with client.lease():
        with store.writer("ref", size=5, expected=digests.of(b"hello")) as writer:
            writer.write(written)
            with pytest.raises(kind):
                writer.commit()
        store.abort("ref")
        with pytest.raises(NotFound):
            store.abort("ref")
