"""The content service, containerd.services.content.v1, which stores blobs and ingests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Literal

from ..deadline import Deadline
from ..errors import ProtocolError
from ..oci.content import ContentInfo, IngestStatus
from ..printable import printable
from ..records import record
from ..schema.pool import DynamicMessage, encode
from ..schema.values import bytes_field, datetime_of, dict_of, mask
from ..unread import Readers, list_read_late, read_late
from ._base import MessageStream, Service

#: The number of the field ReadContentResponse.data.
_READ_DATA = 2
#: The values of the enum WriteAction.
_STAT, _WRITE, _COMMIT = 0, 1, 2
#: Seconds to wait until the daemon accepts a chunk.
_CHUNK_TIMEOUT = 60.0
WriteAction = Literal["stat", "write", "commit", "unknown"]
_ACTIONS: tuple[WriteAction, ...] = ("stat", "write", "commit")
#: The tag of ReadContentResponse.offset: field 1, a varint. An offset of 0 is not encoded.
_OFFSET_TAG = 0x08
#: The tag of WriteContentRequest.data: field 6, length-delimited.
_DATA_TAG = b"\x32"


class ContentService(Service):
    """The content store of a namespace."""

    _name = "containerd.services.content.v1.Content"

    def info(self, digest: str) -> ContentInfo:
        """Return the size, times and labels of a blob.

        Raises:
            NotFound: The blob does not exist.
        """
        return read_late(ContentInfo, self._call("Info", {"digest": digest}).info, _INFO)

    def update(
        self, digest: str, labels: Mapping[str, str], *, fields: Iterable[str] | None = None
    ) -> ContentInfo:
        """Set labels of a blob and return its new state.

        Args:
            digest: The digest of the blob.
            labels: The labels to set. An empty value removes a label.
            fields: The fields to set: ``labels`` or ``labels.<key>``. Default: ``labels.<key>``
                for each key of ``labels``, so that all other labels stay. If ``fields`` is empty,
                ``labels`` replaces all labels.

        Raises:
            NotFound: The blob does not exist.
            InvalidArgument: A field cannot be set, or a label is invalid.
        """
        paths = [f"labels.{key}" for key in labels] if fields is None else list(fields)
        if not paths and fields is None:
            return self.info(digest)  # without a mask, the update would replace all labels
        request: dict[str, object] = {"info": {"digest": digest, "labels": dict(labels)}}
        if paths:
            request["update_mask"] = mask(paths)
        return read_late(ContentInfo, self._call("Update", request).info, _INFO)

    def delete(self, digest: str) -> None:
        """Delete a blob.

        Raises:
            NotFound: The blob does not exist.
        """
        self._call("Delete", {"digest": digest})

    def status(self, ref: str) -> IngestStatus:
        """Return the state of an ingest.

        Raises:
            NotFound: The ingest does not exist.
        """
        return _ingest_status(self._call("Status", {"ref": ref}).status)

    def list_statuses(self, *filters: str) -> list[IngestStatus]:
        """Return the states of ingests.

        Args:
            filters: Only ingests that match one of these filters on ``ref``. Default: all ingests.
        """
        found = self._call("ListStatuses", {"filters": filters}).statuses
        return [_ingest_status(status) for status in found]

    def abort(self, ref: str) -> None:
        """Delete an ingest and the data that has been written to it.

        Raises:
            NotFound: The ingest does not exist.
        """
        self._call("Abort", {"ref": ref})

    def read(self, digest: str, offset: int = 0, size: int = 0) -> ContentRead:
        """Read a blob, or a part of it, as a stream of chunks.

        Args:
            digest: The digest of the blob.
            offset: The position of the first byte to read, in bytes.
            size: How many bytes to read. 0 means all bytes up to the end of the blob.

        Raises:
            NotFound: The blob does not exist. This error occurs when the first chunk is read.
            OutOfRange: ``offset`` is past the end of the blob. This error occurs when the first
                chunk is read.
        """
        return ContentRead(self._stream("Read", {"digest": digest, "offset": offset, "size": size}))

    def write(self, ref: str) -> ContentWrite:
        """Open a write stream for the ingest ``ref``. ``ContentWrite.stat`` locks the ref."""
        return ContentWrite(self._stream("Write"), ref)

    def list(self, *filters: str) -> Iterator[ContentInfo]:
        """Yield the blobs of the namespace.

        Daemons before 2.0 do not set ``updated_at`` in this response: its value is a time in the
        year 1970 or in the year 1.

        Args:
            filters: Only blobs that match one of these filters on ``digest``, ``size`` or
                ``labels``. Default: all blobs.
        """
        with self._stream("List", {"filters": filters}) as responses:
            for response in responses:
                yield from list_read_late(ContentInfo, response.info, _INFO)


class ContentRead:
    """A ``Read`` stream: an iterator over chunks of at most 1 MiB, and a context manager.

    Attributes:
        offset: The position of the last received chunk, as the daemon reported it. The position
            is relative to the first requested byte, not to the beginning of the blob.
    """

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        self.offset = 0

    def receive(self) -> memoryview | None:
        """Return the next chunk, or ``None`` after the last chunk.

        Raises:
            NotFound: The blob does not exist.
            OutOfRange: The requested offset is past the end of the blob.
            Unavailable: The daemon has stopped responding.
        """
        data = self._stream.receive_bytes_patiently()
        if data is None:
            return None
        chunk = bytes_field(data, _READ_DATA)
        self.offset = _offset_of(data)
        return chunk

    def __iter__(self) -> Iterator[memoryview]:
        while (chunk := self.receive()) is not None:
            yield chunk

    def close(self) -> None:
        """Cancel the stream if it has not ended, and release its connection."""
        self._stream.close()

    def __enter__(self) -> ContentRead:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ContentRead {self._stream!r}>"


@record(frozen=True)
class WriteStatus:
    """The daemon's response to a ``stat``, a ``write`` or a ``commit``.

    Attributes:
        action: The action that the daemon responds to.
        offset: How many bytes of the ingest the daemon has.
        total: The expected size in bytes. Only responses to ``stat`` contain this size.
        digest: The digest of the bytes that the daemon has. Responses to ``commit`` always contain
            this digest. Other responses may lack this digest.
        started_at: When the ingest started. Only responses to ``stat`` contain this time.
        updated_at: When the ingest was last written to. Only responses to ``stat`` contain this
            time.
    """

    action: WriteAction
    offset: int
    total: int = 0
    digest: str = ""
    started_at: datetime | None = None
    updated_at: datetime | None = None


class ContentWrite:
    """A ``Write`` stream: call ``stat``, then ``chunk`` repeatedly, then ``commit``.

    The ref stays locked until the stream ends. The daemon responds to every chunk, but ``chunk``
    does not wait for the response. If a chunk fails, a later call raises the error.
    """

    def __init__(self, stream: MessageStream, ref: str) -> None:
        self._stream = stream
        self._ref = ref
        self._last_response: DynamicMessage = None

    @property
    def status(self) -> WriteStatus | None:
        """The last response that has been read, or ``None`` if no response has been read."""
        return None if self._last_response is None else _write_status(self._last_response)

    @property
    def offset(self) -> int:
        """How many bytes the daemon has, according to the last response that has been read."""
        return 0 if self._last_response is None else int(self._last_response.offset)

    def stat(self, total: int, expected: str) -> int:
        """Lock the ref, and return how many bytes of the ingest the daemon already has.

        A later call waits until the daemon has written all chunks. Afterwards, ``status`` contains
        the digest of these bytes.

        Args:
            total: The size of the blob in bytes, or 0 if it is unknown.
            expected: The digest of the blob, or ``""`` if it is unknown.

        Raises:
            AlreadyExists: A blob with the digest ``expected`` exists.
            Unavailable: Another writer holds the lock.
        """
        fields = {"action": _STAT, "ref": self._ref, "total": total, "expected": expected}
        self._stream.send(fields)
        while (response := self._receive_response()).action != _STAT:
            pass
        return int(response.offset)

    def chunk(self, offset: int, data: memoryview, *, total: int = 0, expected: str = "") -> None:
        """Write a chunk, without waiting for the daemon's response.

        Args:
            offset: The position of the chunk in bytes. ``offset`` must be the number of bytes that
                the daemon has, or 0. If ``offset`` is 0, the daemon first deletes the bytes that it
                has.
            data: The bytes of the chunk. The chunk must be slightly smaller than 16 MiB.
            total: The size of the blob in bytes. Default: the size from earlier calls.
            expected: The digest of the blob. Default: the digest from earlier calls.

        Raises:
            ContainerdError: The daemon could not write this chunk or an earlier chunk.
        """
        sizes = {"total": total, "expected": expected} if total or expected else {}
        message = self._chunk_message(offset, data, **sizes)
        self._stream.raw.send(*message, timeout=_CHUNK_TIMEOUT)
        while (response := self._stream.poll()) is not None:
            self._last_response = response
        if self._stream.raw.is_done:
            self._receive_response()

    def _chunk_message(
        self, offset: int, data: bytes | memoryview, **fields: object
    ) -> tuple[bytes, bytes | memoryview]:
        """Return the two parts of an encoded request that writes ``data``."""
        # Encoding the whole message would copy the data twice. So this method encodes only the
        # other fields.
        request = self._stream.method.request
        head = encode(request(action=_WRITE, ref=self._ref, offset=offset, **fields))
        return head + _DATA_TAG + _varint(len(data)), data

    def commit(
        self,
        offset: int,
        total: int,
        expected: str,
        labels: Mapping[str, str] | None,
        *,
        data: bytes = b"",
    ) -> str:
        """Turn the ingest into a blob, and return the digest of the blob.

        Args:
            offset: How many bytes have been written before this call.
            total: The size of the blob in bytes. 0 means the size from earlier calls.
            expected: The digest of the blob. ``""`` means the digest from earlier calls.
            labels: The labels of the blob.
            data: The last bytes of the blob. The daemon writes these bytes at ``offset`` before
                the commit.

        Raises:
            AlreadyExists: The blob exists.
            FailedPrecondition: The size or the digest does not match.
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
        while (response := self._receive_response()).action != _COMMIT:
            pass
        return str(response.digest)

    def await_answer(self) -> None:
        """Wait for the daemon's next response, which updates ``offset`` and ``status``."""
        self._receive_response()

    def finish(self, offset: int, data: bytes, timeout: float) -> None:
        """End the stream without a commit, and wait until the daemon has written all bytes.

        The daemon keeps the bytes, and has released the lock of the ref when this method returns.

        Args:
            offset: How many bytes have been written before this call.
            data: The last bytes to write. They may be empty.
            timeout: Seconds that this method may take.

        Raises:
            DeadlineExceeded: The daemon has not ended the stream in time.
            ContainerdError: The daemon could not write a chunk.
        """
        raw, deadline = self._stream.raw, Deadline(timeout)
        if raw.is_inherited:
            return
        raw.send(*(self._chunk_message(offset, data) if data else ()), last=True, timeout=timeout)
        while (response := self._stream.receive(deadline.remaining())) is not None:
            self._last_response = response

    def _receive_response(self) -> DynamicMessage:
        response = self._stream.receive_patiently()
        if response is None:
            raise ProtocolError(f"the daemon ended the write of {self._ref} without a response")
        self._last_response = response
        return response

    def close(self) -> None:
        """Cancel the stream if it has not ended, and release its connection."""
        self._stream.close()

    def __repr__(self) -> str:
        return printable(f"<ContentWrite {self._ref} {self._stream!r}>")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _offset_of(message: bytes | bytearray) -> int:
    """Return the field ``offset``, the first field of an encoded ``ReadContentResponse``."""
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


def _ingest_status(message: DynamicMessage) -> IngestStatus:
    return IngestStatus(
        message.ref,
        message.offset,
        message.total,
        expected=message.expected,
        started_at=datetime_of(message.started_at),
        updated_at=datetime_of(message.updated_at),
    )
