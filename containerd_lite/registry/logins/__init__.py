"""The credentials that a user has stored: the files and helpers, and how they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .account import login as login
    from .account import logout as logout

__getattr__, __dir__ = lazy_names(__name__, {"account": ["login", "logout"]})
