"""From one registry to another, or to another name on the same, and not by way of a store.

What lives here: the content of a registry as something to push.  What may not: the order in which
that is done, which is ``push``'s; files.
"""

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
from ..job import Job
from ..names import parse_name
from ..resolver import Fetcher, Reader, using
from .delivery import Delivery
from .plan import Choice, Planner
from .push_requests import CopyRequest

_LOGGER = logging.getLogger(__package__)

#: Bytes of documents that are kept; what is more is fetched again when its turn comes.
_ROOM = 16 << 20
_PIECE = 64 << 10


def copy_image(request: CopyRequest) -> Descriptor:
    """As ``Client.copy``.

    Every byte is verified, none is kept: a blob goes through memory in pieces, and on one
    registry not even that.  Raises ``NotFound``, and what resolver, fetcher and pusher raise.
    """
    job = Job(request.progress)
    step = LoggedStep(_LOGGER, "copy %s to %s", request.source, request.target)
    with step, using(request.resolver, job.tell) as resolver:
        job.report("resolving", request.source)
        name, root = resolver.resolve(request.source)
        job.report("resolved", name, 0, root.size)
        fetcher = resolver.fetcher(name)
        contents = _Remote(fetcher, name, request.target)
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


class _Remote:
    """What a fetcher gives, on its way to ``target``; ``Contents``."""

    remedy = "The registry itself lacks them: copy what is there with platform="

    def __init__(self, fetcher: Fetcher, name: str, target: str) -> None:
        self._fetcher = fetcher
        self._repositories: tuple[str, ...] = ()
        one, other = parse_name(name), parse_name(target)
        if one and other and one.host == other.host and one.repository != other.repository:
            self._repositories = (one.repository,)
        self._kept: dict[str, bytes] = {}
        self._room = _ROOM

    def has(self, blob: Descriptor) -> bool:
        """Foreign layers stay where their URLs are; of all else the registry has to say."""
        return not blob.is_foreign

    def read(self, document: Descriptor) -> bytes:
        body = self._kept.get(document.digest, document.data)
        if body is None:
            body = self._fetch(document)
            if len(body) <= self._room:
                self._room -= len(body)
                self._kept[document.digest] = body
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
        if blob.data is not None:
            return io.BytesIO(memoryview(blob.data)[offset:])
        with _of_the_source():
            reader = self._fetcher.fetch(blob, offset)
        return cast(BinaryIO, _RemoteFile(reader, blob, offset))

    def repositories(self, blob: Descriptor, parents: Sequence[Descriptor]) -> Sequence[str]:
        return self._repositories


class _RemoteFile(io.RawIOBase):
    """A fetcher's reader as a binary file, verified if it begins at the blob's beginning."""

    def __init__(self, reader: Reader, blob: Descriptor, offset: int) -> None:
        self._reader = reader
        self._left = blob.size - offset
        self._verifier = None if offset else digests.Verifier(blob.digest, blob.size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        with _of_the_source():
            count = self._reader.readinto(view)
        self._left -= count
        if self._verifier is not None:
            self._verifier.update(view[:count])
            if not count or not self._left:
                self._verifier.check()  # instead of the last bytes of a wrong blob
        return count

    def close(self) -> None:
        if not self.closed:
            self._reader.close()
        super().close()


@contextmanager
def _of_the_source() -> Iterator[None]:
    """Keeps "not found" here from looking like an upload that got lost there."""
    try:
        yield
    except RegistryNotFound as error:
        raise NotFound(error.message, operation=error.operation, remedy=error.remedy) from error
