"""A containerd client in pure Python.

Importing it does no work: no thread, no log handler, no global registration, and what a program
does not use is not loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ContainerdError
from .lazy import lazy_names
from .version import VERSION

if TYPE_CHECKING:
    from .client import Client as Client
    from .layout import Layout as Layout
    from .preload import load as load
    from .progress import ProgressEvent as ProgressEvent

__version__ = VERSION
__all__ = ["Client", "ContainerdError", "Layout", "ProgressEvent", "__version__", "load"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "client": ["Client"],
        "layout": ["Layout"],
        "preload": ["load"],
        "progress": ["ProgressEvent"],
    },
)
