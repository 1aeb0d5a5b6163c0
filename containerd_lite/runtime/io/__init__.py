"""A process's streams: where its input comes from and its output goes.

What lives here: one kind of streams a file, all used in the same way (``base``).  ``streams`` and
``terminal`` are served by this process, with the FIFOs of ``fifos`` and the thread of ``pump``;
those of ``elsewhere`` are served by others.  What may not: making processes.
"""

from __future__ import annotations

from .base import ProcessStreams, StreamedProcess, closing_on_failure
from .elsewhere import BinaryLogger, Fifos, LogFile, NullIO
from .fifos import FIFO_FOLDER, discard_fifos
from .sinks import Capture, Sink, Target, sink_of
from .streams import DEVNULL, INHERIT, PIPE, STDOUT, Source, Streams, attach
from .terminal import Terminal, attach_terminal

__all__ = [
    "DEVNULL",
    "FIFO_FOLDER",
    "INHERIT",
    "PIPE",
    "STDOUT",
    "BinaryLogger",
    "Capture",
    "Fifos",
    "LogFile",
    "NullIO",
    "ProcessStreams",
    "Sink",
    "Source",
    "StreamedProcess",
    "Streams",
    "Target",
    "Terminal",
    "attach",
    "attach_terminal",
    "closing_on_failure",
    "discard_fifos",
    "sink_of",
]
