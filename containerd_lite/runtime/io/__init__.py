"""The streams of a process: the source of the input, and the targets of the output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .base import ProcessStreams as ProcessStreams
    from .base import StreamedProcess as StreamedProcess
    from .base import closing_on_failure as closing_on_failure
    from .elsewhere import BinaryLogger as BinaryLogger
    from .elsewhere import Fifos as Fifos
    from .elsewhere import LogFile as LogFile
    from .elsewhere import NullIO as NullIO
    from .elsewhere import SameTargets as SameTargets
    from .elsewhere import check_log_uris as check_log_uris
    from .fifos import FIFO_FOLDER as FIFO_FOLDER
    from .fifos import discard_fifos as discard_fifos
    from .sinks import Capture as Capture
    from .sinks import Sink as Sink
    from .sinks import Target as Target
    from .sinks import sink_of as sink_of
    from .streams import DEVNULL as DEVNULL
    from .streams import INHERIT as INHERIT
    from .streams import PIPE as PIPE
    from .streams import STDOUT as STDOUT
    from .streams import Source as Source
    from .streams import Streams as Streams
    from .streams import attach as attach
    from .terminal import Terminal as Terminal
    from .terminal import attach_terminal as attach_terminal

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "base": ["ProcessStreams", "StreamedProcess", "closing_on_failure"],
        "elsewhere": [
            "BinaryLogger",
            "Fifos",
            "LogFile",
            "NullIO",
            "SameTargets",
            "check_log_uris",
        ],
        "fifos": ["FIFO_FOLDER", "discard_fifos"],
        "sinks": ["Capture", "Sink", "Target", "sink_of"],
        "streams": ["DEVNULL", "INHERIT", "PIPE", "STDOUT", "Source", "Streams", "attach"],
        "terminal": ["Terminal", "attach_terminal"],
    },
)
