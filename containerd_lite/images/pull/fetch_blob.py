"""Fetches one blob into a store.

If the connection is lost, the fetch resumes. A failed fetch leaves nothing in the store, unless the
job keeps partial content.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import closing

from ...deadline import backoff
from ...errors import DigestMismatch, RegistryUnavailable, SizeMismatch
from ...oci.descriptor import Descriptor
from ...progress import Stage
from ...registry.pace import min_progress
from ...store.blob_writes import write_blob
from ...store.protocol import ContentStore, Writer
from ..job import Job
from ..resolver import Fetcher, Reader

#: The maximum number of bytes to read at a time. If the daemon restarts, the bytes of the last read
#: are lost, and also the sent bytes that the daemon has not confirmed (see store/daemon.py).
_BUFFER = 2 << 20
#: Seconds to wait before the first retry, and the maximum number of seconds before later retries.
_FIRST_WAIT, _LONGEST_WAIT = 0.016, 2.048
#: Maximum number of consecutive failures with less progress than ``min_progress``.
_MAX_FAILURES = 3


def fetch_blob(
    fetcher: Fetcher,
    store: ContentStore,
    descriptor: Descriptor,
    labels: Mapping[str, str],
    job: Job,
    body: bytearray | None = None,
) -> bool:
    """Fetch a blob into the store, unless the store has it.

    The function opens a write even if the store has the blob, because the write adds the blob to
    the lease. A failed fetch leaves nothing in the store, unless the job keeps partial content.

    Args:
        fetcher: Fetches the content.
        store: The store to write to. The store verifies the content.
        descriptor: The descriptor of the blob.
        labels: The labels of the new blob. The labels of an existing blob do not change.
        job: The job that the fetch is part of.
        body: A buffer to which the fetched bytes are appended. Default: none.

    Returns:
        Whether the blob is new in the store.

    Raises:
        NotFound: The source lacks the blob.
        DigestMismatch: The content does not match the digest.
        SizeMismatch: The size of the content is not the size in the descriptor.
        RegistryUnavailable: The source does not respond, or fails again and again.
    """

    def pause(seconds: float, offset: int) -> None:
        job.report("waiting", descriptor.digest, offset, descriptor.size)
        job.stop.wait(seconds)

    try:
        is_new = write_blob(
            store,
            descriptor,
            lambda writer: _copy(fetcher, writer, descriptor, job, body),
            labels=labels,
            check=job.check,
            pause=pause,
            keeps_partial=job.keeps_partial,
        )
    except (DigestMismatch, SizeMismatch) as error:
        error.remedy = "Pull from another registry, or push the image again: this content is wrong"
        raise
    stage: Stage = "downloaded" if is_new else "exists"
    job.report(stage, descriptor.digest, descriptor.size, descriptor.size)
    return is_new


def _copy(
    fetcher: Fetcher, writer: Writer, descriptor: Descriptor, job: Job, body: bytearray | None
) -> None:
    """Fetch the bytes that the writer lacks.

    If the fetcher fails after at least one byte, this function continues from the next byte. A
    fetcher for a registry reconnects by itself, and fails only if reconnecting does not help. After
    several failures in a row with almost no progress, this function raises the last error.
    """
    buffer = memoryview(bytearray(min(_BUFFER, descriptor.size or 1)))
    waits = backoff(_FIRST_WAIT, _LONGEST_WAIT)
    failures = 0
    if writer.offset:  # an earlier fetch has left these bytes
        job.report("waiting", descriptor.digest, writer.offset, descriptor.size)
    while writer.offset < descriptor.size:
        before = writer.offset
        try:
            with closing(_reader(fetcher, descriptor, writer.offset)) as reader:
                while count := reader.readinto(buffer):
                    job.check()
                    writer.write(buffer[:count])
                    if body is not None:
                        body += buffer[:count]
                    job.report("downloading", descriptor.digest, writer.offset, descriptor.size)
            if writer.offset < descriptor.size:
                raise SizeMismatch(
                    f"{descriptor.digest} ended after {writer.offset} of {descriptor.size} bytes"
                )
        except RegistryUnavailable:
            progress = writer.offset - before
            failures = 0 if progress >= min_progress(descriptor.size) else failures + 1
            if not progress or failures >= _MAX_FAILURES:
                raise
            job.report("retrying", descriptor.digest, writer.offset, descriptor.size)
            job.stop.wait(next(waits))
            job.check()


def _reader(fetcher: Fetcher, descriptor: Descriptor, offset: int) -> Reader:
    if descriptor.data is not None:  # the descriptor embeds the blob
        return io.BytesIO(descriptor.data[offset:])
    return fetcher.fetch(descriptor, offset)
