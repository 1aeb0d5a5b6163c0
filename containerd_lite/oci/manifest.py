"""Manifests and indexes (image-spec manifest.md, image-index.md; Docker's schema 2).

What lives here: the records and their strict reading.  What may not: fetching, choosing
among platforms.
"""

from __future__ import annotations

from ..errors import InvalidArgument
from ..records import field, record
from . import media_types
from .descriptor import Descriptor, check_media_type
from .document import MAX_DOCUMENT, Document, quoted

_FIELDS = (
    "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "fsLayers",
    "subject", "annotations",
)  # fmt: skip
#: Fields that would make a document of one kind readable as the other (CVE-2021-41190).
_NOT_IN_INDEX = ("config", "layers", "fsLayers")
_NOT_IN_MANIFEST = ("manifests", "fsLayers")

#: Indexes in indexes: nobody needs more, and a hostile registry could serve them without end.
MAX_DEPTH = 8


@record(frozen=True)
class Manifest:
    """One image, or one artifact: a config and layers."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """All that it refers to, config first, in the order in which clients number them."""
        return (self.config, *self.layers)


@record(frozen=True)
class Index:
    """A list of manifests, usually one for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """All that it refers to, in the order in which clients number them."""
        return self.manifests


def parse(body: bytes, media_type: str = "") -> Manifest | Index:
    """Reads a manifest or index of at most 4 MiB.

    ``media_type`` is what the descriptor or the ``Content-Type`` said (without parameters), or
    ``""`` to go by the body's own.  Raises InvalidArgument if the two differ, if the document
    could be read as another kind, or if it is not as the spec says.
    """
    document = Document.parse(body, "the manifest", limit=MAX_DOCUMENT).known(_FIELDS)
    if document.fields.get("schemaVersion") == 1 or media_types.is_schema1(media_type):
        raise InvalidArgument(
            "the manifest is of Docker's schema 1, which is not read",
            remedy="Pull it with convert_schema1=True, or push it again with a current tool",
        )
    media_type = _agreed(document, media_type)
    if document.integer("schemaVersion") != 2:
        raise InvalidArgument("the manifest's schemaVersion is not 2")
    if media_types.is_index(media_type):
        return _index(document, media_type)
    return _manifest(document, media_type)


def _agreed(document: Document, said: str) -> str:
    """The media type, once body and envelope agree and the fields fit it."""
    own = document.text("mediaType")
    if own and said and own != said:
        raise InvalidArgument(f"the manifest calls itself {quoted(own)}, but came as {said}")
    media_type = own or said
    foreign: tuple[str, ...]
    if media_types.is_index(media_type):
        foreign = _NOT_IN_INDEX
    elif media_types.is_manifest(media_type):
        foreign = _NOT_IN_MANIFEST
    else:
        raise InvalidArgument(f"{quoted(media_type)} is not the media type of a manifest")
    for name in foreign:
        if name in document.fields:
            raise InvalidArgument(
                f"the manifest is ambiguous: {media_type} with {quoted(name)} (CVE-2021-41190)"
            )
    return media_type


def _index(document: Document, media_type: str) -> Index:
    if not document.has("manifests"):
        raise InvalidArgument("the index has no 'manifests'")
    return Index(
        media_type,
        document.each("manifests", Descriptor.read),
        document.table("annotations"),
        _subject(document),
        _artifact_type(document),
    )


def _manifest(document: Document, media_type: str) -> Manifest:
    config = document.document("config")
    if config is None or not document.has("layers"):
        raise InvalidArgument("the manifest lacks 'config' or 'layers'")
    return Manifest(
        media_type,
        Descriptor.read(config),
        document.each("layers", Descriptor.read),
        annotations=document.table("annotations"),
        subject=_subject(document),
        artifact_type=_artifact_type(document),
    )


def _subject(document: Document) -> Descriptor | None:
    subject = document.document("subject")
    return Descriptor.read(subject) if subject else None


def _artifact_type(document: Document) -> str:
    text = document.text("artifactType")
    return check_media_type(text) if text else ""
