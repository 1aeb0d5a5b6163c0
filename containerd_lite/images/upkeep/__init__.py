"""Finds missing or broken content of images, and fetches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .check import check_image as check_image
    from .missing import fetch_missing as fetch_missing
    from .repair import repair_images as repair_images
    from .replacement import DaemonReplacer as DaemonReplacer
    from .upkeep_request import FetchRequest as FetchRequest
    from .verify import verify_images as verify_images

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "check": ["check_image"],
        "missing": ["fetch_missing"],
        "repair": ["repair_images"],
        "replacement": ["DaemonReplacer"],
        "upkeep_request": ["FetchRequest"],
        "verify": ["verify_images"],
    },
)
