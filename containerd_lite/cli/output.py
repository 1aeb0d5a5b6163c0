"""What the commands do alike: options, tables, JSON, and the client that options describe.

What lives here: helpers of the commands.  What may not: any one command.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import NoReturn

from ..client import Client

#: A row of a listing: column name to value; the names are the keys of the JSON, too.
Row = Mapping[str, object]
FORMATS = ("table", "json", "jsonl")


def add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="(table)")


def seconds(text: str) -> float:
    """A positive number of seconds, for argparse."""
    try:
        value = float(text)
    except ValueError:
        _refuse(text)
    return value if 0 < value < 1e9 else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


def client_of(options: argparse.Namespace) -> Client:
    """The client that the common options describe."""
    return Client(
        options.address,
        namespace=options.namespace,
        timeout=options.timeout,
        connect_timeout=options.connect_timeout,
    )


def print_rows(rows: Sequence[Row], columns: Sequence[str], format: str) -> None:
    """Print a listing; ``columns`` are those of the table, JSON has every key."""
    if format == "table":
        _print_table(rows, columns)
    else:
        _print_json([dict(row) for row in rows], format)


def print_names(names: Sequence[str], format: str) -> None:
    """Print nothing but names: a line each, JSON has strings."""
    if format == "table":
        for name in names:
            print(name)
    else:
        _print_json(names, format)


def _print_json(values: Sequence[object], format: str) -> None:
    if format == "json":
        print(json.dumps(values, indent=2, default=str))
    else:
        for value in values:
            print(json.dumps(value, default=str))


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    lines = [[name.upper().replace("_", " ") for name in columns]]
    lines += [[str(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
