"""Writing blobs that other clients may write at the same time, and documents made locally."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..deadline import Deadline, backoff
from ..errors import (
    AlreadyExists,
    ContainerdError,
    DigestMismatch,
    SizeMismatch,
    Unavailable,
    is_away,
)
from ..oci import digest as digests
from ..oci.descriptor import Descriptor
from .protocol import ContentStore, Writer, ingest_ref
from .write_locks import write_lock

#: Seconds that another writer of the same blob may make no progress.
_STALL_TIMEOUT = 60.0
#: The first and the longest wait between attempts to open a write, in seconds.
_FIRST_WAIT, _LONGEST_WAIT = 0.016, 2.048
#: The characters that Go escapes in JSON, so that HTML can contain it.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def _sleep(seconds: float, offset: int) -> None:
    time.sleep(seconds)


def write_blob(
    store: ContentStore,
    descriptor: Descriptor,
    fill: Callable[[Writer], object],
    *,
    labels: Mapping[str, str] | None = None,
    check: Callable[[], object] = lambda: None,
    pause: Callable[[float, int], object] = _sleep,
    keeps_partial: bool = False,
) -> bool:
    """Write a blob unless the store has it.

    On this machine, one caller at a time writes a given blob. The write is opened even if the
    store has the blob, because this adds the blob to the lease.

    Args:
        store: The store to write to.
        descriptor: The descriptor of the blob, which the store verifies.
        fill: Writes the bytes that the writer lacks. An earlier writer may have left some.
        labels: The labels of the blob if it is new. Default: none.
        check: Called while this function waits for another writer; it raises to stop waiting.
        pause: Sleeps between attempts to open a write whose ref is locked. Called with the
            seconds, and with the number of bytes that the other writer has.
        keeps_partial: Whether the bytes of a failed write stay, so that a later one continues.

    Returns:
        Whether the blob is new.

    Raises:
        Unavailable: Another writer has made no progress for 60 seconds.
        SizeMismatch: ``fill`` wrote content of another size.
        DigestMismatch: ``fill`` wrote content with another digest.
    """
    with write_lock((store.identity, descriptor.digest), check):
        may_restart = True
        while (writer := _open(store, descriptor, check, pause)) is not None:
            was_begun = writer.offset > 0
            try:
                with writer:
                    fill(writer)
                    writer.commit(labels)
                return True
            except AlreadyExists:
                return False
            except (DigestMismatch, SizeMismatch):
                _abort(store, descriptor)
                if not (was_begun and may_restart):
                    raise
            except BaseException as error:
                if not (keeps_partial or is_away(error)):
                    _abort(store, descriptor)
                raise
            # An earlier writer left wrong bytes, which are deleted now: start again, once.
            may_restart = False
        return False


def _open(
    store: ContentStore,
    descriptor: Descriptor,
    check: Callable[[], object],
    pause: Callable[[float, int], object],
) -> Writer | None:
    """Open the write of a blob as soon as no other writer has it.

    Return ``None`` if the store has the blob.
    """
    ref = ingest_ref(descriptor)
    waits, stall_deadline, last_offset = (
        backoff(_FIRST_WAIT, _LONGEST_WAIT),
        Deadline(_STALL_TIMEOUT),
        -1,
    )
    while True:
        check()
        try:
            return store.writer(ref, size=descriptor.size, expected=descriptor.digest)
        except AlreadyExists:
            return None
        except Unavailable as error:
            if is_away(error):
                raise
            offset = _offset_of_other(store, ref)
            if offset != last_offset:
                stall_deadline, last_offset = Deadline(_STALL_TIMEOUT), offset
            elif stall_deadline.expired:
                raise
        pause(next(waits), max(last_offset, 0))


def _offset_of_other(store: ContentStore, ref: str) -> int:
    """Return how many bytes the writer that holds ``ref`` has, -1 if it has just ended."""
    return next((status.offset for status in store.statuses() if status.ref == ref), -1)


def _abort(store: ContentStore, descriptor: Descriptor) -> None:
    """Delete the incomplete write. Ignore errors, which would hide the first one."""
    with suppress(ContainerdError):
        store.abort(ingest_ref(descriptor))


def write_document(store: ContentStore, media_type: str, body: bytes) -> tuple[Descriptor, bool]:
    """Write a manifest, index or config that was made locally, without labels.

    Return its descriptor, and whether it is new.
    """
    descriptor = Descriptor(media_type, digests.of(body), len(body))
    return descriptor, write_blob(
        store, descriptor, lambda writer: writer.write(body[writer.offset :])
    )


def indented_json(value: object) -> bytes:
    """Return JSON as Go's ``json.MarshalIndent`` writes it with three spaces, as in containerd."""
    text = json.dumps(value, ensure_ascii=False, indent=3)
    return text.translate(_ESCAPES).encode()
