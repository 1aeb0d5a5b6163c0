"""The logs of detached containers, and checks of other paths that the daemon gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .daemon_paths import check_log_file as check_log_file
    from .daemon_paths import checked_mounts as checked_mounts
    from .kept_log import KeptLog as KeptLog
    from .kept_log import is_log_of as is_log_of
    from .kept_log import last_uri as last_uri
    from .kept_log import new_log as new_log
    from .kept_log import remove_log as remove_log
    from .log_reader import LogLine as LogLine
    from .log_reader import LogQuery as LogQuery
    from .log_reader import read_kept_log as read_kept_log
    from .log_reader import read_plain_log as read_plain_log
    from .log_reader import since_of as since_of

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "daemon_paths": ["check_log_file", "checked_mounts"],
        "kept_log": ["KeptLog", "is_log_of", "last_uri", "new_log", "remove_log"],
        "log_reader": ["LogLine", "LogQuery", "read_kept_log", "read_plain_log", "since_of"],
    },
)
