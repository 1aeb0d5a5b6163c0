"""Descriptors (image-spec descriptor.md), and their JSON form."""

from __future__ import annotations

import binascii

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..printable import quoted
from ..records import field, record
from ..unread import Unread
from . import digest as digests
from . import media_types
from .document import Document
from .platform import Platform

#: The syntax of the two parts of a media type. Each part has at most 127 characters (RFC 6838,
#: section 4.2).
_RESTRICTED_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = lazy_pattern(f"{_RESTRICTED_NAME}/{_RESTRICTED_NAME}")

_FIELDS = (
    "mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType",
)  # fmt: skip


def check_media_type(text: str) -> str:
    """Return ``text`` if it is a media type without parameters.

    Raises:
        InvalidArgument: ``text`` is not a media type, or has parameters.
    """
    if not _MEDIA_TYPE.fullmatch(text):
        raise InvalidArgument(f"{quoted(text)} is not a media type without parameters")
    return text


@record(frozen=True)
class Descriptor(Unread):
    """A reference to content by its media type, digest and size.

    Attributes:
        media_type: The media type of the content.
        digest: The digest of the content.
        size: The size of the content in bytes.
        annotations: Annotations by key.
        urls: Additional URLs from which the content can be downloaded.
        platform: The platform of the image, if the descriptor is an entry of an index.
        data: The content itself, if the descriptor embeds it.
        artifact_type: The type of the artifact, if the descriptor refers to one.

    Raises:
        InvalidArgument: The digest is invalid, or the size is negative.
    """

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    data: bytes | None = field(default=None, repr=False)
    artifact_type: str = ""

    def __post_init__(self) -> None:
        digests.validate(self.digest)
        if self.size < 0:
            raise InvalidArgument(
                f"the descriptor of {self.digest} has a negative size: {self.size} bytes"
            )

    @property
    def is_foreign(self) -> bool:
        """Whether this is a foreign layer with ``urls``.

        Registries need not store foreign layers.
        """
        return bool(self.urls) and media_types.is_non_distributable(self.media_type)

    @classmethod
    def from_json(cls, value: object, what: str = "descriptor") -> Descriptor:
        """Read a descriptor from a parsed JSON object.

        Args:
            value: The object.
            what: The name of the object in error messages.

        Raises:
            InvalidArgument: A field is missing, has the wrong type or has an invalid value.
            SizeMismatch: The embedded ``data`` does not have the descriptor's size.
            DigestMismatch: The embedded ``data`` does not have the descriptor's digest.
        """
        return cls.read(Document.of(value, what))

    @classmethod
    def read(cls, document: Document) -> Descriptor:
        """Read a descriptor from a document. See ``from_json`` for the errors."""
        document.check_case(_FIELDS)
        platform = document.document("platform")
        descriptor = cls(
            media_type=check_media_type(document.text("mediaType", None)),
            digest=digests.validate(document.text("digest", None), document.what),
            size=document.integer("size"),
            annotations=document.table("annotations"),
            urls=document.texts("urls"),
            platform=Platform.read(platform) if platform else None,
            data=_decode_data(document),
            artifact_type=document.text("artifactType"),
        )
        if descriptor.data is not None:
            digests.verify(descriptor.data, descriptor.digest, descriptor.size)
        return descriptor

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, without empty fields, in the field order of the image-spec."""
        value: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.urls:
            value["urls"] = list(self.urls)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.data is not None:
            value["data"] = binascii.b2a_base64(self.data, newline=False).decode("ascii")
        if self.platform is not None:
            value["platform"] = self.platform.to_json()
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value


def _decode_data(document: Document) -> bytes | None:
    if not document.has("data"):
        return None
    from base64 import b64decode  # binascii has no strict mode before Python 3.11

    try:
        return b64decode(document.text("data"), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument(f"{document.what}: 'data' is not base64") from None
