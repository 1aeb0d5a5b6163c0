"""Uploads that fail, and what is told of any: typed errors, nothing left behind, progress."""

from __future__ import annotations

import io
import traceback
from collections.abc import Iterator
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry
from tests.harness.process import wait_until
from tests.unit.registry.samples import BLOB, LAYER, OTHER, Naps, Uploads
from tests.unit.registry.scripted import Request, Scripted, challenge, reply

ROOT, ONE = Uploads.ROOT, Uploads.PATH
SIZE = len(BLOB)
#: More than the sockets of both ends hold, so that sending it has to wait for the peer.
BIG = b"\0" * (24 << 20)
#: Seconds; against hanging.
PATIENCE = 5.0
BIG_LAYER = Descriptor(mt.OCI_LAYER, digests.of(BIG), len(BIG))


@pytest.fixture
def uploads(server: Scripted) -> Uploads:
    return Uploads(server)


class Opened:
    """Opens content, and knows every file that it gave away."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.files: list[io.BytesIO] = []

    def __call__(self, offset: int) -> io.BytesIO:
        self.files.append(io.BytesIO(self._content[offset:]))
        return self.files[-1]

    @property
    def all_closed(self) -> bool:
        return bool(self.files) and all(file.closed for file in self.files)


@pytest.mark.parametrize("answer", [reply(500), reply(405), b""])
def test_a_delete_that_fails_hides_no_error(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads, answer: bytes
) -> None:
    server.on("PUT", ONE, reply(413))
    server.on("DELETE", ONE, answer)
    with pytest.raises(RegistryError, match="413"):
        registry.upload_blob(ref, LAYER, BLOB)
    assert len(server.seen("DELETE", ONE)) == 1


@pytest.mark.parametrize("chunk_size", [None, 4096])
def test_content_that_ends_too_early(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    uploads: Uploads,
    chunk_size: int | None,
) -> None:
    content = Opened(BLOB[:5000])
    with pytest.raises(SizeMismatch, match="5000"):
        registry.upload_blob(ref, LAYER, content, chunk_size=chunk_size)
    assert uploads.done is None
    assert content.all_closed
    assert len(server.seen("DELETE", ONE)) == 1


@pytest.mark.parametrize("single_post", [False, True])
def test_content_that_cannot_be_read(
    server: Scripted, registry: Registry, ref: Reference, tmp_path: Path, single_post: bool
) -> None:
    uploads = Uploads(server)
    server.on("GET", "/v2/", reply(200))

    class Broken(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            raise OSError(5, "Input/output error")

    for content in (tmp_path / "none", tmp_path, lambda offset: Broken(BLOB)):
        with pytest.raises(InvalidArgument, match="cannot be read"):
            registry.upload_blob(ref, LAYER, content, single_post=single_post)
    assert uploads.done is None
    assert len(server.seen("DELETE", ONE)) == (0 if single_post else 3)


def test_content_that_fails_in_another_way(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    """As content that comes over HTTP itself does."""
    error = IncompleteRead(b"")

    class Broken(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            raise error

    with pytest.raises(IncompleteRead) as caught:
        registry.upload_blob(ref, LAYER, lambda offset: Broken(BLOB))
    assert caught.value is error
    # the server notices only after a moment that the upload was cut off
    assert wait_until(lambda: len(server.seen("PUT", ONE)) == 1, PATIENCE)
    assert len(server.seen("DELETE", ONE)) == 1


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(32, "Broken pipe"),
        ConnectionResetError("mine"),
        TimeoutError("mine"),
        OSError(28, "No space left on device"),
        RegistryUnavailable("mine"),
        RegistryNotFound("mine"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("options", [{}, {"chunk_size": 4096}, {"single_post": True}], ids=str)
def test_a_callback_that_raises_ends_it_and_is_told_as_it_is(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    uploads: Uploads,
    naps: Naps,
    options: dict[str, Any],
    error: Exception,
) -> None:
    server.on("GET", "/v2/", reply(200))
    events: list[ProgressEvent] = []

    def complain(event: ProgressEvent) -> None:
        events.append(event)
        raise error

    with pytest.raises(type(error)) as caught:
        registry.upload_blob(ref, LAYER, BLOB, progress=complain, **options)
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert len(events) == 1
    assert naps == []
    assert len(server.seen("DELETE", ONE)) == (0 if "single_post" in options else 1)


def test_content_that_the_registry_finds_to_be_another(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    with pytest.raises(DigestMismatch, match="DIGEST_INVALID"):
        registry.upload_blob(ref, LAYER, b"!" + BLOB[1:])
    assert len(server.seen("DELETE", ONE)) == 1


def test_an_answer_before_the_content_has_gone_is_an_answer(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    Uploads(server, BIG_LAYER)
    server.hasty.add(("PUT", ONE))
    server.on("PUT", ONE, reply(413, {"errors": [{"code": "SIZE_INVALID", "message": "too big"}]}))
    with pytest.raises(RegistryError, match="too big") as caught:
        registry.upload_blob(ref, BIG_LAYER, BIG)
    assert (caught.value.status, caught.value.codes) == (413, ("SIZE_INVALID",))
    assert len(server.seen("PUT", ONE)) == 1
    assert naps == []


def test_a_challenge_before_the_content_has_gone_is_answered(
    server: Scripted, ref: Reference, naps: Naps
) -> None:
    uploads = Uploads(server, BIG_LAYER)
    server.hasty.add(("PUT", ONE))

    def doubt(_: Request) -> bytes:
        server.hasty.clear()
        return challenge('Basic realm="x"')

    server.on("PUT", ONE, doubt, uploads.put)
    with Registry(server.host, credentials=Credentials("me", "pw"), sleep=naps) as registry:
        registry.upload_blob(ref, BIG_LAYER, BIG)
    assert uploads.done == BIG
    assert naps == []


def test_one_whose_credentials_are_refused_while_the_content_goes(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    Uploads(server, BIG_LAYER)
    server.hasty.add(("PUT", ONE))
    server.on("PUT", ONE, reply(401))
    with pytest.raises(RegistryUnauthorized):
        registry.upload_blob(ref, BIG_LAYER, BIG)


def test_the_deadline_holds_for_the_whole(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    def stall(_: Request) -> Iterator[bytes]:
        server.outlasted = not server.closing.wait(5)
        yield b""

    server.on("PUT", ONE, stall)
    with pytest.raises(RegistryUnavailable, match="in time"):
        registry.upload_blob(ref, LAYER, BLOB, deadline=Deadline(0.3))
    assert not server.outlasted
    assert len(server.seen("DELETE", ONE)) == 1


# What is told, and how fast


def test_progress_is_told_of_what_went_out(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    events: list[ProgressEvent] = []
    registry.upload_blob(ref, LAYER, BLOB, chunk_size=4096, progress=events.append)
    told = [(event.stage, event.offset) for event in events]
    ends = [("uploading", 4096), ("uploading", 8192), ("uploading", SIZE), ("uploaded", SIZE)]
    assert told == ends
    assert {(event.name, event.total) for event in events} == {(LAYER.digest, SIZE)}


def test_a_cut_is_told_with_its_reason(server: Scripted, ref: Reference, naps: Naps) -> None:
    Uploads(server)
    server.cuts["PUT", ONE] = [3000]
    events: list[ProgressEvent] = []
    with Registry(server.host, sleep=naps, progress=events.append) as registry:
        registry.upload_blob(ref, LAYER, BLOB)
    (event,) = events
    assert (event.stage, event.wait) == ("retrying", naps[0])
    assert "broke the connection" in event.reason


def test_uploads_keep_to_the_bandwidth(server: Scripted, ref: Reference, naps: Naps) -> None:
    uploads = Uploads(server)
    with Registry(server.host, sleep=naps, max_rate=1.0) as registry:
        registry.upload_blob(ref, LAYER, BLOB)
    assert uploads.done == BLOB
    assert len(naps) == 3  # pieces of 4 KiB
    assert SIZE - 5 < max(naps) <= SIZE


@pytest.mark.parametrize("answer", [None, reply(500), reply(413), b""])
def test_content_is_closed_however_it_ends(
    server: Scripted, registry: Registry, ref: Reference, answer: bytes | None
) -> None:
    uploads = Uploads(server, BIG_LAYER)
    content = Opened(BIG)
    if answer is None:
        registry.upload_blob(ref, BIG_LAYER, content)
        assert uploads.done == BIG
    else:
        server.hasty.add(("PUT", ONE))
        server.on("PUT", ONE, answer)
        server.on("PATCH", ONE, reply(500))
        with pytest.raises(ContainerdError) as caught:
            registry.upload_blob(ref, BIG_LAYER, content)
        assert traceback.format_exception(caught.value)  # which holds on to all frames till here
    assert content.all_closed


def test_a_wrong_digest_stays_wrong_in_a_single_post(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    error = {"errors": [{"code": "DIGEST_INVALID", "message": OTHER}]}
    server.on("GET", "/v2/", reply(200))
    server.on("POST", ROOT, reply(400, error))
    with pytest.raises(DigestMismatch):
        registry.upload_blob(ref, LAYER, BLOB, single_post=True)
    assert len(server.seen("POST", ROOT)) == 1
