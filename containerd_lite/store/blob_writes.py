"""Functions that write blobs, even while other clients write the same blobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from ..arguments import check_types, view_of
from ..deadline import Deadline
from ..errors import (
    AlreadyExists,
    ContainerdError,
    DigestMismatch,
    SizeMismatch,
    is_away,
)
from ..interrupt import shielded
from ..oci import digest as digests
from ..oci.descriptor import Descriptor
from .protocol import ContentStore, Writer, ingest_ref, when_unlocked
from .write_locks import write_lock

#: The wait for another writer ends if this writer makes no progress for this many seconds.
_STALL_TIMEOUT = 60.0
#: The characters that Go escapes in JSON, so that HTML can contain the JSON.
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
    """Write a blob unless the store has the blob already.

    On this machine, only one caller at a time writes a given blob. This function asks the store to
    open a write even if the store has the blob, because a daemon then adds the blob to the lease.

    Args:
        store: The store to write to.
        descriptor: The descriptor of the blob. The store verifies the size and the digest.
        fill: A function that writes the bytes of the blob from ``writer.offset`` to the end. An
            earlier writer may have written the bytes before this offset.
        labels: The labels that the blob gets if this call writes the blob. Default: none.
        check: A function that ``write_blob`` calls repeatedly during the wait for another writer.
            An error that ``check`` raises ends the wait.
        pause: A function that sleeps between two attempts to open a write that another writer has
            locked. Its arguments are the seconds to sleep, and the number of bytes that the other
            writer has written.
        keeps_partial: Whether the store keeps the bytes of a failed write, so that a later write
            can continue.

    Returns:
        Whether this call wrote the blob.

    Raises:
        Unavailable: Another writer has made no progress for 60 seconds.
        SizeMismatch: The content that ``fill`` wrote does not have the descriptor's size.
        DigestMismatch: The content that ``fill`` wrote does not have the descriptor's digest.
    """
    with write_lock((store.identity, descriptor.digest), check):
        may_restart = True
        while (writer := _open(store, descriptor, check, pause)) is not None:
            had_bytes = writer.offset > 0
            try:
                with writer:
                    fill(writer)
                    writer.commit(labels)
                return True
            except AlreadyExists:
                return False
            except (DigestMismatch, SizeMismatch):
                _abort(store, descriptor)
                if not (had_bytes and may_restart):
                    raise
            except BaseException as error:
                if not (keeps_partial or is_away(error)):
                    _abort(store, descriptor)
                raise
            # An earlier writer may have written wrong bytes. Now that these bytes are deleted,
            # start again, but only once.
            may_restart = False
        return False


def _open(
    store: ContentStore,
    descriptor: Descriptor,
    check: Callable[[], object],
    pause: Callable[[float, int], object],
) -> Writer | None:
    """Open the write of a blob. Wait while another writer has the lock of the write's ref.

    Return ``None`` if the store has the blob.
    """
    ref, stall_deadline, last_offset = ingest_ref(descriptor), Deadline(_STALL_TIMEOUT), -1

    def open_writer() -> Writer:
        check()
        return store.writer(ref, size=descriptor.size, expected=descriptor.digest)

    def has_stalled() -> bool:
        """Return whether the other writer has made no progress until the deadline."""
        nonlocal stall_deadline, last_offset
        offset = _offset_of(store, ref)
        if offset != last_offset:
            stall_deadline, last_offset = Deadline(_STALL_TIMEOUT), offset
            return False
        return stall_deadline.expired

    try:
        return when_unlocked(
            open_writer, has_stalled, lambda seconds: pause(seconds, max(last_offset, 0))
        )
    except AlreadyExists:
        return None


def _offset_of(store: ContentStore, ref: str) -> int:
    """Return the number of bytes that the write ``ref`` has; -1 if the write has ended."""
    return next((status.offset for status in store.statuses() if status.ref == ref), -1)


def _abort(store: ContentStore, descriptor: Descriptor) -> None:
    """Delete the incomplete write after an error.

    Errors of this deletion are ignored, because they would hide the original error.
    """
    with shielded(), suppress(ContainerdError):
        store.abort(ingest_ref(descriptor))


def put_blob(
    store: ContentStore, data: bytes, media_type: str, labels: Mapping[str, str] | None
) -> Descriptor:
    """Write a blob, unless the store has the blob already; see ``ContentStore.put``."""
    check_types({"labels": labels})
    view_of("data", data)
    descriptor, is_new = write_document(store, media_type, data, labels=labels)
    if labels and not is_new:
        store.update(descriptor.digest, labels)
    return descriptor


def write_document(
    store: ContentStore,
    media_type: str,
    body: bytes,
    *,
    labels: Mapping[str, str] | None = None,
) -> tuple[Descriptor, bool]:
    """Write a manifest, index or config that this program has made.

    A new blob gets the labels. Default: none.

    Returns:
        The descriptor of the document, and whether this call wrote the document. The second value
        is false if the store had the document already.
    """
    descriptor = Descriptor(media_type, digests.of(body), len(body))
    return descriptor, write_blob(
        store, descriptor, lambda writer: writer.write(body[writer.offset :]), labels=labels
    )


def indented_json(value: object) -> bytes:
    """Return JSON as containerd writes it: indented by three spaces, and with Go's escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=3)
    return text.translate(_ESCAPES).encode()
