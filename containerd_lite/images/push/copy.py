"""Copies images from registry to registry, or within one registry, without using a store."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, cast

from ...debug import LoggedStep
from ...errors import NotFound, RegistryNotFound, SizeMismatch
from ...oci import digest as digests
from ...oci.descriptor import Descriptor
from ...oci.document import MAX_DOCUMENT
from ..concurrency import Gate
from ..guards import guard_for
from ..image_backend import ImageBackend
from ..job import Job
from ..names import parse_name
from ..resolver import Fetcher, Reader, using
from .delivery import Delivery
from .plan import Choice, Planner
from .push_requests import CopyRequest

_LOGGER = logging.getLogger(__package__)

#: Maximum number of bytes of manifests and indexes to cache in memory. A manifest or index that
#: does not fit into the cache is fetched again when it is pushed.
_CACHE_SIZE = 16 << 20
#: Bytes to read at a time.
_PIECE = 64 << 10


def copy_image(backend: ImageBackend, request: CopyRequest) -> Descriptor:
    """Copy an image; see ``Client.copy``.

    Fetched content is verified, and is not stored on this machine: a blob passes through memory in
    pieces. Within one registry, a blob is fetched only if the registry does not mount it.

    Raises:
        NotFound: The source or some of its content does not exist.
        SignatureError: A policy does not accept the source.
    """
    job, guard = Job(request.progress), guard_for(backend, request.policy)
    step = LoggedStep(_LOGGER, "copy %s to %s", request.source, request.target)
    with step, using(request.resolver, backend.host_caches, job.report_event) as resolver:
        job.report("resolving", request.source)
        name, root = resolver.resolve(request.source)
        job.report("resolved", name, 0, root.size)
        if guard is not None:
            guard.check_pull(resolver, name, root, request.platforms)
        fetcher = resolver.fetcher(name)
        contents = _FetcherContents(fetcher, name, request.target)
        find = getattr(fetcher, "referrers", None) if request.referrers else None
        gate = Gate(job, request.max_concurrent)
        planner = Planner(
            contents,
            Choice(name, request.platforms),
            job,
            workers=gate.workers,
            referrers=find or (lambda document: ()),
        )
        plan = planner.plan(root)
        pusher = resolver.pusher(request.target)
        Delivery(contents, pusher, job, gate=gate, chunk_size=request.chunk_size).run(
            request.target, plan
        )
        return plan.root


class _FetcherContents:
    """The content that a fetcher fetches; implements ``Contents``.

    Args:
        fetcher: Fetches the content.
        name: The name of the source.
        target: The name of the destination. If ``name`` and ``target`` belong to one registry, the
            registry is asked to mount the blobs.
    """

    remedy = "Pass platform= with the platforms whose content is completely in the registry"

    def __init__(self, fetcher: Fetcher, name: str, target: str) -> None:
        self._fetcher = fetcher
        self._repositories: tuple[str, ...] = ()
        source, destination = parse_name(name), parse_name(target)
        if (
            source
            and destination
            and source.host == destination.host
            and source.repository != destination.repository
        ):
            self._repositories = (source.repository,)
        self._cache: dict[str, bytes] = {}
        self._cache_left = _CACHE_SIZE

    def missing(self, contents: Sequence[Descriptor]) -> set[str]:
        """Return the digests of foreign layers; see ``Contents.missing``.

        A foreign layer is not copied, because clients fetch it from its URLs. Only a fetch shows
        whether the registry has other content.
        """
        return {descriptor.digest for descriptor in contents if descriptor.is_foreign}

    def read(self, document: Descriptor) -> bytes:
        """Return the content of a manifest or index; see ``Contents.read``."""
        body = self._cache.get(document.digest, document.data)
        if body is None:
            body = self._fetch(document)
            if len(body) <= self._cache_left:
                self._cache_left -= len(body)
                self._cache[document.digest] = body
        return body

    def _fetch(self, document: Descriptor) -> bytes:
        if document.size > MAX_DOCUMENT:
            raise SizeMismatch(f"{document.digest} is larger than the {MAX_DOCUMENT} bytes allowed")
        with self.open_at(document, 0) as file:
            body = bytearray()
            while piece := file.read(_PIECE):
                body += piece
        return bytes(body)

    def open_at(self, blob: Descriptor, offset: int) -> BinaryIO:
        """Return a blob as a file that begins at ``offset``; see ``Contents.open_at``."""
        if blob.data is not None:
            return io.BytesIO(memoryview(blob.data)[offset:])
        with _source_errors():
            reader = self._fetcher.fetch(blob, offset)
        return cast(BinaryIO, _FetchedFile(reader, blob, offset))

    def repositories(self, blob: Descriptor, parents: Sequence[Descriptor]) -> Sequence[str]:
        """Return the source's repository if the destination can mount blobs from there."""
        return self._repositories


class _FetchedFile(io.RawIOBase):
    """A binary file that reads a blob from a fetcher.

    The file verifies the blob if ``offset`` is 0.
    """

    def __init__(self, reader: Reader, blob: Descriptor, offset: int) -> None:
        self._reader = reader
        self._remaining = blob.size - offset
        self._verifier = None if offset else digests.Verifier(blob.digest, blob.size)

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into ``buffer``; return the number of bytes read, or 0 at the end of the blob."""
        view = memoryview(buffer)
        with _source_errors():
            count = self._reader.readinto(view)
        self._remaining -= count
        if self._verifier is not None:
            self._verifier.update(view[:count])
            if not count or not self._remaining:
                # If the digest is wrong, this call raises an error before the caller gets the last
                # bytes.
                self._verifier.check()
        return count

    def close(self) -> None:
        """Close the file and the fetcher's reader."""
        if not self.closed:
            self._reader.close()
        super().close()


@contextmanager
def _source_errors() -> Iterator[None]:
    """Turn the source's ``RegistryNotFound`` into ``NotFound``.

    The pusher treats ``RegistryNotFound`` as the sign that the destination has lost an upload.
    """
    try:
        yield
    except RegistryNotFound as error:
        raise NotFound(error.message, operation=error.operation, remedy=error.remedy) from error
