"""Registries that keep a client busy for ever: by long waits, by cuts, and by crumbs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.deadline import Deadline
from containerd_lite.errors import RegistryError, RegistryUnavailable
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.pace import BandwidthLimit
from containerd_lite.registry.parts import PART
from containerd_lite.registry.session import MAX_WAIT
from containerd_lite.registry.upload import Outcome
from tests.hostile.registry.stage import Stage
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, Naps, Uploads, manifest
from tests.unit.registry.scripted import Request, Script, reply

pytestmark = pytest.mark.dependencies

NEVER = Deadline()
FOREVER = "99999999"
DATE = "Fri, 31 Dec 9999 23:59:59 GMT"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as opened:
        yield opened


# Waits.


@pytest.mark.parametrize("deadline", [None, NEVER])
@pytest.mark.parametrize("value", [FOREVER, DATE])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("chunk_size", [None, 4096])
def test_a_closing_put_that_asks_for_a_wait_of_years(
    stage: Stage, chunk_size: int | None, status: int, value: str, deadline: Deadline | None
) -> None:
    uploads = Uploads(stage.server)
    stage.server.on("PUT", uploads.PATH, reply(status, Retry_After=value))
    with stage.refused(RegistryUnavailable, f"HTTP {status}"):
        stage.client(timeout=5).upload_blob(
            stage.ref, LAYER, BLOB, chunk_size=chunk_size, deadline=deadline
        )
    assert sum(stage.naps) < 5


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("value", [FOREVER, DATE])
def test_any_request_that_is_asked_for_a_wait_of_years(
    stage: Stage, value: str, method: str
) -> None:
    busy = reply(503, Retry_After=value)
    uploads = Uploads(stage.server)
    for path in (TAGGED, BLOB_PATH, uploads.ROOT, uploads.PATH):
        stage.server.on(method, path, busy)
    client = stage.client()

    def act() -> None:
        if method == "DELETE":
            client.delete(stage.ref, deadline=NEVER)
        elif method == "HEAD":
            client.resolve(stage.ref, deadline=NEVER)
        elif method == "GET":
            client.open_blob(stage.ref, LAYER, deadline=NEVER).readall()
        else:
            client.upload_blob(stage.ref, LAYER, BLOB, chunk_size=4096, deadline=NEVER)

    with stage.refused(RegistryUnavailable):
        act()
    assert max(stage.naps, default=0) <= MAX_WAIT


def test_a_wait_of_minutes_without_a_deadline_is_kept_to(stage: Stage) -> None:
    stage.server.on("HEAD", TAGGED, reply(429, Retry_After="240"), manifest())
    stage.client().resolve(stage.ref, deadline=NEVER)
    assert stage.naps == [240]


def test_a_bandwidth_limit_does_not_sleep_beyond_the_deadline() -> None:
    naps = Naps()
    BandwidthLimit(1, sleep=naps).throttle(4096, Deadline(5))
    assert max(naps) <= 5


# Cuts.


def from_start(request: Request) -> int:
    return int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


def crumbs(body: bytes, count: int) -> Callable[[Request], Iterator[bytes]]:
    """Answers each request with ``count`` bytes of what it asks for, and cuts the connection."""

    def script(request: Request) -> Iterator[bytes]:
        start = from_start(request)
        asked = request.headers.get("range", "")
        last = int(asked.partition("-")[2] or len(body) - 1)
        whole = f"bytes {start}-{last}/{len(body)}"
        head = reply(206 if asked else 200, length=last + 1 - start, Content_Range=whole)
        yield head + body[start : min(start + count, last + 1)]

    return script


def test_one_byte_a_connection_is_no_progress(stage: Stage) -> None:
    stage.server.on("GET", BLOB_PATH, crumbs(BLOB, 1))
    with (
        stage.refused(RegistryUnavailable),
        stage.client(timeout=60).open_blob(stage.ref, LAYER) as reader,
    ):
        reader.readall()
    assert len(stage.server.requests) <= 5


def test_one_byte_a_connection_in_each_of_several_parts(stage: Stage) -> None:
    big = bytes(3 * PART)
    layer = Descriptor(mt.OCI_LAYER, digests.of(big), len(big))
    stage.server.on("GET", f"/v2/app/blobs/{layer.digest}", crumbs(big, 1))
    with (
        stage.refused(RegistryUnavailable),
        stage.client(timeout=60).open_blob(stage.ref, layer, connections=3) as reader,
    ):
        reader.readall()
    assert len(stage.server.requests) <= 3 * 5


def test_waits_between_connections_count_for_the_rate(stage: Stage) -> None:
    """Each connection brings enough, and is followed by a wait: 150 bytes in 10 seconds."""
    few, busy = crumbs(BLOB, 150), reply(503, Retry_After="10")
    scripts: list[Script] = [few, busy] * 200
    stage.server.on("GET", BLOB_PATH, *scripts)
    with (
        stage.refused(RegistryUnavailable, "over all its connections", "100 bytes per second"),
        stage.client(stall_timeout=30, timeout=60).open_blob(stage.ref, LAYER) as reader,
    ):
        reader.readall()
    assert sum(stage.naps) < 60


def test_headers_do_not_count_for_the_rate(stage: Stage) -> None:
    padding = {f"X_{number}": "x" * 4000 for number in range(50)}
    few, busy = crumbs(BLOB, 150), reply(503, Retry_After="10", **padding)  # type: ignore[arg-type]
    scripts: list[Script] = [few, busy] * 200
    stage.server.on("GET", BLOB_PATH, *scripts)
    with (
        stage.refused(RegistryUnavailable, "100 bytes per second"),
        stage.client(stall_timeout=30, timeout=60).open_blob(stage.ref, LAYER) as reader,
    ):
        reader.readall()
    assert sum(stage.naps) < 60


def test_a_registry_that_is_often_cut_is_read_to_the_end(stage: Stage) -> None:
    stage.server.on("GET", BLOB_PATH, crumbs(BLOB, len(BLOB) // 60))
    with stage.client(stall_timeout=30, timeout=60).open_blob(stage.ref, LAYER) as reader:
        assert reader.readall() == BLOB
    assert len(stage.server.requests) >= 60


def ignoring_ranges(step: int) -> Callable[[Request], Iterator[bytes]]:
    """Sends the blob from its start each time, and ``step`` bytes more than the time before."""
    sent = 0

    def script(_: Request) -> Iterator[bytes]:
        nonlocal sent
        sent += step
        yield reply(200, length=len(BLOB)) + BLOB[:sent]

    return script


def test_a_registry_that_sends_the_blob_from_its_start_each_time(stage: Stage) -> None:
    stage.server.on("GET", BLOB_PATH, ignoring_ranges(110))
    with (
        stage.refused(RegistryError, "ignores ranges"),
        stage.client(stall_timeout=30, timeout=60).open_blob(stage.ref, LAYER) as reader,
    ):
        reader.readall()
    assert len(stage.server.requests) < 40


def test_a_registry_without_ranges_that_is_cut_a_few_times(stage: Stage) -> None:
    stage.server.on("GET", BLOB_PATH, ignoring_ranges(len(BLOB) // 6))
    with stage.client(stall_timeout=30, timeout=60).open_blob(stage.ref, LAYER) as reader:
        assert reader.readall() == BLOB


# Crumbs of uploads.


@pytest.mark.parametrize("kept", [1, 2, 16])
def test_a_registry_that_keeps_crumbs_of_each_chunk(stage: Stage, kept: int) -> None:
    uploads = Uploads(stage.server)

    def crumb(request: Request) -> bytes:
        body = request.body[:kept]
        return uploads.patch(Request(request.method, request.target, request.headers, body=body))

    stage.server.on("PATCH", uploads.PATH, crumb)
    with pytest.raises(RegistryError, match="too little of each chunk"):
        stage.client(timeout=60).upload_blob(stage.ref, LAYER, BLOB, chunk_size=4096)
    sent = sum(len(request.body) for request in stage.server.seen("PATCH", uploads.PATH))
    assert sent <= 4 * len(BLOB)
    assert stage.server.seen("DELETE", uploads.PATH)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_registry_that_cuts_each_request_after_two_bytes(stage: Stage, method: str) -> None:
    uploads = Uploads(stage.server)
    stage.server.cuts[method, uploads.PATH] = [2] * 10_000
    stage.server.cuts["PATCH", uploads.PATH] = [2] * 10_000
    with stage.refused(RegistryUnavailable):
        stage.client(timeout=60).upload_blob(
            stage.ref, LAYER, BLOB, chunk_size=None if method == "PUT" else 4096
        )
    assert len(stage.server.requests) < 20


def test_a_registry_that_refuses_each_chunk_and_has_two_more_bytes(stage: Stage) -> None:
    held = 0

    def status(_: Request) -> bytes:
        nonlocal held
        held += 2
        return reply(204, Location=uploads.PATH, Range=f"0-{held - 1}")

    uploads = Uploads(stage.server)
    stage.server.on("PATCH", uploads.PATH, reply(416))
    stage.server.on("GET", uploads.PATH, status)
    with pytest.raises(RegistryError):
        stage.client(timeout=60).upload_blob(stage.ref, LAYER, BLOB, chunk_size=4096)
    assert len(stage.server.requests) < 20


def test_a_registry_that_loses_the_upload_a_little_later_each_time(stage: Stage) -> None:
    """Each loss comes after more bytes than ever before, and all are sent again."""
    uploads = Uploads(stage.server)
    furthest = 0

    def patch(request: Request) -> bytes:
        nonlocal furthest
        start = int(request.headers["content-range"].partition("-")[0])
        if start > furthest:
            furthest = start
            return reply(404)
        return uploads.patch(request)

    stage.server.on("PATCH", uploads.PATH, patch)
    with pytest.raises(RegistryError):
        stage.client(timeout=60).upload_blob(stage.ref, LAYER, BLOB, chunk_size=200)
    assert len(stage.server.seen("POST", uploads.ROOT)) < 10


def test_an_upload_that_is_often_cut_is_finished(stage: Stage) -> None:
    uploads = Uploads(stage.server)
    stage.server.cuts["PUT", uploads.PATH] = [200]
    stage.server.cuts["PATCH", uploads.PATH] = [200] * 40
    assert stage.client(timeout=60).upload_blob(stage.ref, LAYER, BLOB) is Outcome.UPLOADED
    assert uploads.done == BLOB


def test_a_pull_from_a_registry_that_cuts_each_connection_after_one_byte(stage: Stage) -> None:
    """Each reader gets a few bytes before it gives up, and the pull opens few readers."""
    drops = 0

    def crumb(request: Request) -> bytes | Iterator[bytes]:
        nonlocal drops
        drops += 1
        return reply(404) if drops > 20 else crumbs(BLOB, 1)(request)

    config = {"mediaType": mt.OCI_CONFIG, "digest": LAYER.digest, "size": LAYER.size}
    body = json.dumps(
        {"schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": config, "layers": []}
    ).encode()
    stage.server.on("HEAD", TAGGED, manifest(body))
    stage.server.on("GET", f"/v2/app/manifests/{digests.of(body)}", manifest(body))
    stage.server.on("GET", BLOB_PATH, crumb)
    with (
        RegistryResolver(credentials=None, plain_http=True, hosts_dirs=()) as resolver,
        pytest.raises(RegistryUnavailable),
    ):
        Layout(stage.folder / "layout").pull(str(stage.ref), all_platforms=True, resolver=resolver)
    assert drops <= 12
