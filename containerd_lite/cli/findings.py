"""The results of the checks of ``containerd-lite doctor``."""

from __future__ import annotations

from typing import Literal

from ..records import record

State = Literal["ok", "warning", "missing"]


@record(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    state: State
    found: str
    remedy: str = ""
