"""Manifests and indexes (image-spec manifest.md, image-index.md; Docker's schema 2)."""

from __future__ import annotations

from ..errors import InvalidArgument
from ..printable import quoted
from ..records import field, record
from . import media_types
from .descriptor import Descriptor, check_media_type
from .document import MAX_DOCUMENT, Document

_FIELDS = (
    "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "fsLayers",
    "subject", "annotations",
)  # fmt: skip
#: The fields that make an index ambiguous (CVE-2021-41190).
_NOT_IN_INDEX = ("config", "layers", "fsLayers")
#: The fields that make a manifest ambiguous (CVE-2021-41190).
_NOT_IN_MANIFEST = ("manifests", "fsLayers")

_KINDS = (media_types.is_manifest, media_types.is_index)

#: The maximum depth of nested indexes. A hostile registry could nest indexes without end.
MAX_DEPTH = 8


@record(frozen=True)
class Manifest:
    """The manifest of one image or artifact.

    Attributes:
        media_type: The media type of the manifest.
        config: The descriptor of the config.
        layers: The descriptors of the layers, bottom first.
        annotations: Annotations by key.
        subject: The descriptor of the manifest that this manifest refers to; ``None`` if absent.
        artifact_type: The type of the artifact; ``""`` if the manifest does not state a type.
    """

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The descriptors of the config and the layers, in the order of containerd's GC labels."""
        return (self.config, *self.layers)

    @property
    def image_layers(self) -> tuple[Descriptor, ...]:
        """Those of ``layers`` that have the media type of a layer, bottom first.

        A snapshot consists of these layers. Other blobs, such as attestations, are not unpacked.
        """
        return tuple(layer for layer in self.layers if media_types.is_layer(layer.media_type))

    @property
    def is_unpackable(self) -> bool:
        """Whether this is the manifest of an image that has layers, or has no blobs at all."""
        has_only_others = bool(self.layers) and not self.image_layers
        return media_types.is_config(self.config.media_type) and not has_only_others


@record(frozen=True)
class Index:
    """A list of manifests, usually one for each platform.

    Attributes:
        media_type: The media type of the index.
        manifests: The descriptors of the manifests and nested indexes.
        annotations: Annotations by key.
        subject: The descriptor of the manifest that this index refers to; ``None`` if absent.
        artifact_type: The type of the artifact; ``""`` if the index does not state a type.
    """

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The descriptors of the manifests, in the order of containerd's GC labels."""
        return self.manifests


def parse(body: bytes, media_type: str = "", *, exact: bool = True) -> Manifest | Index:
    """Parse a manifest or an index.

    Args:
        body: The JSON document, of at most 4 MiB.
        media_type: The media type that the descriptor or the ``Content-Type`` states, without
            parameters. Default: the media type that the document states.
        exact: Whether the document must not state another media type than ``media_type``. If false,
            the media type may be that of Docker or the OCI for the same kind of document, as in
            containerd.

    Raises:
        InvalidArgument: The document states a media type that differs from ``media_type``, is
            ambiguous, does not follow the image-spec, or is a manifest of Docker's schema 1.
    """
    document = Document.parse(body, "the manifest", limit=MAX_DOCUMENT).check_case(_FIELDS)
    if document.fields.get("schemaVersion") == 1 or media_types.is_schema1(media_type):
        raise InvalidArgument(
            "the manifest is in Docker's schema 1 format and must be converted",
            remedy="Pull it with convert_schema1=True, or push it again with a current tool",
        )
    media_type = _find_media_type(document, media_type, exact=exact)
    if document.integer("schemaVersion") != 2:
        raise InvalidArgument("the manifest's schemaVersion is not 2")
    if media_types.is_index(media_type):
        return _read_index(document, media_type)
    return _read_manifest(document, media_type)


def _find_media_type(document: Document, expected: str, *, exact: bool) -> str:
    """Return the media type that a document states, or else ``expected``.

    Raise ``InvalidArgument`` if the document states a media type that differs from ``expected``, or
    has fields that this media type forbids.
    """
    own = document.text("mediaType")
    is_same_kind = any(kind(own) and kind(expected) for kind in _KINDS)
    if own and expected and own != expected and (exact or not is_same_kind):
        raise InvalidArgument(
            f"the manifest has the media type {quoted(own)}, but {expected} was expected"
        )
    media_type = own or expected
    forbidden: tuple[str, ...]
    if media_types.is_index(media_type):
        forbidden = _NOT_IN_INDEX
    elif media_types.is_manifest(media_type):
        forbidden = _NOT_IN_MANIFEST
    else:
        raise InvalidArgument(
            f"{quoted(media_type)} is not the media type of a manifest or an index"
        )
    for name in forbidden:
        if name in document.fields:
            raise InvalidArgument(
                f"the manifest is ambiguous: {media_type} must not have a field {quoted(name)} "
                "(CVE-2021-41190)"
            )
    return media_type


def _read_index(document: Document, media_type: str) -> Index:
    if not document.has("manifests"):
        raise InvalidArgument("the index has no 'manifests'")
    return Index(
        media_type,
        document.each("manifests", Descriptor.read),
        document.table("annotations"),
        _read_subject(document),
        _read_artifact_type(document),
    )


def _read_manifest(document: Document, media_type: str) -> Manifest:
    config = document.document("config")
    if config is None:
        raise InvalidArgument("the manifest has no 'config'")
    if not document.has("layers"):
        raise InvalidArgument("the manifest has no 'layers'")
    return Manifest(
        media_type,
        Descriptor.read(config),
        document.each("layers", Descriptor.read),
        annotations=document.table("annotations"),
        subject=_read_subject(document),
        artifact_type=_read_artifact_type(document),
    )


def _read_subject(document: Document) -> Descriptor | None:
    subject = document.document("subject")
    return Descriptor.read(subject) if subject else None


def _read_artifact_type(document: Document) -> str:
    text = document.text("artifactType")
    return check_media_type(text) if text else ""
