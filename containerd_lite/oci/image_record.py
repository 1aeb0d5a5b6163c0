"""The record of an image: its name, target and labels."""

from __future__ import annotations

from datetime import datetime

from ..records import field, record
from ..unread import Unread, absent
from .descriptor import Descriptor


@record(frozen=True)
class ImageRecord(Unread):
    """The record of an image in an image store or a layout.

    Attributes:
        name: The name of the image.
        target: The descriptor of the manifest or index that the name refers to.
        labels: The labels of the record.
        created_at: The time at which the record was created; ``None`` if it is unknown.
        updated_at: The time at which the record last changed; ``None`` if it is unknown.
    """

    name: str
    target: Descriptor
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    created_at: datetime | None = field(default_factory=absent)
    updated_at: datetime | None = field(default_factory=absent)
