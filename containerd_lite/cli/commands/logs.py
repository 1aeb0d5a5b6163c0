"""``containerd-lite logs``: the log of a container."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone

from ...lazy import lazy_pattern
from ..output import client_of

#: Days, hours, minutes and seconds ago.
_AGO = lazy_pattern(r"(?=.)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s?)?")
_UNITS = (86400, 3600, 60, 1)
#: The longest time ago, in seconds: 31 years.
_LONGEST = 1e9


def add_logs(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``logs``."""
    parser.add_argument("-f", "--follow", action="store_true", help="wait for more, until the end")
    parser.add_argument(
        "-t", "--timestamps", action="store_true", help="show the time of each line, in UTC"
    )
    parser.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="show only what was written since then: 10m, 1h30m, 90 (seconds ago), or a time such "
        "as 2026-12-01T08:00Z",
    )
    parser.add_argument(
        "--tail", type=_lines, metavar="LINES", help="show only so many lines at the end"
    )
    parser.add_argument("container", metavar="ID", help="id of a container")


def do_logs(options: argparse.Namespace) -> int:
    """Write the log of a container, both of its streams, to stdout."""
    with client_of(options) as client:
        pieces = client.load_container(options.container).logs(
            timestamps=options.timestamps,
            since=options.since,
            tail=options.tail,
            follow=options.follow,
        )
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    return 0


def moment(text: str) -> datetime | float:
    """Parse a time, or how long ago it was. A time without a zone is local, for argparse.

    Returns:
        The time with a time zone, or a number of seconds.
    """
    if found := _AGO.fullmatch(text):
        ago = sum(
            float(part or 0) * unit for part, unit in zip(found.groups(), _UNITS, strict=True)
        )
        if ago <= _LONGEST:
            return ago
    try:
        # Python 3.10 does not know the zone Z.
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"invalid time {text!r:.60}: write 10m, 1h30m, or a time such as 2026-12-01T08:00Z"
        ) from None


def _lines(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"invalid number {text!r:.60}: write a number from 0")
    return int(text)
