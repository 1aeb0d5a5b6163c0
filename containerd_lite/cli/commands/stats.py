"""``containerd-lite stats``: the resource usage of running containers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import NotFound
from ...records import to_dict
from ..output import Row, add_format, client_of, print_rows

if TYPE_CHECKING:
    from ...client import Client
    from ...runtime.task import Task
    from ...runtime.watch.stats import Stats

#: Seconds between the two measurements from which the CPU usage is computed.
_INTERVAL = 0.5
_COLUMNS = ("id", "cpu_%", "mem_usage_/_limit", "net_i/o", "block_i/o", "pids")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
#: The text in a table for an unknown value.
_UNKNOWN = "-"


def add_stats(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_format(parser)
    parser.add_argument(
        "ids", metavar="ID", nargs="*", help="id of a running container (default: all of them)"
    )


def do_stats(options: argparse.Namespace) -> int:
    """Measure the containers twice, and print their usage."""
    with client_of(options) as client:
        first = _measured(client, options.ids)
        time.sleep(_INTERVAL if first else 0)
        found: list[Stats] = []
        for task, before in first.items():
            with suppress(NotFound):  # it has ended meanwhile
                found.append(task.stats(before))
    if options.format == "table":
        print_rows([_row(stats) for stats in found], _COLUMNS, options.format)
    else:
        print_rows([to_dict(stats) for stats in found], _COLUMNS, options.format)
    return 0


def _measured(client: Client, ids: Sequence[str]) -> dict[Task, Stats]:
    """Return the tasks of the containers, or of all running containers, with a measurement."""
    if ids:
        tasks = [client.load_container(id).task() for id in ids]
        return {task: task.stats() for task in tasks}
    found: dict[Task, Stats] = {}
    for each in client.ps():
        with suppress(NotFound):
            task = client.load_container(each.id).task()
            found[task] = task.stats()
    return found


def _row(stats: Stats) -> Row:
    traffic = stats.network
    return {
        "id": stats.id,
        "cpu_%": _UNKNOWN if stats.cpu is None else f"{stats.cpu:.1%}",
        "mem_usage_/_limit": _pair((stats.memory, stats.memory_limit)),
        "net_i/o": _pair((traffic.rx_bytes, traffic.tx_bytes)) if traffic else _UNKNOWN,
        "block_i/o": _pair((stats.block_read, stats.block_written)),
        "pids": stats.pids,
    }


def _pair(numbers: Iterable[int | None]) -> str:
    return " / ".join(_UNKNOWN if number is None else _size(number) for number in numbers)


def _size(number: int) -> str:
    """Return a number of bytes with three digits and a unit."""
    value, unit = float(number), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.3g}{_UNITS[unit]}"
