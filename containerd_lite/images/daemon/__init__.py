"""Transfers of images by the daemon, and ``DaemonBackend``, the image backend of a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .by_daemon import DaemonTransfers as DaemonTransfers
    from .by_daemon import can_transfer as can_transfer
    from .name_changes import NameChanges as NameChanges
    from .skipped import unpack_skipped as unpack_skipped

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "by_daemon": ["DaemonTransfers", "can_transfer"],
        "name_changes": ["NameChanges"],
        "skipped": ["unpack_skipped"],
    },
)
