"""The registry client against scripted answers: each failure is its own typed error."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    OutOfRange,
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
from containerd_lite.registry.client import MAX_TRIES, Registry
from tests.unit.registry.scripted import Request, Scripted, reply

CONFIG = {"mediaType": mt.OCI_CONFIG, "digest": digests.of(b"{}"), "size": 2}
BODY = json.dumps(
    {"schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": CONFIG, "layers": []}
).encode()
TARGET = Descriptor(mt.OCI_MANIFEST, digests.of(BODY), len(BODY))
BLOB = bytes(range(256)) * 40
LAYER = Descriptor(mt.OCI_LAYER, digests.of(BLOB), len(BLOB))
OTHER = digests.of(b"other")

TAGGED = "/v2/app/manifests/v1"
PINNED = f"/v2/app/manifests/{TARGET.digest}"
BLOB_PATH = f"/v2/app/blobs/{LAYER.digest}"


def manifest(body: bytes = BODY, kind: str = mt.OCI_MANIFEST, digest: str = "") -> bytes:
    named = digest or digests.of(body)
    return reply(200, body, Content_Type=kind, Docker_Content_Digest=named)


class Naps(list[float]):
    """Stands in for ``time.sleep`` and notes the waits."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def registry(server: Scripted, naps: Naps) -> Iterator[Registry]:
    with Registry(server.host, sleep=naps, stall_timeout=5, user_agent="tester/1") as found:
        yield found


@pytest.fixture
def ref(server: Scripted) -> Reference:
    return Reference.parse(f"{server.host}/app:v1")


# resolve


