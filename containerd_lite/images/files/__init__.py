"""Reads files in images and snapshots without mounting the images or snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .changes import write_changes as write_changes
    from .image_files import read_layer_files as read_layer_files
    from .image_files import read_snapshot_files as read_snapshot_files

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "changes": ["write_changes"],
        "image_files": ["read_layer_files", "read_snapshot_files"],
    },
)
