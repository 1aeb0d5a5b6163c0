"""Fetches one blob into a store.

A fetch resumes after a lost connection. A fetch that fails leaves nothing in the store, unless
the job keeps partial content.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import closing

from ...deadline import backoff
from ...errors import DigestMismatch, RegistryUnavailable, SizeMismatch
from ...oci.descriptor import Descriptor
from ...progress import Stage
from ...store.blob_writes import write_blob
from ...store.protocol import ContentStore, Writer
from ..job import Job
from ..resolver import Fetcher, Reader

#: Bytes to read at a time. A restart of the daemon loses at most these bytes and those on the way
#: to the daemon (store/daemon.py).
_BUFFER = 2 << 20
#: Seconds to wait between retries: at first, and at most.
_FIRST_WAIT, _LONGEST_WAIT = 0.016, 2.048


def fetch_blob(
    fetcher: Fetcher,
    store: ContentStore,
    descriptor: Descriptor,
    labels: Mapping[str, str],
    job: Job,
    keep: bytearray | None = None,
) -> bool:
    """Fetch a blob into the store, unless the store has it.

    The write is opened in any case, because that adds the blob to the lease. If the fetch fails,
    it leaves nothing in the store, unless the job keeps partial content.

    Args:
        fetcher: Fetches the content.
        store: The store. It verifies the content.
        descriptor: The blob.
        labels: The labels of the new blob. The labels of an existing blob do not change.
        job: The job that the fetch is part of.
        keep: The fetched bytes are appended to it.

    Returns:
        Whether the blob is new in the store.

    Raises:
        NotFound: The source lacks the blob.
        DigestMismatch: The content does not match the digest.
        SizeMismatch: The content has another size than the descriptor says.
        RegistryUnavailable: The source does not respond, or fails again and again.
    """

    def pause(seconds: float, offset: int) -> None:
        job.report("waiting", descriptor.digest, offset, descriptor.size)
        job.stop.wait(seconds)

    try:
        is_new = write_blob(
            store,
            descriptor,
            lambda writer: _copy(fetcher, writer, descriptor, job, keep),
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
    fetcher: Fetcher, writer: Writer, descriptor: Descriptor, job: Job, keep: bytearray | None
) -> None:
    """Fetch the bytes that the writer lacks.

    If the fetcher fails after at least one byte, it is asked for the rest. A fetcher of a registry
    reconnects by itself, and fails only when that did not help.
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
    if descriptor.data is not None:  # the manifest or index contains the blob
        return io.BytesIO(descriptor.data[offset:])
    return fetcher.fetch(descriptor, offset)
