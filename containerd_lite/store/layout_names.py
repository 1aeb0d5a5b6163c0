"""The image names of an OCI image layout, in its ``index.json`` (image-spec, image-layout.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import FailedPrecondition, InvalidArgument, NotFound
from ..oci.descriptor import Descriptor
from ..oci.document import Document
from ..oci.image_record import ImageRecord, all_recorded
from ..records import replace
from .layout_store import LayoutStore

#: The image-spec's annotation of an entry in an index. Its value is a tag or a full name.
REF_NAME = "org.opencontainers.image.ref.name"
#: containerd's annotation of an entry in an index. Its value is the full name of the image.
IMAGE_NAME = "io.containerd.image.name"
#: The annotation by which ``cosign save`` says what an entry is, and its values for content that is
#: attached to the image, by the suffix of the tags of cosign.
KIND = "kind"
COSIGN_KINDS = {
    "sig": "dev.cosignproject.cosign/sigs",
    "att": "dev.cosignproject.cosign/atts",
    "sbom": "dev.cosignproject.cosign/sboms",
}


class LayoutNames:
    """The image names of a layout; implements ``Names``.

    The name of an entry is the value of its annotation ``io.containerd.image.name``. If the entry
    does not have this annotation, the name is the value of ``org.opencontainers.image.ref.name``.
    docker, ctr and this package write archives in which ``io.containerd.image.name`` is the full
    name, and ``org.opencontainers.image.ref.name`` is only the tag. The entries that this class
    creates have only ``org.opencontainers.image.ref.name``, with the full name, because skopeo,
    umoci and crane read this annotation. A layout stores no labels.

    Other tools can give the same name to two images. ``list`` then returns both images. ``get`` and
    ``delete`` raise ``FailedPrecondition``, because the name is ambiguous. ``put`` replaces the
    entries of both images.

    Args:
        store: The layout.
    """

    elsewhere = "choose a name from list_images()"

    def __init__(self, store: LayoutStore) -> None:
        self._store = store

    def get(self, name: str) -> ImageRecord:
        """Return the record of the image with a name.

        Raises:
            NotFound: No image in the layout has this name.
            FailedPrecondition: Several images in the layout have this name.
        """
        return _record(self._require_one(_find(name, self._store.entries()), name)[0])

    def list(self, *filters: str) -> list[ImageRecord]:
        """Return all records.

        Raises:
            InvalidArgument: The caller gave ``filters``, which a layout does not support.
        """
        if filters:
            raise InvalidArgument(
                "a layout does not support filters", remedy="List all images and select from them"
            )
        return [_record(Descriptor.read(entry)) for entry in self._store.entries() if _name(entry)]

    def put(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None = None,
        *,
        exists: bool = False,
    ) -> ImageRecord:
        """Create a name that refers to ``target``, or change the target of an existing name.

        Args:
            name: The name of the image.
            target: The descriptor of the image.
            labels: Ignored, because a layout stores no labels.
            exists: Ignored.

        Returns:
            The new record.

        Raises:
            DigestMismatch: ``name`` holds a digest, but ``target`` has another digest.
            InvalidArgument: The annotations of ``target`` are too long in total.
            ResourceExhausted: The index would be too large, or the disk is full.
        """
        return self.put_all({name: target})[0]

    def put_all(
        self, targets: Mapping[str, Descriptor], labels: Mapping[str, str] | None = None
    ) -> Sequence[ImageRecord]:
        """Create or change several names, and write the index once; see ``put``.

        No name is written if one of them is refused.
        """
        return self._write(all_recorded(targets, {}))

    def restore(self, record: ImageRecord) -> ImageRecord:
        """Write a record without the checks of ``put``, because the layout had it before."""
        return self._write({record.name: record.target})[0]

    def _write(self, targets: Mapping[str, Descriptor]) -> Sequence[ImageRecord]:
        with self._store.changing_entries() as entries:
            old = _by_name(entries, targets)
            new = {name: _named(name, target, old[name]) for name, target in targets.items()}
            changed = {name for name, entry in new.items() if old[name] != [entry]}
            entries[:] = [entry for entry in entries if _name(entry) not in changed]
            entries += [Document(new[name].to_json(), name) for name in new if name in changed]
        return [_record(entry) for entry in new.values()]

    def delete(self, name: str, *, sync: bool = False) -> None:
        """Delete a name. The blobs of the image stay in the layout.

        Args:
            name: The name of the image.
            sync: Ignored, because a layout has no garbage collection.

        Raises:
            NotFound: No image in the layout has this name.
            FailedPrecondition: Several images in the layout have this name.
        """
        self.get(name)  # this raises NotFound before changing_entries() can create a layout
        with self._store.changing_entries() as entries:
            self._require_one(_find(name, entries), name)
            entries[:] = [entry for entry in entries if _name(entry) != name]

    def _require_one(self, found: Sequence[Descriptor], name: str) -> Sequence[Descriptor]:
        """Return ``found``. Raise an error unless all entries in it refer to the same image."""
        if not found:
            raise NotFound(f"{self._store.path} has no image {name!r}")
        if len({entry.digest for entry in found}) > 1:
            raise FailedPrecondition(
                f"{self._store.path} has several images called {name!r}",
                remedy="Select an image from list_images(), and give it another name with tag()",
            )
        return found


def _find(name: str, entries: Iterable[Document]) -> list[Descriptor]:
    return [Descriptor.read(entry) for entry in entries if _name(entry) == name]


def _by_name(entries: Iterable[Document], names: Iterable[str]) -> dict[str, list[Descriptor]]:
    """Return the entries of each of ``names``."""
    found: dict[str, list[Descriptor]] = {name: [] for name in names}
    for entry in entries:
        name = _name(entry)
        if name in found:
            found[name].append(Descriptor.read(entry))
    return found


def _named(name: str, target: Descriptor, old: Sequence[Descriptor]) -> Descriptor:
    """Return the new entry of a name that has the entries ``old``."""
    # Keep IMAGE_NAME and REF_NAME of an existing name: some tools read only one of them.
    names = _split_annotations(old[0])[0] if old else {REF_NAME: name}
    return replace(target, annotations={**_split_annotations(target)[1], **names})


def _name(entry: Document) -> str | None:
    found = entry.document("annotations")
    return (found.text(IMAGE_NAME) or found.text(REF_NAME) or None) if found else None


def _split_annotations(entry: Descriptor) -> tuple[dict[str, str], dict[str, str]]:
    """Return two mappings: the annotations that contain a name, and all other annotations."""
    names = {key: text for key, text in entry.annotations.items() if key in (IMAGE_NAME, REF_NAME)}
    return names, {key: text for key, text in entry.annotations.items() if key not in names}


def _record(entry: Descriptor) -> ImageRecord:
    names, rest = _split_annotations(entry)
    name = names.get(IMAGE_NAME) or names[REF_NAME]
    return ImageRecord(name, replace(entry, annotations=rest), {}, None, None)
