"""containerd.services.content.v1: blobs by digest, and writes under way by ref."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import ProtocolError
from ..oci.content import ContentInfo, IngestStatus
from ..schema.pool import DynamicMessage, encode
from ..schema.values import bytes_field, datetime_of, mask
from ._base import MessageStream, Service

#: ReadContentResponse.data.
_READ_DATA = 2
_STAT, _WRITE, _COMMIT = 0, 1, 2
#: WriteContentRequest.data: field 6, length-delimited.
_DATA_TAG = b"\x32"


class ContentService(Service):
    """The content store of a namespace."""

    _name = "containerd.services.content.v1.Content"

    def info(self, digest: str) -> ContentInfo:
        """Raises ``NotFound``."""
        return _info(self._call("Info", {"digest": digest}).info)

    def update(self, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Set these labels and leave the others; an empty value removes one."""
        fields = {
            "info": {"digest": digest, "labels": dict(labels)},
            "update_mask": mask(f"labels.{key}" for key in labels),
        }
        return _info(self._call("Update", fields).info)

    def delete(self, digest: str) -> None:
        """Raises ``NotFound``."""
        self._call("Delete", {"digest": digest})

    def status(self, ref: str) -> IngestStatus:
        """Raises ``NotFound``."""
        return _status(self._call("Status", {"ref": ref}).status)

    def list_statuses(self, *filters: str) -> list[IngestStatus]:
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
        with self._stream("List", {"filters": filters}) as replies:
            for reply in replies:
                yield from map(_info, reply.info)


class ContentRead:
    """One ``Read`` stream: an iterator of chunks of up to 1 MiB, and a context manager."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream

    def receive(self) -> memoryview | None:
        """The next chunk, ``None`` at the end."""
        data = self._stream.receive_bytes()
        return None if data is None else bytes_field(data, _READ_DATA)

    def __iter__(self) -> Iterator[memoryview]:
        while (chunk := self.receive()) is not None:
            yield chunk

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> ContentRead:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class ContentWrite:
    """One ``Write`` stream: ``stat``, then chunks, then ``commit``; it holds the ref's lock.

    The daemon answers every chunk.  The answers are read as they come, not waited for: what went
    wrong shows at the next call.
    """

    def __init__(self, stream: MessageStream, ref: str) -> None:
        self._stream = stream
        self._ref = ref

    def stat(self, total: int, expected: str) -> int:
        """Take the lock; returns how many bytes are there.

        Raises ``AlreadyExists`` if the digest ``expected`` is there, ``Unavailable`` while
        somebody else has the lock.
        """
        fields = {"action": _STAT, "ref": self._ref, "total": total, "expected": expected}
        self._stream.send(fields)
        return int(self._answer().offset)

    def chunk(self, offset: int, data: memoryview) -> None:
        """Write at ``offset``, which must be what is there; up to 16 MiB less a little."""
        # The data goes out as the view that it is: serialising it would copy it twice.
        fields = {"action": _WRITE, "ref": self._ref, "offset": offset}
        head = encode(self._stream.method.request(**fields))
        self._stream.raw.send(head + _DATA_TAG + _varint(len(data)), data)
        while self._stream.poll() is not None:
            pass
        if self._stream.raw.is_done:
            self._answer()

    def commit(
        self, offset: int, total: int, expected: str, labels: Mapping[str, str] | None
    ) -> str:
        """Make the blob visible; returns its digest.

        Raises ``AlreadyExists``, ``FailedPrecondition`` where size or digest is not as told.
        """
        fields = {
            "action": _COMMIT,
            "ref": self._ref,
            "offset": offset,
            "total": total,
            "expected": expected,
            "labels": dict(labels or {}),
        }
        self._stream.send(fields, last=True)
        while (answer := self._answer()).action != _COMMIT:
            pass
        return str(answer.digest)

    def _answer(self) -> DynamicMessage:
        answer = self._stream.receive()
        if answer is None:
            raise ProtocolError(f"the daemon ended the write of {self._ref} without a word")
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


def _info(message: DynamicMessage) -> ContentInfo:
    return ContentInfo(
        message.digest,
        message.size,
        datetime_of(message.created_at),
        datetime_of(message.updated_at),
        dict(message.labels),
    )


def _status(message: DynamicMessage) -> IngestStatus:
    return IngestStatus(
        message.ref,
        message.offset,
        message.total,
        message.expected,
        datetime_of(message.started_at),
        datetime_of(message.updated_at),
    )
