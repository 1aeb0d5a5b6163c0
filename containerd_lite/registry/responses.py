"""What an answer that carries a manifest or a blob says, and whether it can be believed.

What lives here: headers and bodies → descriptors and verified bytes (distribution-spec, Pull).
What may not: sending requests.
"""

from __future__ import annotations

from ..errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    RegistryError,
    SizeMismatch,
)
from ..oci import digest as digests
from ..oci import manifest, media_types, schema1
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT, MAX_INTEGER, Document, quoted
from ..oci.reference import Reference
from .http import Response

#: What servers say who do not know what they serve.
_VAGUE = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


def _digest_header(answer: Response, wanted: str) -> str:
    """The ``Docker-Content-Digest``, ``""`` if absent; ``wanted`` is ``""`` where any will do.

    Raises RegistryError, DigestMismatch.
    """
    text = answer.headers.get("Docker-Content-Digest", "").strip()
    if not text:
        return ""
    if not digests.is_digest(text):
        raise RegistryError(f"{answer.url.origin} names a digest that cannot be, {quoted(text)}")
    same_kind = wanted and digests.algorithm(wanted) == digests.algorithm(text)
    if same_kind and wanted != text:
        raise DigestMismatch(f"{answer.url.origin} names {text} where {wanted} was asked for")
    return text


def confirm(answer: Response, digest: str) -> None:
    """Raises DigestMismatch where an answer to an upload names other content than ``digest``."""
    said = answer.headers.get("Docker-Content-Digest", "").strip()
    same_kind = said.partition(":")[0] == digest.partition(":")[0]
    if said != digest and same_kind:
        raise DigestMismatch(f"{answer.url.origin} took {quoted(said)} where {digest} was meant")


def described(answer: Response, reference: Reference) -> Descriptor | None:
    """The descriptor that the headers of an answer to HEAD give, if they do."""
    found = _digest_header(answer, reference.digest)
    media_type = media_types.bare(answer.headers.get("Content-Type", ""))
    size = answer.declared
    answer.snippet(0)
    known = media_types.is_document(media_type) or media_types.is_schema1(media_type)
    if not known or not size or not (reference.digest or found):
        return None
    if size > MAX_DOCUMENT:
        raise RegistryError(f"the manifest has {size} bytes, more than {MAX_DOCUMENT}")
    return Descriptor(media_type, reference.digest or found, size)


def sized(answer: Response, descriptor: Descriptor) -> int:
    """The size of a blob (bytes) that the headers of an answer to HEAD give.

    Raises RegistryError, DigestMismatch.
    """
    _digest_header(answer, descriptor.digest)
    size = answer.declared
    answer.snippet(0)
    if size is None or size > MAX_INTEGER:
        raise RegistryError(f"{answer.url.origin} does not tell the size of {descriptor.digest}")
    return size


def hashed(answer: Response, reference: Reference) -> Descriptor:
    """The descriptor of a manifest that has come whole."""
    said = _digest_header(answer, reference.digest)
    body = answer.read(MAX_DOCUMENT, "the manifest")
    media_type = media_types.bare(answer.headers.get("Content-Type", ""))
    if media_type in _VAGUE:
        media_type = media_types.DOCKER_SCHEMA1_SIGNED if _says_schema1(body) else ""
    named = _named(answer, body, media_type)
    for name in (reference.digest, said):
        if name and digests.of(named, digests.algorithm(name)) != name:
            raise DigestMismatch(f"the content that {answer.url.origin} gave for {name} is not it")
    media_type = _checked(answer, named, media_type)
    return Descriptor(media_type, reference.digest or said or digests.of(named), len(body))


def _says_schema1(body: bytes) -> bool:
    try:
        return Document.parse(body, "the manifest").fields.get("schemaVersion") == 1
    except InvalidArgument:
        return False


def _named(answer: Response, body: bytes, media_type: str) -> bytes:
    """What the digest of a manifest is of: all of it, but for the signatures of schema 1."""
    if not media_types.is_schema1(media_type):
        return body
    try:
        return schema1.payload(body)
    except InvalidArgument as error:
        raise _unusable(answer, error) from error


def _checked(answer: Response, named: bytes, media_type: str) -> str:
    """The media type of a manifest, once envelope and content agree (CVE-2021-41190)."""
    try:
        if media_types.is_schema1(media_type):
            schema1.parse(named)
            return media_type
        return manifest.parse(named, media_type).media_type
    except (InvalidArgument, DigestMismatch, SizeMismatch) as error:
        raise _unusable(answer, error) from error


def _unusable(answer: Response, error: ContainerdError) -> RegistryError:
    return RegistryError(f"{answer.url.origin} gave no usable manifest: {error}")


def verified(answer: Response, descriptor: Descriptor) -> bytes:
    """The body of a manifest, once it is what ``descriptor`` says."""
    begin(answer, descriptor, 0)
    body = answer.read(MAX_DOCUMENT, "the manifest")
    named = _named(answer, body, descriptor.media_type)
    has_size = not media_types.is_schema1(descriptor.media_type)
    digests.verify(named, descriptor.digest, descriptor.size if has_size else len(named))
    _checked(answer, named, descriptor.media_type)
    return body


def begin(answer: Response, descriptor: Descriptor, offset: int, last: int | None = None) -> int:
    """Where the body of an answer begins in the content: at ``offset``, or at 0.

    ``last`` is the last byte asked for, the content's own unless given.  Raises RegistryError
    or SizeMismatch for an answer that is about something else.
    """
    media_type = media_types.bare(answer.headers.get("Content-Type", ""))
    if media_types.is_document(media_type) and media_type != descriptor.media_type:
        raise RegistryError(
            f"{answer.url.origin} gave {media_type} where {descriptor.media_type} was asked for"
        )
    size = descriptor.size
    start, end = 0, size
    if answer.status == 206:
        start, end = offset, size if last is None else last + 1
        said = answer.headers.get("Content-Range", "").strip().lower()
        if said not in (f"bytes {offset}-{end - 1}/{size}", f"bytes {offset}-{end - 1}/*"):
            raise RegistryError(f"{answer.url.origin} gave another range: {quoted(said)}")
    # A manifest of schema 1 is signed afresh whenever it is asked for: its length may differ.
    has_size = not media_types.is_schema1(descriptor.media_type)
    if has_size and answer.length is not None and start + answer.length != end:
        raise SizeMismatch(
            f"{answer.url.origin} announces {start + answer.length} bytes for "
            f"{descriptor.digest}, promised were {end}"
        )
    return start
