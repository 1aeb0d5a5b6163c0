"""Uploads in chunks, and those that break off: gone on with, begun again, or given up tidily."""

from __future__ import annotations

from typing import Any

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import (
    RegistryError,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.unit.registry.samples import BLOB, LAYER, Naps, Uploads
from tests.unit.registry.scripted import Request, Scripted, reply

pytestmark = pytest.mark.interpreter

ROOT, ONE = Uploads.ROOT, Uploads.PATH
SIZE = len(BLOB)


@pytest.fixture
def uploads(server: Scripted) -> Uploads:
    return Uploads(server)


def sent(server: Scripted, method: str = "PATCH") -> list[str]:
    """The ranges of the requests that carried content, or the sizes of their bodies."""
    requests = server.seen(method, ONE)
    return [r.headers.get("content-range", r.headers["content-length"]) for r in requests]


# Chunks


def test_chunks_come_in_order_each_to_the_place_that_the_last_answer_named(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    assert registry.upload_blob(ref, LAYER, BLOB, chunk_size=4096) is Outcome.UPLOADED
    assert sent(server) == ["0-4095", "4096-8191", f"8192-{SIZE - 1}"]
    assert [len(r.body) for r in server.seen("PATCH", ONE)] == [4096, 4096, SIZE - 8192]
    assert len({r.target for r in server.seen("PATCH", ONE)}) == 3
    assert sent(server, "PUT") == ["0"]
    assert uploads.done == BLOB


@pytest.mark.parametrize(
    ("least", "first"), [("6000", "0-5999"), ("10", "0-4095"), ("x", "0-4095")]
)
def test_chunks_are_as_big_as_the_registry_wants_them(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads, least: str, first: str
) -> None:
    uploads.least_chunk = least
    registry.upload_blob(ref, LAYER, BLOB, chunk_size=4096)
    assert sent(server)[0] == first
    assert uploads.done == BLOB


def test_what_the_registry_did_not_keep_of_a_chunk_is_sent_again(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    def miser(request: Request) -> bytes:
        half = request.body[: max(1, len(request.body) // 2)]
        kept = Request(request.method, request.target, request.headers, body=half)
        return uploads.patch(kept)

    server.on("PATCH", ONE, miser)
    registry.upload_blob(ref, LAYER, BLOB, chunk_size=4096)
    assert sent(server)[:2] == ["0-4095", "2048-6143"]
    assert uploads.done == BLOB


def test_chunks_without_a_range_in_the_answers(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("POST", ROOT, reply(202, Location="one"))
    server.on("PATCH", ONE, reply(202))
    server.on("PUT", ONE, reply(201))
    registry.upload_blob(ref, LAYER, BLOB, chunk_size=9999)
    assert sent(server) == ["0-9998", f"9999-{SIZE - 1}"]


@pytest.mark.parametrize("answer", ["bytes=0-4095", " 0-4095"])
def test_ranges_may_be_written_so(
    server: Scripted, registry: Registry, ref: Reference, answer: str
) -> None:
    whole = answer.replace("4095", str(SIZE - 1))
    server.on("POST", ROOT, reply(202, Location="one"))
    server.on("PATCH", ONE, reply(202, Range=answer), reply(202, Range=whole))
    server.on("PUT", ONE, reply(201))
    registry.upload_blob(ref, LAYER, BLOB, chunk_size=SIZE)
    assert sent(server) == [f"0-{SIZE - 1}", f"4096-{SIZE - 1}"]


@pytest.mark.parametrize("answer", ["1-4095", "0-", "-", "octets", "0-" + "9" * 30, "0-4095\x1b[m"])
def test_ranges_that_cannot_be(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads, answer: str
) -> None:
    server.on("PATCH", ONE, reply(202, Range=answer))
    with pytest.raises(RegistryError, match="range") as caught:
        registry.upload_blob(ref, LAYER, BLOB, chunk_size=4096)
    assert "\x1b" not in str(caught.value)
    assert len(server.seen("DELETE", ONE)) == 1


def test_a_registry_that_holds_more_than_there_is(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.on("PATCH", ONE, reply(416))
    server.on("GET", ONE, reply(204, Range=f"0-{SIZE}"))
    with pytest.raises(SizeMismatch):
        registry.upload_blob(ref, LAYER, BLOB, chunk_size=4096)
    assert len(server.seen("DELETE", ONE)) == 1


def test_after_a_416_the_registry_is_asked_where_to_go_on(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.on("PATCH", ONE, uploads.patch, reply(416, Location="/nowhere"), uploads.patch)
    assert registry.upload_blob(ref, LAYER, BLOB, chunk_size=6000) is Outcome.UPLOADED
    assert sent(server) == ["0-5999", f"6000-{SIZE - 1}", f"6000-{SIZE - 1}"]
    (asked,) = server.seen("GET", ONE)
    assert asked.target != server.seen("PATCH", ONE)[2].target
    assert uploads.done == BLOB


@pytest.mark.parametrize("size", [1, 2])
def test_a_416_because_the_registry_has_it_all(
    server: Scripted, registry: Registry, ref: Reference, size: int
) -> None:
    """``0-0`` stands for nothing at all, unless what begins at 0 is refused."""
    uploads = Uploads(server, Descriptor(mt.OCI_LAYER, digests.of(BLOB[:size]), size))
    server.cuts["PATCH", ONE] = [size]
    registry.upload_blob(ref, uploads.descriptor, BLOB[:size], chunk_size=9)
    assert uploads.done == BLOB[:size]


# Cuts


@pytest.mark.parametrize("chunk_size", [None, 4096, SIZE])
@pytest.mark.parametrize("held", [0, 1, 2, 3000])
def test_a_cut_is_followed_by_the_rest(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    uploads: Uploads,
    naps: Naps,
    chunk_size: int | None,
    held: int,
) -> None:
    method = "PATCH" if chunk_size else "PUT"
    server.cuts[method, ONE] = [held]
    assert registry.upload_blob(ref, LAYER, BLOB, chunk_size=chunk_size) is Outcome.UPLOADED
    assert uploads.done == BLOB
    assert len(server.seen("GET", ONE)) == (2 if held == 1 else 1)
    again = server.seen("PATCH", ONE)[-1 if chunk_size is None else 1]
    assert held == 1 or again.headers["content-range"].startswith(f"{held}-")
    assert len(naps) == (2 if held == 1 else 1)
    assert not server.seen("DELETE", ONE)


def test_a_cut_of_every_request_that_brings_something_is_survived(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads, naps: Naps
) -> None:
    server.cuts["PUT", ONE] = [1000]
    server.cuts["PATCH", ONE] = [1000] * 7
    registry.upload_blob(ref, LAYER, BLOB)
    assert uploads.done == BLOB
    assert len(naps) == 8
    assert all(0 < nap <= 5 for nap in naps)


@pytest.mark.parametrize("chunk_size", [None, 4096])
def test_three_cuts_without_a_byte_between_are_the_end(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    uploads: Uploads,
    naps: Naps,
    chunk_size: int | None,
) -> None:
    server.cuts["PUT", ONE] = [0] * 9
    server.cuts["PATCH", ONE] = [0] * 9
    with pytest.raises(RegistryUnavailable, match="upload"):
        registry.upload_blob(ref, LAYER, BLOB, chunk_size=chunk_size)
    assert len(server.seen("GET", ONE)) == len(naps) == 2
    assert [r.target for r in server.seen("DELETE", ONE)] == [uploads.place]


def test_a_registry_that_forgets_again_and_again_is_given_up(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    """It falls back by turns: never twice in a row at one byte, and there is never more of it."""
    here, there = reply(204, Range="0-1499"), reply(204, Range="0-999")
    server.on("PATCH", ONE, reply(416))
    server.on("GET", ONE, *[here, there] * 20)
    with pytest.raises(RegistryError, match="did not expect the chunk"):
        registry.upload_blob(ref, LAYER, BLOB, chunk_size=SIZE)
    assert len(server.seen("GET", ONE)) == 3


def test_an_upload_that_the_registry_lost_is_begun_again(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.on("PATCH", ONE, uploads.patch, reply(404), uploads.patch)
    registry.upload_blob(ref, LAYER, BLOB, chunk_size=6000)
    assert sent(server) == ["0-5999", f"6000-{SIZE - 1}", "0-5999", f"6000-{SIZE - 1}"]
    assert uploads.done == BLOB
    assert len(server.seen("POST", ROOT)) == 2


def test_an_upload_that_is_gone_after_a_cut_is_begun_again(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.cuts["PUT", ONE] = [5000]
    server.on("GET", ONE, reply(404))
    assert registry.upload_blob(ref, LAYER, BLOB) is Outcome.UPLOADED
    assert len(server.seen("POST", ROOT)) == 2
    assert uploads.done == BLOB


@pytest.mark.parametrize("chunk_size", [None, SIZE])
def test_a_blob_whose_last_answer_was_lost_is_not_sent_again(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    uploads: Uploads,
    chunk_size: int | None,
) -> None:
    server.cuts["PUT", ONE] = [SIZE]
    assert registry.upload_blob(ref, LAYER, BLOB, chunk_size=chunk_size) is Outcome.UPLOADED
    assert len(server.seen("POST", ROOT)) == 1
    assert uploads.done == BLOB


def test_a_registry_that_goes_away_is_said_to_be_away(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    def leave(request: Request) -> bytes:
        server.let_nobody_in()
        return uploads.put(request)

    server.cuts["PUT", ONE] = [5000]
    server.on("PUT", ONE, leave)
    with pytest.raises(RegistryUnavailable, match=r"cannot be reached \(Connection refused\)"):
        registry.upload_blob(ref, LAYER, BLOB)


def test_an_upload_that_is_always_lost_is_given_up(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.on("PUT", ONE, reply(404))
    with pytest.raises(RegistryError, match="404"):
        registry.upload_blob(ref, LAYER, BLOB)
    assert len(server.seen("PUT", ONE)) == 3


def test_a_post_with_it_all_that_is_cut_goes_the_long_way(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.on("GET", "/v2/", reply(200))
    server.cuts["POST", ROOT] = [100]
    assert registry.upload_blob(ref, LAYER, BLOB, single_post=True) is Outcome.UPLOADED
    assert uploads.done == BLOB
    assert [len(r.body) for r in server.seen("POST", ROOT)] == [100, 0]


def test_a_registry_that_cannot_serve_now_is_asked_again_where_it_is(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.on("PUT", ONE, reply(503), uploads.put)
    registry.upload_blob(ref, LAYER, BLOB)
    assert uploads.done == BLOB


# Registries that have too much to do

#: What carries content, or ends it, by how the upload goes.
BUSY = [
    ("PUT", ONE, {}),
    ("PATCH", ONE, {"chunk_size": 4096}),
    ("PUT", ONE, {"chunk_size": 4096}),
    ("POST", ROOT, {"single_post": True}),
]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("method", "path", "options"), BUSY)
def test_a_registry_that_says_when_to_come_again_is_heard(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    naps: Naps,
    uploads: Uploads,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
) -> None:
    """More often than a cut without a byte between would be survived."""
    scripts = {"PUT": uploads.put, "PATCH": uploads.patch, "POST": uploads.begin}
    server.on("GET", "/v2/", reply(200))
    server.on(method, path, *[reply(status, Retry_After="2")] * 4, scripts[method])
    registry.upload_blob(ref, LAYER, BLOB, **options)
    assert uploads.done == BLOB
    assert naps == [2.0] * 4


@pytest.mark.parametrize(("method", "path", "options"), BUSY[1:3])
def test_a_registry_that_is_busy_for_good_is_given_up(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    naps: Naps,
    uploads: Uploads,
    method: str,
    path: str,
    options: dict[str, Any],
) -> None:
    server.on(method, path, reply(429, Retry_After="2"))
    with pytest.raises(RegistryUnavailable, match="429"):
        registry.upload_blob(ref, LAYER, BLOB, **options)
    assert naps == [2.0] * 4
    assert len(server.seen(method, path)) == 5
    assert len(server.seen("DELETE", ONE)) == 1


@pytest.mark.parametrize("seconds", [None, 50])
@pytest.mark.parametrize(("method", "path", "options"), BUSY)
def test_a_registry_that_asks_for_a_longer_wait_than_there_is_time(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    naps: Naps,
    uploads: Uploads,
    method: str,
    path: str,
    options: dict[str, Any],
    seconds: float | None,
) -> None:
    server.on("GET", "/v2/", reply(200))
    server.on(method, path, reply(429, Retry_After="3600"))
    deadline = None if seconds is None else Deadline(seconds)
    with pytest.raises(RegistryUnavailable, match="429"):
        registry.upload_blob(ref, LAYER, BLOB, deadline=deadline, **options)
    assert naps == []


def test_a_busy_registry_does_not_excuse_cuts(
    server: Scripted, registry: Registry, ref: Reference, uploads: Uploads
) -> None:
    server.on("PATCH", ONE, b"", reply(503), b"", reply(429), b"", uploads.patch)
    with pytest.raises(RegistryUnavailable, match="broke"):
        registry.upload_blob(ref, LAYER, BLOB, chunk_size=SIZE)
    assert len(server.seen("PATCH", ONE)) == 5
