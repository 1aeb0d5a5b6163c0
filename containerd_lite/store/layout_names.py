"""The names of an OCI image layout: its ``index.json`` (image-spec, image-layout.md).

What lives here: what a name stands for, and changing that.  What may not: blobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import InvalidArgument, NotFound
from ..oci.descriptor import Descriptor
from ..services.images import ImageRecord
from .layout import LayoutStore

REF_NAME = "org.opencontainers.image.ref.name"


class LayoutNames:
    """The entries of the index that have a name; a layout has no place for labels."""

    def __init__(self, store: LayoutStore) -> None:
        self._store = store

    def get(self, name: str) -> ImageRecord:
        for found in self.list():
            if found.name == name:
                return found
        raise NotFound(f"{self._store.path} has no image {name!r}")

    def list(self, *filters: str) -> list[ImageRecord]:
        if filters:
            raise InvalidArgument("a layout knows no filters", remedy="Look through them all")
        entries = self._store.index().manifests
        return [_record(entry) for entry in entries if REF_NAME in entry.annotations]

    def put(
        self, name: str, target: Descriptor, labels: Mapping[str, str] | None = None
    ) -> ImageRecord:
        named = replace(target, annotations={**target.annotations, REF_NAME: name})
        with self._store.changing_index() as entries:
            entries[:] = [e for e in entries if e.annotations.get(REF_NAME) != name] + [named]
        return _record(named)

    def delete(self, name: str, *, sync: bool = False) -> None:
        """The name alone: blobs stay."""
        with self._store.changing_index() as entries:
            kept = [e for e in entries if e.annotations.get(REF_NAME) != name]
            if len(kept) == len(entries):
                raise NotFound(f"{self._store.path} has no image {name!r}")
            entries[:] = kept


def _record(entry: Descriptor) -> ImageRecord:
    name = entry.annotations[REF_NAME]
    rest = {key: value for key, value in entry.annotations.items() if key != REF_NAME}
    return ImageRecord(name, replace(entry, annotations=rest), {}, None, None)
