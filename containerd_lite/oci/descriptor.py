"""The descriptor: what names a piece of content (image-spec, descriptor.md).

What lives here: the record and its JSON, both ways.  What may not: fetching.
"""

from __future__ import annotations

import binascii

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..records import field, record
from ..unread import Unread
from . import digest as digests
from . import media_types
from .document import Document, quoted
from .platform import Platform

#: RFC 6838, section 4.2: a type and a subtype of at most 127 characters each.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = lazy_pattern(f"{_NAME}/{_NAME}")

_FIELDS = (
    "mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType",
)  # fmt: skip


def check_media_type(text: str) -> str:
    """Returns ``text`` if it is a media type without parameters.  Raises InvalidArgument."""
    if not _MEDIA_TYPE.fullmatch(text):
        raise InvalidArgument(f"{quoted(text)} is not a media type")
    return text


@record(frozen=True)
class Descriptor(Unread):
    """Content by its media type, digest and size (bytes).

    ``urls`` are further places to fetch it from, ``data`` the content itself where the document
    carries it along.  Raises InvalidArgument for a digest or size that cannot be.
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
            raise InvalidArgument(f"{self.digest} cannot have a size of {self.size} bytes")

    @property
    def is_foreign(self) -> bool:
        """Whether this is a layer that registries need not hold: it is where its ``urls`` are."""
        return bool(self.urls) and media_types.is_non_distributable(self.media_type)

    @classmethod
    def from_json(cls, value: object, what: str = "descriptor") -> Descriptor:
        """Reads a parsed JSON object; ``what`` names it in errors.

        Raises InvalidArgument for fields of a wrong type, SizeMismatch or DigestMismatch for
        embedded ``data`` that is not the content named.
        """
        return cls.read(Document.of(value, what))

    @classmethod
    def read(cls, document: Document) -> Descriptor:
        """Reads an open document, as ``from_json``."""
        document.known(_FIELDS)
        platform = document.document("platform")
        found = cls(
            media_type=check_media_type(document.text("mediaType", None)),
            digest=digests.validate(document.text("digest", None), document.what),
            size=document.integer("size"),
            annotations=document.table("annotations"),
            urls=document.texts("urls"),
            platform=Platform.read(platform) if platform else None,
            data=_decoded(document),
            artifact_type=document.text("artifactType"),
        )
        if found.data is not None:
            digests.verify(found.data, found.digest, found.size)
        return found

    def to_json(self) -> dict[str, object]:
        """The JSON object, without the fields that are empty, in the order of the spec."""
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


def _decoded(document: Document) -> bytes | None:
    if not document.has("data"):
        return None
    from base64 import b64decode  # binascii of Python 3.10 takes what is not base64

    try:
        return b64decode(document.text("data"), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidArgument(f"{document.what}: 'data' is not base64") from None
