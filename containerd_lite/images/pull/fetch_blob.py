"""One blob from a fetcher into a store.

A fetch that was cut off resumes.  A fetch that fails leaves nothing, unless the job keeps it.
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

#: Bytes read at a time; what a daemon that goes away can cost is these and those that are under
#: way to it (store/daemon.py).
_BUFFER = 2 << 20
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
    a blob that was there are left alone.  The content is appended to ``keep``, too.  Raises what
    fetcher and store raise; then nothing is left, unless the job keeps it.
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
        error.remedy = "The registry has other content than its manifest names"
        raise
    stage: Stage = "downloaded" if is_new else "exists"
    job.report(stage, descriptor.digest, descriptor.size, descriptor.size)
    return is_new


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
