"""Unpacks the layers of images into snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .unpack import Unpacker as Unpacker

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "unpack": ["Unpacker"],
    },
)
