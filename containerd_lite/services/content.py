"""containerd.services.content.v1: blobs by digest, and writes under way by ref."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..oci.content import ContentInfo, IngestStatus
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, mask
from ._base import MessageStream, Service

STAT, WRITE, COMMIT = 0, 1, 2


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

    def read(self, digest: str, offset: int = 0, size: int = 0) -> MessageStream:
        """Stream ``ReadContentResponse``s (``offset``, ``data``); ``size`` 0 is all that is left.

        Raises ``NotFound``, ``OutOfRange``, with the first message.
        """
        return self._stream("Read", {"digest": digest, "offset": offset, "size": size})

    def write(self) -> MessageStream:
        """The write protocol: ``WriteContentRequest``s out, a response to each in turn."""
        return self._stream("Write")

    def list(self, *filters: str) -> Iterator[ContentInfo]:
        with self._stream("List", {"filters": filters}) as replies:
            for reply in replies:
                yield from map(_info, reply.info)


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
