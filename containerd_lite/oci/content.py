"""Records of blobs and ingests in a content store."""

from __future__ import annotations

from datetime import datetime

from ..records import field, record
from ..unread import Unread


@record(frozen=True)
class ContentInfo(Unread):
    """A blob in a content store.

    Attributes:
        digest: The digest of the blob.
        size: The size of the blob in bytes.
        created_at: The time at which the blob was committed.
        updated_at: The time at which the labels last changed.
        labels: The labels of the blob.
    """

    digest: str
    size: int
    created_at: datetime
    updated_at: datetime
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class IngestStatus:
    """The state of an ingest: a blob that is not committed yet.

    Attributes:
        ref: The name of the ingest.
        offset: The number of bytes written so far.
        total: The size of the whole blob in bytes; 0 if it is unknown.
        expected: The digest of the whole blob; ``""`` if it is unknown.
        started_at: The time at which the ingest started.
        updated_at: The time of the last write.
    """

    ref: str
    offset: int
    total: int
    expected: str
    started_at: datetime
    updated_at: datetime
