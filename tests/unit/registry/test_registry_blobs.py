"""Blobs from scripted answers: read as they come, refused where they are not what was asked."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    OutOfRange,
    RegistryError,
    RegistryNotFound,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from tests.unit.registry.samples import (
    BLOB,
    BLOB_PATH,
    BODY,
    LAYER,
    OTHER,
    PINNED,
    TAGGED,
    TARGET,
    manifest,
)
from tests.unit.registry.scripted import Request, Scripted, reply


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
