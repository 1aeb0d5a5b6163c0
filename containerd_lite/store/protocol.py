"""What a content store can do; the pipeline knows stores by this alone.

What lives here: the protocols, and reading a small blob whole.  What may not: any one store.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import BinaryIO, Protocol

from ..errors import SizeMismatch
from ..oci import digest as digests
from ..oci import media_types
from ..oci.content import ContentInfo, IngestStatus
from ..oci.descriptor import Descriptor


class Writer(Protocol):
    """A blob under way; a context manager that, left without ``commit``, keeps what is there."""

    @property
    def offset(self) -> int:
        """Bytes that are there, and where the next ones go; not 0 where an earlier write broke off,
        or where the daemon has the content in another namespace."""

    def write(self, data: bytes | memoryview) -> int:
        """Append; returns when ``data`` may be used again.  Errors may come with a later call."""

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        """Verify size and digest, make the blob visible, return its digest.

        Raises ``AlreadyExists`` if it is there already, ``SizeMismatch`` or ``DigestMismatch``.
        """

    def close(self) -> None: ...

    def __enter__(self) -> Writer: ...

    def __exit__(self, *exception: object) -> None: ...


class ContentStore(Protocol):
    """Blobs by digest, and writes under way by ref."""

    @property
    def identity(self) -> Hashable:
        """What two objects for the same store have in common, and no others."""

    def info(self, digest: str) -> ContentInfo:
        """Raises ``NotFound``."""

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        """Every blob that matches one of the filters, all without any."""

    def reader(self, digest: str) -> BinaryIO:
        """The blob as a binary file that seeks.  Raises ``NotFound``."""

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> Writer:
        """Begin or resume the write ``ref`` of ``size`` bytes (0: not known).

        Raises ``AlreadyExists`` if the digest ``expected`` is there, ``Unavailable`` while
        another writer has ``ref``.
        """

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Set these labels and leave the others.  Raises ``NotFound``."""

    def delete(self, digest: str) -> None:
        """Raises ``NotFound``."""

    def statuses(self) -> list[IngestStatus]:
        """The writes under way."""

    def abort(self, ref: str) -> None:
        """Throw away a write under way.  Raises ``NotFound``."""


def read_blob(store: ContentStore, descriptor: Descriptor, limit: int) -> bytes:
    """A small blob whole, verified; ``limit`` in bytes.

    Raises ``NotFound``, ``SizeMismatch``, ``DigestMismatch``.
    """
    if descriptor.size > limit:
        raise SizeMismatch(f"{descriptor.digest} is larger than the {limit} bytes allowed")
    with store.reader(descriptor.digest) as file:
        body = file.read(descriptor.size + 1)
    digests.verify(body, descriptor.digest, descriptor.size)
    return body


def ingest_ref(descriptor: Descriptor) -> str:
    """The name of a write, as containerd's own clients spell it (remotes.MakeRefKey)."""
    media_type = descriptor.media_type
    if media_types.is_manifest(media_type):
        kind = "manifest"
    elif media_types.is_index(media_type):
        kind = "index"
    elif media_types.is_layer(media_type):
        kind = "layer"
    else:
        kind = "config" if media_types.is_config(media_type) else "unknown"
    return f"{kind}-{digests.validate(descriptor.digest)}"
