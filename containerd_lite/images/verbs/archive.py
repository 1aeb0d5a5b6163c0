"""Import and export."""

from __future__ import annotations

from .base import Verbs


class ArchiveVerbs(Verbs):
    """Between the store and archives."""
