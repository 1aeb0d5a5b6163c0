"""Replaces broken content in a daemon's store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from ...errors import AlreadyExists, ContainerdError, NotFound
from ...interrupt import shielded
from ...oci import digest as digests
from ...oci.content import ContentInfo, IngestStatus
from ...services.content import ContentService
from ...services.lease_keeping import collect_garbage, keeping
from ...services.leases import LeaseService, Resource
from ...services.namespaces import NamespaceService
from ...store.daemon import DaemonStore
from ...store.protocol import ContentStore, Writer

_BUFFER = 1 << 20
#: Seconds that garbage collection may take.
_COLLECT_TIMEOUT = 120.0
#: Seconds after which the lease of a replacement expires if this process dies.
_LEASE_EXPIRES = 3600.0
#: The prefix of labels with which a blob protects content and snapshots from garbage collection.
_REFERENCE_PREFIX = "containerd.io/gc.ref."


class DaemonReplacer:
    """Replaces broken blobs in a daemon, for all namespaces; implements ``Replacer``.

    All namespaces share the bytes of a blob. If a blob is deleted in one namespace, only the record
    of the blob in this namespace is removed. Garbage collection deletes the bytes when no namespace
    has a record of the blob. Until then, a write with the same digest gets the old, broken bytes
    (metadata/content.go in 1.6, 1.7 and 2.x).

    Args:
        content: The content service of the namespace to repair.
        leases: The lease service.
        namespaces: The namespace service.
    """

    def __init__(
        self, content: ContentService, leases: LeaseService, namespaces: NamespaceService
    ) -> None:
        self._content = content
        self._leases = leases
        self._namespaces = namespaces
        self._lock = threading.Lock()

    def replacing_writer(self, ref: str, *, size: int, expected: str) -> Writer:
        """Begin a write whose commit replaces the blob; see ``Replacer.replacing_writer``."""
        return _ReplacingWriter(
            DaemonStore(self._content).writer(ref, size=size), self, expected, size
        )

    @contextmanager
    def cleared(self, digest: str) -> Iterator[None]:
        """Delete a blob in all namespaces, so that the caller's block can write it again.

        After the block, each namespace that had the blob has it again, with the same labels.
        """
        with self._lock, ExitStack() as stack:
            for namespace in self._namespaces.list():
                stack.enter_context(self._without_blob(namespace.name, digest))
            collect_garbage(self._leases, _COLLECT_TIMEOUT)
            yield

    @contextmanager
    def _without_blob(self, namespace: str, digest: str) -> Iterator[None]:
        """Delete a blob in one namespace, and write it back after the block.

        During the block, a stand-in blob has the reference labels of the deleted blob. So garbage
        collection does not delete the content and the snapshots that these labels refer to. The
        lease has the deleted blob as a resource, because garbage collection then also keeps the
        objects whose back references name this blob.
        """
        content = self._content.with_options(namespace=namespace)
        try:
            info = content.info(digest)
        except NotFound:
            yield
            return
        store = DaemonStore(content)
        own = DaemonStore(self._content)
        leases = self._leases.with_options(namespace=namespace)
        with keeping(leases, _LEASE_EXPIRES) as lease:
            stand_in = _write_stand_in(store, info)
            try:
                store.delete(digest)  # also removes the blob from the lease
                leases.add_resource(lease, Resource(digest, "content"))
                yield
                _write_back(own, store, info)
            except BaseException:
                # If the bytes still exist, this restores the record.
                with shielded(), suppress(ContainerdError):
                    _write_back(own, store, info)
                raise
            finally:
                with shielded(), suppress(NotFound):
                    store.delete(stand_in)


def _write_stand_in(store: ContentStore, info: ContentInfo) -> str:
    """Write a small blob with the reference labels of the blob ``info``, and return its digest."""
    body = f"stand-in for {info.digest} {os.urandom(8).hex()}".encode()
    labels = {key: value for key, value in info.labels.items() if key.startswith(_REFERENCE_PREFIX)}
    digest = digests.of(body)
    with store.writer(f"stand-in-{digest}", size=len(body), expected=digest) as writer:
        writer.write(body)
        return writer.commit(labels)


def _write_back(source: ContentStore, store: ContentStore, info: ContentInfo) -> None:
    """Write a blob, with its labels, into the namespace from which it was deleted.

    Args:
        source: The store of a namespace that has the blob.
        store: The store of the namespace to write into.
        info: The blob, with its labels.
    """
    ref = f"repair-{info.digest}"
    try:
        with store.writer(ref, size=info.size, expected=info.digest) as writer:
            if writer.offset < info.size:  # the namespaces of this daemon do not share content
                with source.reader(info.digest) as file:
                    file.seek(writer.offset)
                    while data := file.read(_BUFFER):
                        writer.write(data)
            writer.commit(info.labels)
    except AlreadyExists:  # another client has written the blob meanwhile
        store.update(info.digest, info.labels)


class _ReplacingWriter:
    """A ``Writer`` that deletes the broken content only at commit.

    If the good content cannot be fetched, nothing changes. The writer verifies the content itself,
    and does not send the expected digest to the daemon. If the daemon knew the digest, it would
    refuse the write, because it already has a blob with this digest.
    """

    def __init__(self, writer: Writer, replacer: DaemonReplacer, digest: str, size: int) -> None:
        self._writer = writer
        self._replacer = replacer
        self._digest = digest
        self._size = size
        # If an earlier writer has left bytes, the check at commit fails. ``write_blob`` then starts
        # again from the first byte.
        self._verifier = digests.Verifier(digest, size)

    @property
    def offset(self) -> int:
        """The number of bytes of the new content that the daemon has."""
        return self._writer.offset

    @property
    def digest(self) -> str:
        """The digest of the new content that the daemon has."""
        return self._writer.digest

    def status(self) -> IngestStatus:
        """Return the state of the write."""
        return self._writer.status()

    def truncate(self, size: int) -> None:
        """Delete the new content that the daemon has; see ``Writer.truncate``."""
        self._writer.truncate(size)
        if not size:
            self._verifier = digests.Verifier(self._digest, self._size)

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes; return their number."""
        self._verifier.update(data)
        return self._writer.write(data)

    def commit(
        self, labels: Mapping[str, str] | None = None, *, size: int = 0, expected: str = ""
    ) -> str:
        """Verify the content and replace the broken blob; return the digest.

        The daemon verifies ``size`` and ``expected`` in addition.

        Raises:
            DigestMismatch: The content does not match the digest.
            SizeMismatch: The content does not have the expected size.
        """
        self._verifier.check()
        with self._replacer.cleared(self._digest):
            return self._writer.commit(labels, size=size, expected=expected)

    def close(self) -> None:
        """Release the lock of the ref. The daemon keeps the bytes written so far."""
        self._writer.close()

    def __enter__(self) -> _ReplacingWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(*exception)
