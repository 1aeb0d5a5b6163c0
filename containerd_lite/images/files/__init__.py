"""Reads, compares and copies the files of images and snapshots without mounting them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .image_files import read_layer_files as read_layer_files
    from .image_files import read_snapshot_files as read_snapshot_files
    from .remapped import remapped_name as remapped_name
    from .remapped import write_remapped as write_remapped
    from .snapshot_layers import SnapshotLayers as SnapshotLayers

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "image_files": ["read_layer_files", "read_snapshot_files"],
        "remapped": ["remapped_name", "write_remapped"],
        "snapshot_layers": ["SnapshotLayers"],
    },
)
