"""The logs, the resource usage and the processes of containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .logs import log_path as log_path
    from .logs import read_log as read_log
    from .stats import Stats as Stats
    from .top import list_processes as list_processes
    from .traffic import read_traffic as read_traffic

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "logs": ["log_path", "read_log"],
        "stats": ["Stats"],
        "top": ["list_processes"],
        "traffic": ["read_traffic"],
    },
)
