"""An image's record: its name, and what that stands for."""

from __future__ import annotations

from datetime import datetime

from ..records import field, record
from ..unread import Unread, absent
from .descriptor import Descriptor


@record(frozen=True)
class ImageRecord(Unread):
    """What containerd stores of an image: a name for a descriptor, and labels."""

    name: str
    target: Descriptor
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    created_at: datetime | None = field(default_factory=absent)
    updated_at: datetime | None = field(default_factory=absent)