def test_resolve_by_head(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("HEAD", TAGGED, manifest())
    assert server.requests == []
    assert registry.resolve(ref) == TARGET
    (request,) = server.requests
    assert request.headers["user-agent"] == "tester/1"
    assert set(mt.ACCEPTED) < set(request.headers["accept"].split(", "))
    assert "authorization" not in request.headers


def test_resolve_ignores_parameters_of_the_type(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("HEAD", TAGGED, manifest(kind=f"{mt.OCI_MANIFEST}; charset=utf-8"))
    assert registry.resolve(ref).media_type == mt.OCI_MANIFEST


@pytest.mark.parametrize(
    "head",
    [
        reply(405),
        reply(404),
        reply(400),
        reply(501),
        reply(200, BODY, Content_Type=mt.OCI_MANIFEST),
        reply(200, BODY, Docker_Content_Digest=TARGET.digest),
        reply(200, BODY, Docker_Content_Digest=TARGET.digest, Content_Type="text/plain"),
        reply(200, length=-1, Docker_Content_Digest=TARGET.digest, Content_Type=mt.OCI_MANIFEST),
        reply(200, Docker_Content_Digest=TARGET.digest, Content_Type=mt.OCI_MANIFEST),
    ],
)
@pytest.mark.parametrize("kind", [mt.OCI_MANIFEST, "application/json"])
def test_resolve_gets_and_hashes_where_head_does_not_tell(
    server: Scripted, registry: Registry, ref: Reference, head: bytes, kind: str
) -> None:
    server.on("HEAD", TAGGED, head)
    server.on("GET", TAGGED, reply(200, BODY, Content_Type=kind))
    assert registry.resolve(ref) == TARGET


def test_resolve_by_digest_needs_no_header(server: Scripted, registry: Registry) -> None:
    server.on("HEAD", PINNED, reply(200, BODY, Content_Type=mt.OCI_MANIFEST))
    pinned = Reference.parse(f"{server.host}/app:v1@{TARGET.digest}")
    assert registry.resolve(pinned) == TARGET


def test_resolve_refuses_another_digest_than_asked_for(
    server: Scripted, registry: Registry
) -> None:
    server.on("HEAD", PINNED, manifest(digest=OTHER))
    with pytest.raises(DigestMismatch, match=OTHER):
        registry.resolve(Reference.parse(f"{server.host}/app@{TARGET.digest}"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (manifest(digest=OTHER), DigestMismatch),
        (manifest(digest="sha256:../canary"), RegistryError),
        (manifest(digest=f"{OTHER}, {TARGET.digest}"), RegistryError),
        (manifest(kind=mt.OCI_INDEX), RegistryError),
        (manifest(kind="text/html"), RegistryError),
        (manifest(kind=mt.DOCKER_SCHEMA1_SIGNED), RegistryError),
        (manifest(b"<html>", "text/plain"), RegistryError),
        (manifest(b"{}"), RegistryError),
        (manifest(b"[" * 100_000, ""), RegistryError),
        (manifest(BODY[:-1] + b',"manifests":[]}'), RegistryError),
        (reply(200, BODY, length=len(BODY) + 9, Connection="close"), RegistryUnavailable),
        (reply(200, b"", length=5 << 20), RegistryError),
        (reply(206, BODY, Content_Type=mt.OCI_MANIFEST, Content_Range="x"), RegistryError),
        (reply(302), RegistryError),
        (reply(418), RegistryError),
        (b"HTTP/1.1 nonsense\r\n\r\n", RegistryUnavailable),
        (b"SSH-2.0-OpenSSH_9\r\n", RegistryUnavailable),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", RegistryUnavailable),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", RegistryUnavailable),
    ],
)
def test_resolve_refuses_answers_that_are_wrong(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("HEAD", TAGGED, reply(405))
    server.on("GET", TAGGED, answer)
    with pytest.raises(error) as caught:
        registry.resolve(ref)
    assert str(ref) in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).message == caught.value.message


def test_endless_manifest_is_cut_off(server: Scripted, registry: Registry, ref: Reference) -> None:
    def endless(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + b" " * 65536 + b"\r\n"

    server.on("GET", TAGGED, endless)
    with pytest.raises(RegistryError, match="4194304"):
        registry.resolve(ref)


def test_a_reference_to_another_registry_is_a_mistake(registry: Registry) -> None:
    with pytest.raises(InvalidArgument, match=r"quay\.io"):
        registry.resolve(Reference.parse("quay.io/app"))


# statuses

ERROR = {"errors": [{"code": "CODE_X", "message": "bad\x1b[31m thing", "detail": {}}]}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, RegistryUnauthorized),
        (403, RegistryUnauthorized),
        (404, RegistryNotFound),
        (408, RegistryUnavailable),
        (410, RegistryError),
        (429, RegistryUnavailable),
        (500, RegistryUnavailable),
        (501, RegistryError),
        (502, RegistryUnavailable),
        (503, RegistryUnavailable),
        (504, RegistryUnavailable),
    ],
)
@pytest.mark.parametrize(
    "body", [ERROR, "<html>", b"\xff", {"errors": 7}, {"errors": [7]}, b"[" * 99_999, b""]
)
def test_statuses(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    status: int,
    error: type[RegistryError],
    body: object,
) -> None:
    server.on("GET", BLOB_PATH, reply(status, body))
    with pytest.raises(error) as caught:
        registry.open_blob(ref, LAYER)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert caught.value.codes == (("CODE_X",) if body is ERROR else ())
    assert LAYER.digest in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_endless_error_body(server: Scripted, registry: Registry, ref: Reference) -> None:
    def endless(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 404 No\r\n\r\n"
        while True:
            yield b" " * 65536

    server.on("GET", BLOB_PATH, endless)
    with pytest.raises(RegistryNotFound):
        registry.open_blob(ref, LAYER)


def test_nothing_listens() -> None:
    with Scripted() as gone:
        pass
    with Registry(gone.host) as registry, pytest.raises(RegistryUnavailable, match="refused") as e:
        registry.resolve(Reference.parse(f"{gone.host}/app"))
    assert gone.host in str(e.value)
    assert e.value.remedy


def test_no_such_name() -> None:
    with Registry("nowhere.invalid") as registry, pytest.raises(RegistryUnavailable) as caught:
        registry.resolve(Reference.parse("nowhere.invalid/app"))
    assert "nowhere.invalid" in str(caught.value)


# tries


def test_resets_and_passing_statuses_are_tried_again(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    server.on("HEAD", TAGGED, b"", reply(503), b"HTTP/1.1 20", reply(429), manifest())
    assert registry.resolve(ref) == TARGET
    assert len(naps) == 4
    assert all(0 < nap <= 5 for nap in naps)


def test_five_tries_and_no_more(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    server.on("HEAD", TAGGED, reply(503))
    with pytest.raises(RegistryUnavailable, match="503"):
        registry.resolve(ref)
    assert (len(server.requests), len(naps)) == (MAX_TRIES, MAX_TRIES - 1)


def test_retry_after_is_kept_to(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    dated = reply(503, Retry_After="Wed, 01 Jan 2020 00:00:00 GMT")
    server.on("HEAD", TAGGED, reply(429, Retry_After="7"), dated, manifest())
    registry.resolve(ref)
    assert naps == [7.0, 0.0]


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 5000, "1e9", "²"])
def test_retry_after_that_cannot_be_read(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps, value: str
) -> None:
    server.on("HEAD", TAGGED, reply(429, Retry_After=value), manifest())
    registry.resolve(ref)
    assert len(naps) == 1
    assert naps[0] < 1


def test_no_wait_goes_beyond_the_deadline(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    server.on("HEAD", TAGGED, reply(429, Retry_After="3600"))
    with pytest.raises(RegistryUnavailable, match="429"):
        registry.resolve(ref)
    assert naps == []


def test_a_cut_manifest_is_tried_again(
    server: Scripted, registry: Registry, ref: Reference, naps: Naps
) -> None:
    cut = reply(200, BODY[:9], length=len(BODY), Connection="close")
    server.on("GET", PINNED, cut, manifest())
    assert registry.fetch_manifest(ref, TARGET) == BODY
    assert len(naps) == 1


# time


def stalling(server: Scripted, head: bytes) -> Callable[[Request], Iterator[bytes]]:
    def script(_: Request) -> Iterator[bytes]:
        yield head
        server.outlasted = not server.closing.wait(5)

    return script


def test_a_stalled_answer(server: Scripted, ref: Reference) -> None:
    server.on("HEAD", TAGGED, stalling(server, b"HTTP/1.1 200 OK\r\n"))
    with (
        Registry(server.host, stall_timeout=0.05) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(ref)
    assert len(server.requests) == 1


def test_a_deadline_sooner_than_a_stall(server: Scripted, ref: Reference) -> None:
    server.on("HEAD", TAGGED, stalling(server, b"HTTP/1.1 200 OK\r\n"))
    with (
        Registry(server.host, stall_timeout=30, timeout=0.05) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(ref)
    assert not server.outlasted


def test_a_stalled_body(server: Scripted, ref: Reference) -> None:
    server.on("GET", BLOB_PATH, stalling(server, reply(200, BLOB[:9], length=len(BLOB))))
    with Registry(server.host, stall_timeout=0.05) as registry:
        reader = registry.open_blob(ref, LAYER)
        with pytest.raises(RegistryUnavailable, match="in time") as caught:
            reader.read(100)
        assert LAYER.digest in str(caught.value)
        assert reader.closed


def dripping(server: Scripted, head: bytes, drop: bytes) -> Callable[[Request], Iterator[bytes]]:
    def script(_: Request) -> Iterator[bytes]:
        yield head
        while not server.closing.wait(0.005):
            yield drop

    return script


def test_dripping_headers_do_not_outlast_the_deadline(server: Scripted, ref: Reference) -> None:
    server.on("HEAD", TAGGED, dripping(server, b"HTTP/1.1 200 OK\r\nA: ", b"b"))
    with (
        Registry(server.host, timeout=0.1) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(ref)


def test_a_dripping_body_does_not_outlast_a_deadline_given(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("GET", BLOB_PATH, dripping(server, reply(200, b"", length=len(BLOB)), BLOB[:1]))
    with (
        registry.open_blob(ref, LAYER, deadline=Deadline(0.1)) as reader,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        reader.read(len(BLOB))


def test_an_expired_deadline_sends_nothing(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    with pytest.raises(RegistryUnavailable):
        registry.resolve(ref, deadline=Deadline(0))
    assert server.requests == []


# manifests


def test_fetch_manifest(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("GET", PINNED, manifest())
    assert registry.fetch_manifest(ref, TARGET) == BODY
    assert server.requests[0].headers["accept"] == mt.OCI_MANIFEST


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (manifest(BODY.replace(b"2", b"3", 1)), DigestMismatch),
        (manifest(BODY[:-1]), SizeMismatch),
        (manifest(BODY + b" "), SizeMismatch),
        (reply(200, BODY + b" ", length=-1, Connection="close"), SizeMismatch),
        (manifest(kind=mt.OCI_INDEX), RegistryError),
        (reply(404, ERROR), RegistryNotFound),
    ],
)
def test_fetch_manifest_refuses_what_it_is_not(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
) -> None:
    server.on("GET", PINNED, answer)
    with pytest.raises(error) as caught:
        registry.fetch_manifest(ref, TARGET)
    assert TARGET.digest in str(caught.value)


def test_too_large_a_manifest_is_not_asked_for(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    with pytest.raises(RegistryError):
        registry.fetch_manifest(ref, Descriptor(mt.OCI_MANIFEST, OTHER, 5 << 20))
    assert server.requests == []


# blobs


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:7], body[7:]))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + end


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, BLOB),
        chunked(BLOB),
        reply(200, BLOB, length=-1, Connection="close"),
        reply(200, BLOB, Content_Encoding="gzip"),
    ],
)
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_blobs_come_as_they_are(
    server: Scripted, registry: Registry, ref: Reference, answer: bytes, step: int
) -> None:
    server.on("GET", BLOB_PATH, answer)
    with registry.open_blob(ref, LAYER) as reader:
        found, buffer = b"", memoryview(bytearray(step))
        while taken := reader.readinto(buffer):
            found += buffer[:taken]
            assert reader.tell() == len(found)
        assert reader.read(1) == b""
    assert found == BLOB
    with pytest.raises(ValueError, match="closed"):
        reader.read(1)


def test_connections_are_used_again(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("GET", BLOB_PATH, reply(200, BLOB), chunked(BLOB), reply(404, "x"))
    server.on("HEAD", TAGGED, manifest())
    for _ in range(2):
        registry.resolve(ref)
        with registry.open_blob(ref, LAYER) as reader:
            assert len(reader.readall()) == len(BLOB)
        assert reader.closed
    with pytest.raises(RegistryNotFound):
        registry.open_blob(ref, LAYER)
    registry.resolve(ref)
    assert server.connections == 1


@pytest.mark.parametrize("verify", [True, False])
def test_a_wrong_blob(server: Scripted, registry: Registry, ref: Reference, verify: bool) -> None:
    server.on("GET", BLOB_PATH, reply(200, b"!" + BLOB[1:]))
    with registry.open_blob(ref, LAYER, verify=verify) as reader:
        assert reader.read(100)[:1] == b"!"
        if verify:
            with pytest.raises(DigestMismatch, match=LAYER.digest):
                reader.read(len(BLOB))
        else:
            assert len(reader.readall()) == len(BLOB) - 100


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(200, BLOB[:-1]), SizeMismatch),
        (reply(200, BLOB + b"!"), SizeMismatch),
        (reply(200, BLOB[:-1], length=-1, Connection="close"), SizeMismatch),
        (reply(200, BLOB + b"!", length=-1, Connection="close"), SizeMismatch),
        (chunked(BLOB[:-1]), SizeMismatch),
        (chunked(BLOB + b"!"), SizeMismatch),
        (reply(200, BLOB[:-1], length=len(BLOB), Connection="close"), RegistryUnavailable),
        (chunked(BLOB[:-1], end=b"zz\r\n"), RegistryUnavailable),
        (reply(206, BLOB), RegistryError),
        (reply(200, BLOB, Content_Type=mt.OCI_INDEX), RegistryError),
    ],
)
def test_a_blob_of_another_size(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    answer: bytes,
    error: type[ContainerdError],
    verify: bool,
) -> None:
    def script(_: Request) -> Iterator[bytes]:
        yield answer

    server.on("GET", BLOB_PATH, script)
    with pytest.raises(error) as caught, registry.open_blob(ref, LAYER, verify=verify) as reader:
        reader.readall()
    assert LAYER.digest in str(caught.value)


def test_an_endless_blob_stops_at_its_size(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    def endless(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield BLOB

    server.on("GET", BLOB_PATH, endless)
    with (
        registry.open_blob(ref, LAYER, verify=False) as reader,
        pytest.raises(SizeMismatch, match="longer"),
    ):
        reader.readall()


@pytest.mark.parametrize("honest", [True, False])
def test_offsets(server: Scripted, registry: Registry, ref: Reference, honest: bool) -> None:
    """A registry that does not know ranges sends it all, and the start is dropped."""

    def script(request: Request) -> bytes:
        assert request.headers["range"] == "bytes=100-"
        content_range = f"bytes 100-{len(BLOB) - 1}/{len(BLOB)}"
        return reply(206, BLOB[100:], Content_Range=content_range) if honest else reply(200, BLOB)

    server.on("GET", BLOB_PATH, script)
    with registry.open_blob(ref, LAYER, 100) as reader:
        assert reader.tell() == 100
        assert reader.readall() == BLOB[100:]


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 0-9/10", f"bytes 99-{len(BLOB) - 1}/{len(BLOB)}", f"bytes 100-200/{len(BLOB)}",
     f"bytes 100-{len(BLOB) - 1}/7", "octets 1-2/3"],
)  # fmt: skip
def test_another_range_than_asked_for(
    server: Scripted, registry: Registry, ref: Reference, content_range: str
) -> None:
    server.on("GET", BLOB_PATH, reply(206, BLOB[100:], Content_Range=content_range))
    with pytest.raises(RegistryError, match="range"):
        registry.open_blob(ref, LAYER, 100)


def test_offsets_at_and_beyond_the_end(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    with registry.open_blob(ref, LAYER, LAYER.size) as reader:
        assert reader.read() == b""
    for offset in (-1, LAYER.size + 1):
        with pytest.raises(OutOfRange):
            registry.open_blob(ref, LAYER, offset)
    assert server.requests == []


def test_an_empty_blob(server: Scripted, registry: Registry, ref: Reference) -> None:
    empty = Descriptor(mt.OCI_LAYER, digests.of(b""), 0)
    server.on("GET", f"/v2/app/blobs/{empty.digest}", reply(200))
    with registry.open_blob(ref, empty) as reader:
        assert reader.read() == b""
    wrong = Descriptor(mt.OCI_LAYER, OTHER, 0)
    server.on("GET", f"/v2/app/blobs/{OTHER}", reply(200))
    with registry.open_blob(ref, wrong) as reader, pytest.raises(DigestMismatch):
        reader.read(10)


def test_manifests_open_at_their_own_endpoint(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("GET", PINNED, manifest())
    with io.BufferedReader(registry.open_blob(ref, TARGET)) as reader:
        assert reader.read() == BODY


def test_a_reader_left_half_read_lets_go(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("GET", BLOB_PATH, reply(200, BLOB))
    with registry.open_blob(ref, LAYER) as reader:
        reader.read(5)
    server.on("HEAD", TAGGED, manifest())
    assert registry.resolve(ref) == TARGET
    assert server.connections == 2
