"""Measures the disk usage of an image: its content, and its snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from ..errors import NotFound
from ..oci.content import ContentInfo
from ..oci.descriptor import Descriptor
from .gc_labels import SNAPSHOT
from .image_backend import ImageBackend
from .walk import children_in, walk


def measure_usage(backend: ImageBackend, target: Descriptor, with_snapshots: bool) -> int:
    """Return how many bytes an image uses; see ``Image.usage``."""
    children = children_in(backend.store)

    def present_children(descriptor: Descriptor) -> Sequence[Descriptor]:
        with suppress(NotFound):
            return tuple(children(descriptor))
        return ()

    digests = (descriptor.digest for descriptor in walk(present_children, target))
    infos = backend.store.infos(digests).values()
    content = sum(info.size for info in infos)
    return content + sum(_snapshot_sizes(backend, infos)) if with_snapshots else content


def _snapshot_sizes(backend: ImageBackend, infos: Iterable[ContentInfo]) -> Iterator[int]:
    """Yield the size of each snapshot of an image. The labels of the configs name the snapshots."""
    seen = set()
    for info in infos:
        for label, name in info.labels.items():
            prefix, _, snapshotter = label.rpartition(".")
            if prefix != SNAPSHOT:
                continue
            snapshots = backend.snapshots(snapshotter)
            with suppress(NotFound):  # the snapshot was removed, and so it uses nothing
                while name and (snapshotter, name) not in seen:
                    seen.add((snapshotter, name))
                    yield snapshots.usage(name).size
                    name = snapshots.stat(name).parent
