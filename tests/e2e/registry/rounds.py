"""What is done with a registry through the client under test, and what a registry saw of it.

What lives here: the whole round, and its steps.  What may not: starting registries.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
from collections.abc import Iterator

import pytest

from containerd_lite.errors import RegistryError, RegistryNotFound
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.harness import images
from tests.harness.process import wait_until
from tests.harness.registry import OLD
from tests.harness.registry import Registry as Server

KIND = "application/vnd.example.note"
_MARKS = itertools.count()
_LINE = re.compile(r'"([A-Z]+ /v2/\S*) HTTP/1\.1" ([0-9]{3}) ')


def is_document(descriptor: Descriptor) -> bool:
    """Whether it is a manifest or an index."""
    kind = descriptor.media_type
    return media_types.is_manifest(kind) or media_types.is_index(kind)


def children(body: bytes) -> list[Descriptor]:
    """What a manifest or index refers to, its subject left out."""
    parsed = json.loads(body)
    listed = parsed.get("manifests") or [parsed["config"], *parsed["layers"]]
    return [Descriptor.from_json(one) for one in listed]


def parts(image: images.Image) -> Iterator[Descriptor]:
    """All that an image consists of, children before parents."""

    def below(target: Descriptor) -> Iterator[Descriptor]:
        if is_document(target):
            for child in children(image.blobs[target.digest]):
                yield from below(child)
        yield target

    yield from below(Descriptor.from_json(image.manifest))


def named(host: str, repository: str = "app", tag: str = "1") -> Reference:
    """A reference to a tag."""
    return Reference(host, repository, tag)


def push(registry: Registry, reference: Reference, image: images.Image) -> Descriptor:
    """Pushes an image, blobs first, its top under the reference's tag; returns the top."""
    for one in parts(image):
        body = image.blobs[one.digest]
        if not is_document(one):
            registry.upload_blob(reference, one, body)
        elif one.digest == image.digest:
            top = registry.push_manifest(reference, body)
        else:
            pinned = Reference(reference.host, reference.repository, digest=one.digest)
            assert registry.push_manifest(pinned, body).digest == one.digest
    return top


def fetch(registry: Registry, reference: Reference) -> dict[str, bytes]:
    """Everything that hangs below a reference, by digest, its top among it."""
    found: dict[str, bytes] = {}
    waiting = [registry.resolve(reference)]
    while waiting:
        one = waiting.pop()
        if is_document(one):
            found[one.digest] = registry.fetch_manifest(reference, one)
            waiting += children(found[one.digest])
        else:
            with registry.open_blob(reference, one) as reader:
                found[one.digest] = reader.read()
    return found


def note(subject: Descriptor, text: str = "note") -> images.Image:
    """An artifact that refers to ``subject``; the type of its config says what it is."""

    def point(manifest: images.Json) -> None:
        manifest["config"] = images.descriptor(KIND, b"{}")
        manifest["subject"] = subject.to_json()
        manifest["annotations"] = {"org.example.text": text}

    made = images.build([], change_manifest=point)
    return images.Image(made.manifest, {images.digest_of(b"{}"): b"{}", **made.blobs})


def whole_round(registry: Registry, image: images.Image, index: images.Image) -> None:
    """Pushes, resolves, fetches, lists, refers, mounts and deletes."""
    one, two = named(registry.host), named(registry.host, tag="2")
    top = push(registry, one, image)
    assert top.digest == image.digest
    assert push(registry, two, index).digest == index.digest
    assert registry.resolve(one) == top
    assert fetch(registry, one) == dict(image.blobs)
    assert fetch(registry, two) == dict(index.blobs)
    assert sorted(registry.tags(one)) == ["1", "2"]  # this registry keeps no order
    assert list(registry.catalog()) == ["app"]
    _refer(registry, one, top)
    _mount(registry, image)
    _delete(registry, one, top)


def _refer(registry: Registry, reference: Reference, top: Descriptor) -> None:
    pinned = reference.with_digest(top.digest)
    assert registry.referrers(pinned) == ()
    notes = [note(top, text) for text in ("first", "second")]
    for one in notes:
        push(registry, Reference(reference.host, reference.repository, digest=one.digest), one)
    found = registry.referrers(pinned, KIND)
    assert [one.digest for one in found] == [one.digest for one in notes]
    assert [one.annotations["org.example.text"] for one in found] == ["first", "second"]
    assert registry.referrers(pinned, "application/vnd.example.other") == ()


def _mount(registry: Registry, image: images.Image) -> None:
    layer = Descriptor.from_json(image.layers[0])
    other = named(registry.host, "other")

    def gone(offset: int) -> None:
        raise AssertionError("what can be mounted is not read")

    outcome = registry.upload_blob(other, layer, gone, mount_from=["app"])  # type: ignore[arg-type]
    assert outcome is Outcome.MOUNTED
    assert registry.upload_blob(other, layer, b"") is Outcome.EXISTS
    with registry.open_blob(other, layer) as reader:
        assert reader.read() == image.blobs[layer.digest]


def _delete(registry: Registry, reference: Reference, top: Descriptor) -> None:
    if Server.default == OLD:  # it deletes no tags
        with pytest.raises(RegistryError) as refused:
            registry.delete(reference)
        assert refused.value.status in (400, 405)
    else:
        registry.delete(reference)
        assert "1" not in registry.tags(reference)
        assert registry.resolve(reference.with_digest(top.digest)) == top
    layer = children(registry.fetch_manifest(reference, top))[-1]
    registry.delete(reference.with_digest(top.digest))
    registry.delete(reference, layer)
    with pytest.raises(RegistryNotFound):
        registry.resolve(reference)
    with pytest.raises(RegistryNotFound):
        registry.open_blob(reference, layer)
    assert "1" not in registry.tags(reference)


def asked(server: Server) -> list[tuple[str, int]]:
    """The requests that a registry over plain HTTP answered so far, each with its status.

    It writes its log after it has answered: one more request, seen in the log, ends the wait.
    """
    mark = f"GET /v2/?mark={next(_MARKS)}"
    connection = http.client.HTTPConnection(server.host, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", mark.removeprefix("GET "))
        connection.getresponse().read()
    assert wait_until(lambda: f'"{mark} ' in server.log.read_text(), 10)
    found = [(line, int(status)) for line, status in _LINE.findall(server.log.read_text())]
    return [one for one in found if "?mark=" not in one[0]]
