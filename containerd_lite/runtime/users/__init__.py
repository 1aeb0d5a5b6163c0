"""Finds the ids of users and groups in the passwd and group files of images and snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .image_users import ImageUsers as ImageUsers
    from .image_users import SnapshotUsers as SnapshotUsers

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "image_users": ["ImageUsers", "SnapshotUsers"],
    },
)
