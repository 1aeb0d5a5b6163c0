"""containerd.services.content.v1: blobs by digest, and writes under way by ref."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Literal

from ..errors import ProtocolError
from ..oci.content import ContentInfo, IngestStatus
from ..records import record
from ..schema.pool import DynamicMessage, encode
from ..schema.values import bytes_field, datetime_of, dict_of, mask
from ..unread import Readers, list_read_late, read_late
from ._base import MessageStream, Service

#: ReadContentResponse.data.
_READ_DATA = 2
_STAT, _WRITE, _COMMIT = 0, 1, 2
#: How long the daemon may take to take a chunk (seconds).
_STALL = 60.0
WriteAction = Literal["stat", "write", "commit", "unknown"]
_ACTIONS: tuple[WriteAction, ...] = ("stat", "write", "commit")
#: ReadContentResponse.offset: field 1, a varint, absent where it is 0.
_OFFSET_TAG = 0x08
#: WriteContentRequest.data: field 6, length-delimited.
_DATA_TAG = b"\x32"


class ContentService(Service):
    """The content store of a namespace."""

    _name = "containerd.services.content.v1.Content"

    def info(self, digest: str) -> ContentInfo:
        """Raises ``NotFound``."""
        return read_late(ContentInfo, self._call("Info", {"digest": digest}).info, _INFO)

    def update(
        self, digest: str, labels: Mapping[str, str], *, fields: Iterable[str] | None = None
    ) -> ContentInfo:
        """Set these labels and leave the others; an empty value removes one.

        ``fields`` names what to set (``labels``, ``labels.<key>``) where it is not the labels
        given; an empty one replaces the labels whole.  Raises ``NotFound``, ``InvalidArgument``.
        """
        paths = [f"labels.{key}" for key in labels] if fields is None else list(fields)
        if not paths and fields is None:
            return self.info(digest)  # without a mask it would replace them
        request: dict[str, object] = {"info": {"digest": digest, "labels": dict(labels)}}
        if paths:
            request["update_mask"] = mask(paths)
        return read_late(ContentInfo, self._call("Update", request).info, _INFO)

    def delete(self, digest: str) -> None:
        """Raises ``NotFound``."""
        self._call("Delete", {"digest": digest})

    def status(self, ref: str) -> IngestStatus:
        """Raises ``NotFound``."""
        return _status(self._call("Status", {"ref": ref}).status)

    def list_statuses(self, *filters: str) -> list[IngestStatus]:
        """The writes under way that match one of ``filters`` (``ref``), all without any."""
        found = self._call("ListStatuses", {"filters": filters}).statuses
        return [_status(status) for status in found]

    def abort(self, ref: str) -> None:
        """Throw away a write under way.  Raises ``NotFound``."""
        self._call("Abort", {"ref": ref})

    def read(self, digest: str, offset: int = 0, size: int = 0) -> ContentRead:
        """Stream a blob from ``offset``; ``size`` 0 is all that is left.

        Raises ``NotFound``, ``OutOfRange``, with the first chunk.
        """
        return ContentRead(self._stream("Read", {"digest": digest, "offset": offset, "size": size}))

    def write(self, ref: str) -> ContentWrite:
        """Begin the write protocol for ``ref``; nothing is locked before ``stat``."""
        return ContentWrite(self._stream("Write"), ref)

    def list(self, *filters: str) -> Iterator[ContentInfo]:
        """The blobs that match one of ``filters``, all without any.

        Fields to filter by: ``digest``, ``size``, ``labels``.  Daemons before 2.0 do not tell
        ``updated_at`` here: it is in 1970, or in the year 1.
        """
        with self._stream("List", {"filters": filters}) as replies:
            for reply in replies:
                yield from list_read_late(ContentInfo, reply.info, _INFO)


class ContentRead:
    """One ``Read`` stream: an iterator of chunks of up to 1 MiB, and a context manager.

    ``offset`` is where the last chunk begins, as the daemon tells it: counted from the first byte
    that was asked for, not from the blob's.
    """

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        self.offset = 0

    def receive(self) -> memoryview | None:
        """The next chunk, ``None`` at the end."""
        data = self._stream.patient_bytes()
        if data is None:
            return None
        chunk = bytes_field(data, _READ_DATA)
        self.offset = _offset_of(data)
        return chunk

    def __iter__(self) -> Iterator[memoryview]:
        while (chunk := self.receive()) is not None:
            yield chunk

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> ContentRead:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@record(frozen=True)
class WriteStatus:
    """What the daemon answers a ``stat``, ``write`` or ``commit``; ``offset`` is what is there.

    Sizes in bytes.  Only a ``stat`` is told the times and ``total``; ``digest`` is that of what
    is there, and always told of a ``commit`` alone.
    """

    action: WriteAction
    offset: int
    total: int = 0
    digest: str = ""
    started_at: datetime | None = None
    updated_at: datetime | None = None


class ContentWrite:
    """One ``Write`` stream: ``stat``, then chunks, then ``commit``; it holds the ref's lock.

    The daemon answers every chunk.  The answers are read as they come, not waited for: what went
    wrong shows at the next call.
    """

    def __init__(self, stream: MessageStream, ref: str) -> None:
        self._stream = stream
        self._ref = ref
        self._last: DynamicMessage = None

    @property
    def status(self) -> WriteStatus | None:
        """The last answer that was read, ``None`` before the first."""
        return None if self._last is None else _write_status(self._last)

    @property
    def offset(self) -> int:
        """Bytes that the daemon has said are there."""
        return 0 if self._last is None else int(self._last.offset)

    def stat(self, total: int, expected: str) -> int:
        """Take the lock; returns how many bytes are there.

        Raises ``AlreadyExists`` if the digest ``expected`` is there, ``Unavailable`` while
        somebody else has the lock.
        """
        fields = {"action": _STAT, "ref": self._ref, "total": total, "expected": expected}
        self._stream.send(fields)
        return int(self._answer().offset)

    def chunk(self, offset: int, data: memoryview, *, total: int = 0, expected: str = "") -> None:
        """Write at ``offset``, which must be what is there, or 0, which drops what was there.

        ``data`` is up to 16 MiB less a little.  ``total`` and ``expected``, where they are given,
        replace what was said before.
        """
        # The data goes out as the view that it is: serialising it would copy it twice.
        fields: dict[str, object] = {"action": _WRITE, "ref": self._ref, "offset": offset}
        if total or expected:
            fields.update(total=total, expected=expected)
        head = encode(self._stream.method.request(**fields))
        self._stream.raw.send(head + _DATA_TAG + _varint(len(data)), data, timeout=_STALL)
        while (answer := self._stream.poll()) is not None:
            self._last = answer
        if self._stream.raw.is_done:
            self._answer()

    def commit(
        self,
        offset: int,
        total: int,
        expected: str,
        labels: Mapping[str, str] | None,
        *,
        data: bytes = b"",
    ) -> str:
        """Make the blob visible, ``data`` written at ``offset`` first; returns its digest.

        Raises ``AlreadyExists``, ``FailedPrecondition`` where size or digest is not as told.
        """
        fields = {
            "action": _COMMIT,
            "ref": self._ref,
            "offset": offset,
            "total": total,
            "expected": expected,
            "data": data,
            "labels": dict(labels or {}),
        }
        self._stream.send(fields, last=True)
        while (answer := self._answer()).action != _COMMIT:
            pass
        return str(answer.digest)

    def await_answer(self) -> None:
        """Wait for the daemon's next answer, which tells how much of it is there."""
        self._answer()

    def _answer(self) -> DynamicMessage:
        answer = self._stream.receive_patiently()
        if answer is None:
            raise ProtocolError(f"the daemon ended the write of {self._ref} without a word")
        self._last = answer
        return answer

    def close(self) -> None:
        self._stream.close()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _offset_of(message: bytes | bytearray) -> int:
    """``ReadContentResponse.offset`` of a message that was read already; it stands in front."""
    value = shift = 0
    if message and message[0] == _OFFSET_TAG:
        for byte in message[1:11]:
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
    return value


def _write_status(message: DynamicMessage) -> WriteStatus:
    action = message.action
    times = (
        datetime_of(getattr(message, name)) if message.HasField(name) else None
        for name in ("started_at", "updated_at")
    )
    return WriteStatus(
        _ACTIONS[action] if 0 <= action < len(_ACTIONS) else "unknown",
        message.offset,
        message.total,
        message.digest,
        *times,
    )


_INFO: Readers = {
    "digest": attrgetter("digest"),
    "size": attrgetter("size"),
    "created_at": lambda message: datetime_of(message.created_at),
    "updated_at": lambda message: datetime_of(message.updated_at),
    "labels": lambda message: dict_of(message.labels),
}


def _status(message: DynamicMessage) -> IngestStatus:
    return IngestStatus(
        message.ref,
        message.offset,
        message.total,
        expected=message.expected,
        started_at=datetime_of(message.started_at),
        updated_at=datetime_of(message.updated_at),
    )
