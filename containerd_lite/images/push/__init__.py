"""Pushes images from a store to registries, and copies images between registries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .copy import copy_image as copy_image
    from .push import push_image as push_image
    from .push_requests import CopyRequest as CopyRequest
    from .push_requests import PushRequest as PushRequest

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "copy": ["copy_image"],
        "push": ["push_image"],
        "push_requests": ["CopyRequest", "PushRequest"],
    },
)
