"""Push, copy and tag."""

from __future__ import annotations

from .base import Verbs


class PushVerbs(Verbs):
    """From the store, or from elsewhere, to registries; and names."""
