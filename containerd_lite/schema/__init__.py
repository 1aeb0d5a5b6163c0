"""Makes message classes from descriptor sets at run time, instead of using generated code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .own import load as load

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "own": ["load"],
    },
)
