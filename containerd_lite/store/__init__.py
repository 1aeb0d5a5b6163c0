"""Content stores, which store blobs by digest: a daemon's store and an OCI image layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .daemon import DaemonStore as DaemonStore
    from .protocol import ContentStore as ContentStore
    from .protocol import Writer as Writer

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "daemon": ["DaemonStore"],
        "protocol": ["ContentStore", "Writer"],
    },
)
