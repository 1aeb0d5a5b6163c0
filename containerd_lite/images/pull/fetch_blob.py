"""One blob from a fetcher into a store.

What lives here: opening the write, copying, resuming after a cut, giving up cleanly.  What may
not: which blobs belong together.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import closing, suppress

from ...deadline import Deadline, backoff
from ...errors import (
    AlreadyExists,
    ContainerdError,
    DigestMismatch,
    RegistryUnavailable,
    SizeMismatch,
    Unavailable,
    is_away,
)
from ...oci.descriptor import Descriptor
from ...progress import Stage
from ...store.protocol import ContentStore, Writer, ingest_ref
from ..job import Job
from ..resolver import Fetcher, Reader
from ..write_locks import write_lock

#: Bytes read at a time; what a daemon that goes away can cost is these and those that are under
#: way to it (store/daemon.py).
_BUFFER = 2 << 20
#: How long another writer of the same blob may stand still before we give up (seconds).
_STALL = 60.0
_FIRST_WAIT, _LONGEST_WAIT = 0.016, 2.048


def fetch_blob(
    fetcher: Fetcher,
    store: ContentStore,
    descriptor: Descriptor,
    labels: Mapping[str, str],
    job: Job,
    keep: bytearray | None = None,
) -> bool:
    """Bring a blob into the store, verified by it, with ``labels``; false if it was there.

    The write is opened even if the blob is there: that is what adds it to the lease.  Labels of
    a blob that was there are left alone.  What is fetched is appended to ``keep``, too.  Raises
    what fetcher and store raise, with nothing half-made left, unless the job keeps it.
    """
    with write_lock((store.identity, descriptor.digest), job.check):
        is_new = _write(fetcher, store, descriptor, labels=labels, job=job, keep=keep)
    stage: Stage = "downloaded" if is_new else "exists"
    job.report(stage, descriptor.digest, descriptor.size, descriptor.size)
    return is_new


def _write(
    fetcher: Fetcher,
    store: ContentStore,
    descriptor: Descriptor,
    labels: Mapping[str, str],
    job: Job,
    keep: bytearray | None,
) -> bool:
    may_restart = True
    while (writer := _open(store, descriptor, job)) is not None:
        was_begun = writer.offset > 0
        try:
            with writer:
                _copy(fetcher, writer, descriptor, job, keep)
                writer.commit(labels)
            return True
        except AlreadyExists:
            return False
        except (DigestMismatch, SizeMismatch) as error:
            _abort(store, descriptor)
            if not (was_begun and may_restart):
                error.remedy = "The registry has other content than its manifest names"
                raise
        except BaseException as error:
            if not (job.keeps_partial or is_away(error)):
                _abort(store, descriptor)
            raise
        # What an earlier writer had left was not right: begin again, from nothing, once.
        may_restart = False
    return False


def _open(store: ContentStore, descriptor: Descriptor, job: Job) -> Writer | None:
    """The write of a blob, once nobody else has it; ``None`` if the blob is there."""
    ref = ingest_ref(descriptor)
    waits, patience, seen = backoff(_FIRST_WAIT, _LONGEST_WAIT), Deadline(_STALL), -1
    while True:
        job.check()
        try:
            return store.writer(ref, size=descriptor.size, expected=descriptor.digest)
        except AlreadyExists:
            return None
        except Unavailable as error:
            if is_away(error):
                raise
            offset = _offset_of_other(store, ref)
            if offset != seen:
                patience, seen = Deadline(_STALL), offset
            elif patience.expired:
                raise
        job.report("waiting", descriptor.digest, max(seen, 0), descriptor.size)
        job.stop.wait(next(waits))


def _offset_of_other(store: ContentStore, ref: str) -> int:
    """How far the writer that has ``ref`` has come; -1 if it has just ended."""
    return next((status.offset for status in store.statuses() if status.ref == ref), -1)


def _copy(
    fetcher: Fetcher, writer: Writer, descriptor: Descriptor, job: Job, keep: bytearray | None
) -> None:
    """All that the writer lacks; a fetcher that breaks off is asked again as long as bytes come.

    Those of registries go on by themselves, and break off when that has been of no use.
    """
    buffer = memoryview(bytearray(min(_BUFFER, descriptor.size or 1)))
    waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
    while writer.offset < descriptor.size:
        before = writer.offset
        try:
            with closing(_reader(fetcher, descriptor, writer.offset)) as reader:
                while count := reader.readinto(buffer):
                    job.check()
                    writer.write(buffer[:count])
                    if keep is not None:
                        keep += buffer[:count]
                    job.report("downloading", descriptor.digest, writer.offset, descriptor.size)
            if writer.offset < descriptor.size:
                raise SizeMismatch(f"{descriptor.digest} ended at {writer.offset} bytes")
        except RegistryUnavailable:
            if writer.offset == before:
                raise
            job.report("retrying", descriptor.digest, writer.offset, descriptor.size)
            job.stop.wait(next(waits))
            job.check()


def _reader(fetcher: Fetcher, descriptor: Descriptor, offset: int) -> Reader:
    if descriptor.data is not None:  # it came along
        return io.BytesIO(descriptor.data[offset:])
    return fetcher.fetch(descriptor, offset)


def _abort(store: ContentStore, descriptor: Descriptor) -> None:
    """Leave nothing half-made; never hide the error that led here."""
    with suppress(ContainerdError):
        store.abort(ingest_ref(descriptor))
