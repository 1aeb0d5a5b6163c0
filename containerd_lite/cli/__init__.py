"""The command line: ``containerd-lite``."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from .. import cli
from ..lazy import lazy_names

if TYPE_CHECKING:
    from .exit_codes import exit_code as exit_code
    from .program import main as main

#: Number of allocations after which the garbage collector runs. Python's default is 700.
GC_THRESHOLD = 100_000

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "exit_codes": ["exit_code"],
        "program": ["main"],
    },
)


def console() -> int:
    """Run ``main`` in a process that has no other work, and end it with the exit code.

    The changed settings of the garbage collector apply to the whole process. With the usual
    settings, the garbage collector would visit all imported objects, during the imports and at the
    end of the process. These visits would take a sixth of the time of ``containerd-lite version``.
    """
    gc.set_threshold(GC_THRESHOLD)
    try:
        return cli.main()
    finally:
        gc.freeze()
