"""A containerd client in pure Python.

What lives here: the public names.  Importing does no work: no thread, no log handler, no
global registration, and what a program does not use it does not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ContainerdError
from .version import VERSION

if TYPE_CHECKING:
    from .client import Client as Client
    from .layout import Layout as Layout
    from .progress import ProgressEvent as ProgressEvent

__version__ = VERSION
__all__ = ["Client", "ContainerdError", "Layout", "ProgressEvent", "__version__"]

_LAZY = {"Client": "client", "Layout": "layout", "ProgressEvent": "progress"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value
