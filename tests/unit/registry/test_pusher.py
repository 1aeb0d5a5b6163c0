"""Many blobs into one repository: which of them are asked for."""

from __future__ import annotations

from containerd_lite.images.resolver import RegistryPusher
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.client import Registry
from containerd_lite.registry.content import opener
from containerd_lite.registry.upload import Outcome
from tests.unit.registry.samples import Uploads
from tests.unit.registry.scripted import Scripted


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
