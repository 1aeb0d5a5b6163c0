"""Writing a digest anew that a daemon has already, with broken content."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from ...errors import AlreadyExists, ContainerdError, NotFound
from ...oci import digest as digests
from ...oci.content import ContentInfo
from ...services.content import ContentService
from ...services.lease_keeping import collect, keeping
from ...services.leases import LeaseService
from ...services.namespaces import NamespaceService
from ...store.daemon import DaemonStore
from ...store.protocol import ContentStore, Writer

_BUFFER = 1 << 20
#: How long garbage collection may take (seconds), and what is kept meanwhile.
_COLLECTION = 120.0
_KEPT = 3600.0
#: Labels by which one blob keeps content and snapshots alive.
_REFERENCES = "containerd.io/gc.ref."


class DaemonReplacer:
    """The blobs of a daemon, which all namespaces share.

    A namespace that deletes content only forgets it.  The bytes go with the next garbage
    collection, once no namespace knows them; until then a write of the digest gets them again,
    broken as they are (metadata/content.go; so it is in 1.6, 1.7 and 2.x).
    """

    def __init__(
        self, content: ContentService, leases: LeaseService, namespaces: NamespaceService
    ) -> None:
        self._content = content
        self._leases = leases
        self._namespaces = namespaces
        self._lock = threading.Lock()

    def replacing_writer(self, ref: str, *, size: int, expected: str) -> Writer:
        return _StagedWriter(
            DaemonStore(self._content).writer(ref, size=size), self, expected, size
        )

    @contextmanager
    def cleared(self, digest: str) -> Iterator[None]:
        """Within the block the content of ``digest`` is gone, so that it can be written anew.

        Every namespace that had it has it, with its labels, after the block.
        """
        with self._lock, ExitStack() as stack:
            for namespace in self._namespaces.list():
                stack.enter_context(self._forgotten(namespace.name, digest))
            collect(self._leases, _COLLECTION)
            yield

    @contextmanager
    def _forgotten(self, namespace: str, digest: str) -> Iterator[None]:
        content = self._content.with_options(namespace=namespace)
        try:
            info = content.info(digest)
        except NotFound:
            yield
            return
        store = DaemonStore(content)
        own = DaemonStore(self._content)
        with keeping(self._leases.with_options(namespace=namespace), _KEPT):
            double = _stand_in(store, info)
            try:
                store.delete(digest)
                yield
                _give_back(own, store, info)
            except BaseException:
                with suppress(ContainerdError):  # as it was, if the bytes are still there
                    _give_back(own, store, info)
                raise
            finally:
                with suppress(NotFound):
                    store.delete(double)


def _stand_in(store: ContentStore, info: ContentInfo) -> str:
    """Other content, which keeps alive what the blob keeps alive; returns its digest."""
    body = f"stand-in for {info.digest} {os.urandom(8).hex()}".encode()
    labels = {key: value for key, value in info.labels.items() if key.startswith(_REFERENCES)}
    digest = digests.of(body)
    with store.writer(f"stand-in-{digest}", size=len(body), expected=digest) as writer:
        writer.write(body)
        return writer.commit(labels)


def _give_back(source: ContentStore, store: ContentStore, info: ContentInfo) -> None:
    """Let a namespace have a blob as it had it, out of one that has it."""
    ref = f"repair-{info.digest}"
    try:
        with store.writer(ref, size=info.size, expected=info.digest) as writer:
            if writer.offset < info.size:  # namespaces that do not share
                with source.reader(info.digest) as file:
                    file.seek(writer.offset)
                    while data := file.read(_BUFFER):
                        writer.write(data)
            writer.commit(info.labels)
    except AlreadyExists:  # somebody else has fetched it meanwhile
        store.update(info.digest, info.labels)


class _StagedWriter:
    """A ``Writer`` that verifies by itself: a daemon that expected the digest would refuse it.

    The broken content goes at the last moment: where the good is not to be had, nothing changes.
    """

    def __init__(self, writer: Writer, replacer: DaemonReplacer, digest: str, size: int) -> None:
        self._writer = writer
        self._replacer = replacer
        self._digest = digest
        # What an earlier writer has left fails in the end, and is then fetched from nothing.
        self._verifier = digests.Verifier(digest, size)

    @property
    def offset(self) -> int:
        return self._writer.offset

    def write(self, data: bytes | memoryview) -> int:
        self._verifier.update(data)
        return self._writer.write(data)

    def commit(self, labels: Mapping[str, str] | None = None) -> str:
        self._verifier.check()
        with self._replacer.cleared(self._digest):
            return self._writer.commit(labels)

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> _StagedWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
