"""Content and ingests: what is written, read and listed, beside what ``ctr`` says of it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    AlreadyExists,
    ContainerdError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
)
from containerd_lite.services._base import CallContext
from containerd_lite.services.content import ContentService, ContentWrite
from containerd_lite.services.filters import Filter
from tests.e2e.services.leftovers import (
    labels_of,
    nothing_stays,  # noqa: F401
    rows,
)
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]

ROOT = {"containerd.io/gc.root": "kept"}


@pytest.fixture
def content(client: Client) -> ContentService:
    return ContentService(client._channel, CallContext(client.namespace))


def digest_of(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def put(content: ContentService, body: bytes, **labels: str) -> str:
    """A blob that garbage collection leaves alone."""
    write = content.write("put")
    try:
        write.stat(len(body), digest_of(body))
        return write.commit(0, len(body), digest_of(body), {**ROOT, **labels}, data=body)
    finally:
        write.close()


def abort(content: ContentService, write: ContentWrite, ref: str) -> None:
    """Abort once the daemon has let go: it may write still when a stream is cancelled."""
    with suppress(ContainerdError):
        write.finish(0, b"", 10.0)
    write.close()
    content.abort(ref)


def test_a_write_and_its_answers(content: ContentService, daemon: Daemon, namespace: str) -> None:
    body = f"of {namespace}".encode() * 1000
    digest, half = digest_of(body), len(body) // 2
    write = content.write("ref")
    statuses = [write.status]
    assert write.stat(0, "") == 0
    found = write.status
    assert statuses == [None]
    assert found is not None
    assert (found.action, found.offset, found.total) == ("stat", 0, 0)
    assert found.started_at is not None
    assert found.started_at == content.status("ref").started_at
    write.chunk(0, memoryview(body)[:half], total=len(body), expected=digest)
    write.chunk(half, memoryview(body)[half:])
    assert write.commit(len(body), 0, "", ROOT) == digest  # size and digest as a chunk told
    done = write.status
    assert done is not None
    assert (done.action, done.digest) == ("commit", digest)
    write.close()
    assert daemon.ctr("content", "get", digest, namespace=namespace).stdout == body
    content.delete(digest)


def test_what_a_chunk_expects_is_held_to(content: ContentService, namespace: str) -> None:
    body = namespace.encode()
    write = content.write("ref")
    write.stat(0, "")
    write.chunk(0, memoryview(body), total=len(body), expected=digest_of(b"else"))
    with pytest.raises(FailedPrecondition):
        write.commit(len(body), 0, "", None)
    abort(content, write, "ref")


def test_an_error_that_only_the_end_finds(content: ContentService) -> None:
    write = content.write("ref")
    write.stat(0, "")
    write.chunk(0, memoryview(b"a"))
    with pytest.raises(OutOfRange):
        write.finish(2, b"b", 10.0)
    assert content.status("ref").offset == write.offset == 1
    abort(content, write, "ref")


def test_ingests(content: ContentService, daemon: Daemon, namespace: str) -> None:
    body = namespace.encode() * 100
    write = content.write("one")
    write.stat(len(body), digest_of(body))
    write.chunk(0, memoryview(body)[:200])
    other = content.write("other")
    other.stat(7, "")
    write.stat(len(body), digest_of(body))  # answered when the chunk was
    found = content.status("one")
    assert (found.ref, found.offset, found.total) == ("one", 200, len(body))
    assert found.started_at <= found.updated_at
    assert found.expected in ("", digest_of(body))  # daemons keep it with the writer alone
    statuses = content.list_statuses()
    listed = {line[0]: line[1] for line in rows(daemon, namespace, "content", "active")}
    assert {status.ref: f"{status.offset}B" for status in statuses} == listed
    assert [one.ref for one in content.list_statuses(Filter("ref") == "other")] == ["other"]
    for stream, ref in ((write, "one"), (other, "other")):
        abort(content, stream, ref)
    with pytest.raises(NotFound):
        content.status("one")
    with pytest.raises(NotFound):
        content.abort("one")
    assert content.list_statuses() == []


def test_blobs(content: ContentService, daemon: Daemon, namespace: str) -> None:
    bodies = {f"{name} of {namespace}".encode(): name for name in ("a", "b", "c")}
    digests = {put(content, body, name=name): body for body, name in bodies.items()}
    found = {info.digest: info for info in content.list()}
    listed = {line[0]: line for line in rows(daemon, namespace, "content", "ls")}
    assert set(found) == set(digests) == set(listed)
    for digest, info in found.items():
        one = content.info(digest)
        assert one.updated_at >= one.created_at
        if daemon.version_info < (2,):  # its list leaves that time out
            assert info.updated_at.year in (1, 1970)
            info = replace(info, updated_at=one.updated_at)
        assert one == info
        assert f"{info.size}B" == listed[digest][1]
        assert info.labels == labels_of(listed[digest][-1])
        assert info.size == len(digests[digest])
    a, b, _ = digests
    assert {one.digest for one in content.list(f"labels.name==a,digest=={a}", f"digest=={b}")} == {
        a,
        b,
    }
    assert [one.digest for one in content.list(Filter("labels", "name") == "b")] == [b]
    for digest in digests:
        content.delete(digest)
    assert list(content.list()) == []
    for call in (content.info, content.delete):
        with pytest.raises(NotFound):
            call(a)


def test_update_masks(content: ContentService, daemon: Daemon, namespace: str) -> None:
    digest = put(content, namespace.encode(), a="1", b="2")

    def labels() -> dict[str, str]:
        ((*_, last),) = rows(daemon, namespace, "content", "ls")
        return labels_of(last)

    assert content.update(digest, {"c": "3", "a": ""}).labels == {**ROOT, "b": "2", "c": "3"}
    assert labels() == {**ROOT, "b": "2", "c": "3"}
    before = content.info(digest)
    assert content.update(digest, {}) == before
    assert content.update(digest, {"b": "4", "c": "5"}, fields=["labels.c"]).labels == {
        **ROOT,
        "b": "2",
        "c": "5",
    }
    assert content.update(digest, {**ROOT, "x": "y"}, fields=["labels"]).labels == labels()
    assert labels() == {**ROOT, "x": "y"}
    assert content.update(digest, ROOT, fields=()).labels == labels() == ROOT
    with pytest.raises(InvalidArgument):
        content.update(digest, {}, fields=["size"])
    content.delete(digest)
    with pytest.raises(NotFound):
        content.update(digest, {"a": "b"})


def test_reading(content: ContentService, daemon: Daemon, namespace: str) -> None:
    body = namespace.encode() * 300_000  # more than a message
    digest = put(content, body[: 1 << 20])
    with content.read(digest) as whole:
        read = b"".join(whole)
    assert read == daemon.ctr("content", "get", digest, namespace=namespace).stdout
    with content.read(digest, 300, 5) as part:
        assert [bytes(chunk) for chunk in part] == [body[300:305]]
        assert part.offset == 0  # of what was asked for
    with content.read(digest, 1 << 21) as none, pytest.raises(OutOfRange):
        none.receive()
    content.delete(digest)
    with content.read(digest) as none, pytest.raises(NotFound):
        none.receive()


def test_chunks_tell_where_they_begin(content: ContentService, namespace: str) -> None:
    body = namespace.encode() * 300_000
    begin = 1000
    write = content.write("big")
    write.stat(0, "")
    write.chunk(0, memoryview(body))
    digest = write.commit(len(body), len(body), "", ROOT)
    write.close()
    at = 0
    with content.read(digest, begin) as stream:
        for chunk in stream:
            assert stream.offset == at
            assert chunk == body[begin + at : begin + at + len(chunk)]
            at += len(chunk)
    assert at == len(body) - begin > 1 << 21
    content.delete(digest)


def test_what_is_there_is_not_written_again(content: ContentService, namespace: str) -> None:
    body = namespace.encode()
    digest = put(content, body)
    write = content.write("again")
    with pytest.raises(AlreadyExists):
        write.stat(len(body), digest)
    write.close()
    content.delete(digest)
