"""What a content store knows of a blob, and of a write under way.

What lives here: the two records.  What may not: stores.
"""

from __future__ import annotations

from datetime import datetime

from ..records import field, record
from ..unread import Unread


@record(frozen=True)
class ContentInfo(Unread):
    """A blob in the store; ``size`` in bytes."""

    digest: str
    size: int
    created_at: datetime
    updated_at: datetime
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class IngestStatus:
    """A write under way: ``offset`` of ``total`` bytes are there (``total`` 0: not known)."""

    ref: str
    offset: int
    total: int
    expected: str
    started_at: datetime
    updated_at: datetime
