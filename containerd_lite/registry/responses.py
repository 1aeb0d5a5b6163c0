"""Reads and checks responses that carry a manifest or a blob.

The results are descriptors and verified bytes (distribution-spec, Pull).
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
from ..oci.document import MAX_DOCUMENT, MAX_INTEGER, Document
from ..oci.reference import Reference
from ..printable import quoted
from .http import Response

#: Content types that servers send if they do not know a manifest's media type.
_GENERIC_TYPES = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


def _digest_header(response: Response, expected: str) -> str:
    """Return the ``Docker-Content-Digest`` header, or ``""`` if it is absent.

    ``expected`` is the requested digest, or ``""`` if the request had none. Raises RegistryError
    if the header's digest is invalid. Raises DigestMismatch if this digest has the
    same algorithm as ``expected``, but is not equal to ``expected``.
    """
    text = response.headers.get("Docker-Content-Digest", "").strip()
    if not text:
        return ""
    if not digests.is_digest(text):
        raise RegistryError(f"{response.url.origin} sent the invalid digest {quoted(text)}")
    same_algorithm = expected and digests.algorithm(expected) == digests.algorithm(text)
    if same_algorithm and expected != text:
        raise DigestMismatch(
            f"{response.url.origin} sent the digest {text}, but {expected} was requested"
        )
    return text


def check_stored_digest(response: Response, digest: str) -> None:
    """Raise DigestMismatch if the response to an upload states a digest other than ``digest``.

    A digest with a different algorithm is ignored.
    """
    text = response.headers.get("Docker-Content-Digest", "").strip()
    same_algorithm = text.partition(":")[0] == digest.partition(":")[0]
    if text != digest and same_algorithm:
        raise DigestMismatch(f"{response.url.origin} stored {quoted(text)} instead of {digest}")


def descriptor_from_head(response: Response, reference: Reference) -> Descriptor | None:
    """Return the descriptor that the headers of a HEAD response describe.

    The result is ``None`` if the headers do not state the digest, the size and the media type.
    """
    digest = _digest_header(response, reference.digest)
    media_type = media_types.bare(response.headers.get("Content-Type", ""))
    size = response.content_length
    response.snippet(0)
    known = media_types.is_document(media_type) or media_types.is_schema1(media_type)
    if not known or not size or not (reference.digest or digest):
        return None
    if size > MAX_DOCUMENT:
        raise RegistryError(f"the manifest has {size} bytes, more than the {MAX_DOCUMENT} allowed")
    return Descriptor(media_type, reference.digest or digest, size)


def size_from_head(response: Response, descriptor: Descriptor) -> int:
    """Return the size of a blob in bytes, from the headers of a HEAD response.

    Raises RegistryError if the headers do not state the size. Raises DigestMismatch if the
    headers state the digest of another blob.
    """
    _digest_header(response, descriptor.digest)
    size = response.content_length
    response.snippet(0)
    if size is None or size > MAX_INTEGER:
        raise RegistryError(f"{response.url.origin} does not state the size of {descriptor.digest}")
    return size


def descriptor_from_body(response: Response, reference: Reference) -> Descriptor:
    """Hash the manifest in a response's body, and return its descriptor."""
    digest = _digest_header(response, reference.digest)
    body = response.read(MAX_DOCUMENT, "the manifest")
    media_type = media_types.bare(response.headers.get("Content-Type", ""))
    if media_type in _GENERIC_TYPES:
        media_type = media_types.DOCKER_SCHEMA1_SIGNED if _is_schema1_body(body) else ""
    covered = _covered_bytes(response, body, media_type)
    for expected in (reference.digest, digest):
        if expected and digests.of(covered, digests.algorithm(expected)) != expected:
            raise DigestMismatch(
                f"{response.url.origin} sent content that does not match {expected}"
            )
    media_type = _check_type(response, covered, media_type)
    return Descriptor(media_type, reference.digest or digest or digests.of(covered), len(body))


def _is_schema1_body(body: bytes) -> bool:
    """Return whether the body says that it is a manifest of Docker's schema 1."""
    try:
        return Document.parse(body, "the manifest").fields.get("schemaVersion") == 1
    except InvalidArgument:
        return False


def _covered_bytes(response: Response, body: bytes, media_type: str) -> bytes:
    """Return those bytes of a manifest that the digest covers.

    The digest covers all bytes, except for the signatures in a manifest of schema 1.
    """
    if not media_types.is_schema1(media_type):
        return body
    try:
        return schema1.payload(body)
    except InvalidArgument as error:
        raise _unusable(response, error) from error


def _check_type(response: Response, covered: bytes, media_type: str) -> str:
    """Return the media type of a manifest.

    Raises RegistryError if the manifest is invalid, or if its content contradicts the media type
    of the response (CVE-2021-41190).
    """
    try:
        if media_types.is_schema1(media_type):
            schema1.parse(covered)
            return media_type
        return manifest.parse(covered, media_type).media_type
    except (InvalidArgument, DigestMismatch, SizeMismatch) as error:
        raise _unusable(response, error) from error


def _unusable(response: Response, error: ContainerdError) -> RegistryError:
    return RegistryError(f"{response.url.origin} sent an unusable manifest: {error}")


def verified_document(response: Response, descriptor: Descriptor) -> bytes:
    """Verify the manifest in a response's body against ``descriptor``, and return its bytes."""
    body_start(response, descriptor, 0)
    body = response.read(MAX_DOCUMENT, "the manifest")
    covered = _covered_bytes(response, body, descriptor.media_type)
    has_size = not media_types.is_schema1(descriptor.media_type)
    digests.verify(covered, descriptor.digest, descriptor.size if has_size else len(covered))
    _check_type(response, covered, descriptor.media_type)
    return body


def body_start(
    response: Response, descriptor: Descriptor, offset: int, last: int | None = None
) -> int:
    """Check a response's headers, and return the offset in the content at which the body begins.

    The result is ``offset`` if the registry sent the requested range, and 0 if it sent the whole
    content. ``offset`` and ``last`` are the offsets of the first and the last requested byte.
    ``last=None`` means the last byte of the content.

    Raises RegistryError if the response has a media type or a range that was not requested. Raises
    SizeMismatch if the response announces a wrong size.
    """
    media_type = media_types.bare(response.headers.get("Content-Type", ""))
    if media_types.is_document(media_type) and media_type != descriptor.media_type:
        raise RegistryError(
            f"{response.url.origin} sent {media_type}, but {descriptor.media_type} was requested"
        )
    size = descriptor.size
    start, end = 0, size
    if response.status == 206:
        start, end = offset, size if last is None else last + 1
        content_range = response.headers.get("Content-Range", "").strip().lower()
        if content_range not in (
            f"bytes {offset}-{end - 1}/{size}",
            f"bytes {offset}-{end - 1}/*",
        ):
            raise RegistryError(
                f"{response.url.origin} sent a range that was not requested: "
                f"{quoted(content_range)}"
            )
    # A registry signs a manifest of schema 1 for each request, so the length may vary.
    has_size = not media_types.is_schema1(descriptor.media_type)
    if has_size and response.length is not None and start + response.length != end:
        raise SizeMismatch(
            f"{response.url.origin} announces {start + response.length} bytes for "
            f"{descriptor.digest} instead of the expected {end}"
        )
    return start
