"""The command line: ``containerd-lite``."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from .. import cli
from ..lazy import lazy_names

if TYPE_CHECKING:
    from .exit_codes import exit_code as exit_code
    from .program import main as main

#: So many objects more than have gone make the collector look for garbage.
_RARELY = 100_000

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "exit_codes": ["exit_code"],
        "program": ["main"],
    },
)


def console() -> int:
    """``main``, in a process that does nothing else.

    The garbage collector then need not look through all that is imported, while it is imported and
    as the process ends: of ``containerd-lite version`` that takes a sixth of the time.
    """
    gc.set_threshold(_RARELY)
    try:
        return cli.main()
    finally:
        gc.freeze()
