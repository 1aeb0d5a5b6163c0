"""Pulls: fetch images from registries into a store, and unpack them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .pull import pull_image as pull_image
    from .pull_request import PullRequest as PullRequest

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "pull": ["pull_image"],
        "pull_request": ["PullRequest"],
    },
)
