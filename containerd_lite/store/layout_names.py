"""The names of an OCI image layout: its ``index.json`` (image-spec, image-layout.md).

What lives here: what a name stands for, and changing that.  What may not: blobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import FailedPrecondition, InvalidArgument, NotFound
from ..oci.descriptor import Descriptor
from ..oci.document import Document
from ..oci.image_record import ImageRecord
from ..records import replace
from .layout_store import LayoutStore

REF_NAME = "org.opencontainers.image.ref.name"
#: containerd's annotation of an index's entry: the full name of the image.
IMAGE_NAME = "io.containerd.image.name"


class LayoutNames:
    """The entries of the index that have a name; a layout has no place for labels.

    An entry is called by its ``io.containerd.image.name``, which archives of docker, ctr and our
    own have beside a mere tag, else by its ``org.opencontainers.image.ref.name``.  A new one gets
    its full name as the latter alone: that is what skopeo, umoci and crane look for.

    Others may give one name to two images.  ``list`` has both; ``get`` and ``delete`` raise
    ``FailedPrecondition``, for they cannot know which is meant; ``put`` puts one in their place.
    """

    elsewhere = "look at what list_images() names"

    def __init__(self, store: LayoutStore) -> None:
        self._store = store

    def get(self, name: str) -> ImageRecord:
        return _record(self._expect(_called(name, self._store.entries()), name)[0])

    def list(self, *filters: str) -> list[ImageRecord]:
        if filters:
            raise InvalidArgument("a layout knows no filters", remedy="Look through them all")
        return [_record(Descriptor.read(one)) for one in self._store.entries() if _name(one)]

    def put(
        self, name: str, target: Descriptor, labels: Mapping[str, str] | None = None
    ) -> ImageRecord:
        with self._store.changing_entries() as entries:
            old = _called(name, entries)
            # What it is called by for others stays, too.
            names = _split(old[0])[0] if old else {REF_NAME: name}
            named = replace(target, annotations={**_split(target)[1], **names})
            if old and old != [named]:
                entries[:] = [one for one in entries if _name(one) != name]
            if old != [named]:
                entries.append(Document(named.to_json(), name))
        return _record(named)

    def delete(self, name: str, *, sync: bool = False) -> None:
        """The name alone: blobs stay."""
        self.get(name)  # or a folder that is no layout would become one
        with self._store.changing_entries() as entries:
            self._expect(_called(name, entries), name)
            entries[:] = [one for one in entries if _name(one) != name]

    def _expect(self, found: Sequence[Descriptor], name: str) -> Sequence[Descriptor]:
        """Raises ``NotFound``, and ``FailedPrecondition`` if they are not all one image."""
        if not found:
            raise NotFound(f"{self._store.path} has no image {name!r}")
        if len({one.digest for one in found}) > 1:
            raise FailedPrecondition(
                f"{self._store.path} has several images called {name!r}",
                remedy="Take the one that is meant from list_images(), and tag() it otherwise",
            )
        return found


def _called(name: str, entries: Iterable[Document]) -> list[Descriptor]:
    return [Descriptor.read(one) for one in entries if _name(one) == name]


def _name(entry: Document) -> str | None:
    notes = entry.document("annotations")
    return (notes.text(IMAGE_NAME) or notes.text(REF_NAME) or None) if notes else None


def _split(entry: Descriptor) -> tuple[dict[str, str], dict[str, str]]:
    """The annotations that name it, and the others."""
    names = {key: text for key, text in entry.annotations.items() if key in (IMAGE_NAME, REF_NAME)}
    return names, {key: text for key, text in entry.annotations.items() if key not in names}


def _record(entry: Descriptor) -> ImageRecord:
    names, rest = _split(entry)
    name = names.get(IMAGE_NAME) or names[REF_NAME]
    return ImageRecord(name, replace(entry, annotations=rest), {}, None, None)
