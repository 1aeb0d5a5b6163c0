"""Check, fetch what is missing, verify and repair."""

from __future__ import annotations

from .base import Verbs


class UpkeepVerbs(Verbs):
    """Whether what should be here is here, and is what it should be."""
