"""A repository in memory, and what is pushed to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import NotFound, RegistryError
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.progress import ProgressCallback
from containerd_lite.registry.upload import Outcome
from tests.harness import images

Json = dict[str, Any]
FOREIGN = images.OCI_LAYER.replace("layer.v1", "layer.nondistributable.v1")


@dataclass
class Shelf:
    """A repository in memory, as strict as a registry: it takes nothing before what it needs."""

    strict: bool = True
    bodies: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    asked: dict[str, Sequence[str]] = field(default_factory=dict)
    chunks: set[int | None] = field(default_factory=set)

    def resolve(self, ref: str) -> tuple[str, Descriptor]:
        raise NotFound(ref)

    def fetcher(self, ref: str) -> Any:
        raise NotFound(ref)

    def pusher(self, ref: str) -> Shelf:
        return self

    def push(
        self,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        chunk_size: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Outcome:
        self.asked[descriptor.digest] = tuple(mount_from)
        self.chunks.add(chunk_size)
        half = descriptor.size // 2
        with open_at(0) as first, open_at(half) as second:
            body = first.read(half) + second.read()
        if progress is not None:
            progress(ProgressEvent("uploading", descriptor.digest, len(body), descriptor.size))
        return self._take(descriptor, body)

    def name(
        self, descriptor: Descriptor, body: bytes, *, progress: ProgressCallback | None = None
    ) -> Outcome:
        self.names["it"] = descriptor.digest
        return self._take(descriptor, body)

    def _take(self, descriptor: Descriptor, body: bytes) -> Outcome:
        assert (images.digest_of(body), len(body)) == (descriptor.digest, descriptor.size)
        if "manifest" in descriptor.media_type or "index" in descriptor.media_type:
            document = json.loads(body)
            needed = [*document.get("layers", ()), *document.get("manifests", ())]
            needed += [document["config"]] if "config" in document else []
            missing = {one["digest"] for one in needed if not one.get("urls")} - self.bodies.keys()
            if self.strict and missing:
                raise RegistryError(f"lacks {missing}", status=404)
        self.bodies[descriptor.digest] = body
        self.order.append(descriptor.digest)
        return Outcome.UPLOADED


def layout_of(folder: Path, image: images.Image, *without: str) -> Layout:
    images.write_layout(image, folder, "localhost/it:1")
    for digest in without:
        (folder / "blobs" / "sha256" / digest[7:]).unlink()
    return Layout(folder)


def with_entries(index: images.Image, *entries: Json) -> images.Image:
    """An index with further entries, in the place of the one that has not got them."""
    document = index.json()
    document["manifests"] += entries
    body = images.encode(document)
    others = {digest: blob for digest, blob in index.blobs.items() if digest != index.digest}
    target = images.descriptor(document["mediaType"], body)
    return images.Image(target, {**others, images.digest_of(body): body})


AMD = images.random_image([200_000, 50], platform="linux/amd64")
ARM = images.random_image([300], seed=1, platform="linux/arm64")
PPC = images.random_image([10], seed=2, platform="linux/ppc64le")
INDEX = images.index_of(
    {"linux/amd64": AMD, "linux/arm64": ARM, "linux/ppc64le": PPC},
    annotations={"a": "ü"},
)
