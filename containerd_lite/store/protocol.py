"""The protocols of content stores and their writers, and functions that work with any store.

The verbs for images use stores only through these protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO, Protocol

from ..errors import NotFound, SizeMismatch
from ..oci import digest as digests
from ..oci import media_types
from ..oci.content import ContentInfo, IngestStatus
from ..oci.descriptor import Descriptor


class Writer(Protocol):
    """A write of one blob, which ``ContentStore.writer`` starts.

    A writer is a context manager, which closes the writer at the end of the ``with`` block. If the
    block ends without ``commit``, the store keeps the bytes written so far. A later writer with the
    same ref can append to the kept bytes. If an interrupt (``KeyboardInterrupt``) ends the block, a
    daemon can lose the last 4 MiB of these bytes.
    """

    @property
    def offset(self) -> int:
        """The number of bytes of the blob that the store has. ``write`` appends to these bytes.

        The offset of a new writer is above 0 if an earlier write was interrupted, or if the daemon
        has the content in another namespace.
        """

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes to the blob.

        If the store cannot write ``data``, a later call of a method can raise the error.

        Args:
            data: The bytes. The caller can reuse the buffer as soon as the method returns.

        Returns:
            The length of ``data``.

        Raises:
            SizeMismatch: The blob would become longer than the ``size`` that the caller passed to
                ``ContentStore.writer``.
        """

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        """Verify the size and the digest of the blob, and make the blob visible.

        Args:
            labels: The labels of the blob. Default: none.

        Returns:
            The digest of the blob.

        Raises:
            AlreadyExists: The store has the blob already.
            SizeMismatch: The blob does not have the expected size.
            DigestMismatch: The blob does not have the expected digest.
        """

    def close(self) -> None:
        """Release the lock of the ref. The store keeps the bytes written so far.

        Raises:
            DeadlineExceeded: A daemon has not written all bytes within 60 seconds.
            ContainerdError: The store could not write all bytes.
        """

    def __enter__(self) -> Writer: ...

    def __exit__(self, *exception: object) -> None: ...


class ContentStore(Protocol):
    """A store of blobs and incomplete writes.

    Each blob is identified by its digest, and each incomplete write by its ref.
    """

    @property
    def identity(self) -> Hashable:
        """A value that identifies the store.

        Two objects for the same store have equal identities, and different stores have different
        identities.
        """

    def info(self, digest: str) -> ContentInfo:
        """Return the size, times and labels of a blob.

        Raises:
            NotFound: The store has no such blob.
        """

    def infos(self, digests: Iterable[str]) -> dict[str, ContentInfo]:
        """Return the infos of those of the blobs that exist, by their digests."""

    def walk(self, *filters: str) -> Iterator[ContentInfo]:
        """Yield all blobs, or the blobs that match at least one of ``filters``."""

    def reader(self, digest: str) -> BinaryIO:
        """Return a blob as a seekable binary file.

        Raises:
            NotFound: The store has no such blob.
        """

    def verified_reader(self, digest: str, size: int, report: Callable[[int], object]) -> BinaryIO:
        """Return a blob as a seekable binary file, whose content is verified before it is read.

        A daemon has verified the content when it was written. Somebody else can have made the
        folder of a layout, so a layout hashes the file first.

        Args:
            digest: The digest of the blob.
            size: The size of the blob in bytes.
            report: A function that is called with the number of bytes hashed so far.

        Raises:
            NotFound: The store has no such blob.
            SizeMismatch: The content does not have this size.
            DigestMismatch: The content does not have this digest.
        """

    def writer(self, ref: str, *, size: int = 0, expected: str = "") -> Writer:
        """Start a write, or continue an incomplete write.

        Args:
            ref: The name of the write.
            size: The size of the blob in bytes. Default: unknown.
            expected: The digest of the blob. Default: unknown.

        Raises:
            AlreadyExists: The store has a blob with the digest ``expected``.
            Unavailable: Another writer holds the lock of ``ref``.
        """

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Set labels of a blob. The other labels of the blob stay unchanged.

        Args:
            digest: The digest of the blob.
            labels: The labels to set.

        Returns:
            The new state of the blob.

        Raises:
            NotFound: The store has no such blob.
        """

    def delete(self, digest: str) -> None:
        """Delete a blob.

        Raises:
            NotFound: The store has no such blob.
        """

    def statuses(self) -> list[IngestStatus]:
        """Return the states of all incomplete writes."""

    def abort(self, ref: str) -> None:
        """Delete an incomplete write.

        Raises:
            NotFound: The store has no such write.
        """


def infos_one_by_one(store: ContentStore, digests: Iterable[str]) -> dict[str, ContentInfo]:
    """Return the infos of those of the blobs that exist, with one call of ``info`` for each."""
    found = {}
    for digest in digests:
        with suppress(NotFound):
            found[digest] = store.info(digest)
    return found


def read_blob(store: ContentStore, descriptor: Descriptor, limit: int) -> bytes:
    """Return the content of a small blob, after verifying its size and digest.

    Args:
        store: The store that has the blob.
        descriptor: The descriptor of the blob.
        limit: The maximum size of the blob in bytes.

    Raises:
        NotFound: The store has no such blob.
        SizeMismatch: The blob is larger than ``limit``, or does not have the descriptor's size.
        DigestMismatch: The blob does not have the descriptor's digest.
    """
    if descriptor.size > limit:
        raise SizeMismatch(f"{descriptor.digest} is larger than the {limit} bytes allowed")
    with store.reader(descriptor.digest) as file:
        body = file.read(descriptor.size + 1)
    digests.verify(body, descriptor.digest, descriptor.size)
    return body


def ingest_ref(descriptor: Descriptor) -> str:
    """Return the ref for a write of a blob, in the form of containerd's ``remotes.MakeRefKey``."""
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
