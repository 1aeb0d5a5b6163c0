"""Many blobs into one repository, and a name: what is asked for, and what is sent."""

from __future__ import annotations

import pytest

from containerd_lite.errors import RegistryError, RegistryUnauthorized, RegistryUnavailable
from containerd_lite.images.resolver import RegistryPusher
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.openers import opener
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.unit.registry.samples import BODY, OTHER, TAGGED, TARGET, Uploads, manifest
from tests.unit.registry.scripted import Scripted, reply


def test_a_pusher_stops_asking_for_small_blobs_that_are_never_there(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    pusher = RegistryPusher(registry, ref)

    def push(body: bytes, *, there: bool = False) -> list[str]:
        blob = Descriptor(mt.OCI_LAYER, digests.of(body), len(body))
        uploads = Uploads(server, blob)
        uploads.done = body if there else None
        before = len(server.requests)
        outcome = pusher.push(blob, opener(body))
        assert (outcome, uploads.done) == (Outcome.EXISTS if there else Outcome.UPLOADED, body)
        return [request.method for request in server.requests[before:]]

    asked, unasked = ["HEAD", "POST", "PUT"], ["POST", "PUT"]
    for number in range(3):
        assert push(bytes([number])) == asked
    assert push(b"old", there=True) == ["HEAD"]
    for number in range(4):
        assert push(bytes([number])) == asked
    assert push(bytes(1 << 20)) == unasked
    assert push(bytes((1 << 20) + 1)) == asked
    assert push(bytes((1 << 20) + 2), there=True) == ["HEAD"]
    assert push(b"new") == asked


def name(server: Scripted, registry: Registry, ref: Reference, there: bytes) -> Outcome:
    """Pushes to a name under which the registry has something."""
    for method in ("HEAD", "GET"):
        server.on(method, TAGGED, there)
    server.on("PUT", TAGGED, reply(201))
    return RegistryPusher(registry, ref).name(TARGET, BODY)


@pytest.mark.parametrize(
    "there",
    [
        reply(200, "<html>", Content_Type="text/html"),
        manifest(b""),
        manifest(b"no json", "text/plain"),
        manifest(b"{}", "application/vnd.oci.artifact.manifest.v1+json"),
        manifest(b" " * (5 << 20)),
        reply(200, BODY, Docker_Content_Digest=OTHER),
        *map(reply, (400, 404, 405, 410, 500, 502, 503)),
    ],
    ids=lambda there: there[9:].replace(b"\r\n", b" ")[:60],
)
def test_a_name_of_what_cannot_be_read_is_replaced(
    server: Scripted, registry: Registry, ref: Reference, there: bytes
) -> None:
    assert name(server, registry, ref, there) is Outcome.UPLOADED
    assert [request.body for request in server.seen("PUT", TAGGED)] == [BODY]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (reply(401), RegistryUnauthorized),
        (reply(403), RegistryUnauthorized),
        (reply(429), RegistryUnavailable),
        (b"", RegistryUnavailable),
    ],
    ids=repr,
)
def test_a_registry_that_refuses_to_tell_is_sent_nothing(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    there: bytes,
    expected: type[RegistryError],
) -> None:
    with pytest.raises(expected):
        name(server, registry, ref, there)
    assert server.seen("PUT", TAGGED) == []


def test_a_name_that_stands_already_is_left_alone(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    assert name(server, registry, ref, manifest()) is Outcome.EXISTS
    assert server.seen("PUT", TAGGED) == []
