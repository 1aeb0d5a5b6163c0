"""Writing blobs that others may be writing, too, and documents that were made here."""

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

#: How long another writer of the same blob may stand still before we give up (seconds).
_STALL = 60.0
_FIRST_WAIT, _LONGEST_WAIT = 0.016, 2.048
#: Go escapes these in JSON, so that it can be pasted into a page.
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


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
    """Write a blob unless the store has it, one writer on this machine at a time.

    The write is opened even if the blob is there: that is what adds it to the lease.

    Args:
        store: where to write.
        descriptor: the blob; the store verifies it.
        fill: writes all that the writer lacks, which may hold what an earlier one has left.
        labels: for a blob that was not there.
        check: called while the caller waits for another writer; it may raise to give up.
        pause: waits while a writer elsewhere has the blob; called with seconds, and with the
            bytes that the other writer has.
        keeps_partial: a write that fails stays, for a later one to go on with.

    Returns:
        Whether the blob was not there before.

    Raises:
        Unavailable: another writer has stood still for a minute.
        DigestMismatch, SizeMismatch: ``fill`` has written something else.
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
            # An earlier writer left wrong bytes: begin again without them, once.
            may_restart = False
        return False


def _open(
    store: ContentStore,
    descriptor: Descriptor,
    check: Callable[[], object],
    pause: Callable[[float, int], object],
) -> Writer | None:
    """Begin the write of a blob, after other writers; ``None`` if the blob is there."""
    ref = ingest_ref(descriptor)
    waits, patience, seen = backoff(_FIRST_WAIT, _LONGEST_WAIT), Deadline(_STALL), -1
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
            if offset != seen:
                patience, seen = Deadline(_STALL), offset
            elif patience.expired:
                raise
        pause(next(waits), max(seen, 0))


def _offset_of_other(store: ContentStore, ref: str) -> int:
    """How far the writer that has ``ref`` has come; -1 if it has just ended."""
    return next((status.offset for status in store.statuses() if status.ref == ref), -1)


def _abort(store: ContentStore, descriptor: Descriptor) -> None:
    """Leave no incomplete write, and never hide the error that led here."""
    with suppress(ContainerdError):
        store.abort(ingest_ref(descriptor))


def write_document(store: ContentStore, media_type: str, body: bytes) -> tuple[Descriptor, bool]:
    """Write a manifest, index or config that was made here, without labels.

    Returns its descriptor, and whether it was not there before.
    """
    descriptor = Descriptor(media_type, digests.of(body), len(body))
    return descriptor, write_blob(
        store, descriptor, lambda writer: writer.write(body[writer.offset :])
    )


def indented_json(value: object) -> bytes:
    """JSON as Go's ``json.MarshalIndent`` writes it with three spaces, as containerd does."""
    text = json.dumps(value, ensure_ascii=False, indent=3)
    return text.translate(_ESCAPES).encode()
