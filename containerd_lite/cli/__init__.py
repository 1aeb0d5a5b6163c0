"""The command line: ``containerd-lite``."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from .. import cli
from ..lazy import lazy_names

if TYPE_CHECKING:
    from .exit_codes import exit_code as exit_code
    from .program import main as main

#: The garbage collector runs when so many more objects were made than were freed.
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

    The garbage collector need not look through everything that is imported, neither during the
    imports nor at the end: for ``containerd-lite version`` that would take a sixth of the time.
    """
    gc.set_threshold(_RARELY)
    try:
        return cli.main()
    finally:
        gc.freeze()
