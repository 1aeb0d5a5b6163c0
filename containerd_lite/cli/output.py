"""Functions that several commands use: common options, the client, tables and JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NoReturn

from .. import debug
from ..client import Client
from ..errors import InvalidArgument
from ..printable import printable

#: A row of a listing: values by column name. The column names are the keys in JSON.
Row = Mapping[str, object]
FORMATS = ("table", "json", "jsonl")


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--format``."""
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="output format (default: table)"
    )


def add_debug(parser: argparse._ActionsContainer, default: object) -> None:
    """Add the option ``--debug``."""
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default,
        help="show debug output and tracebacks; to see only debug output, set "
        f"$CONTAINERD_LITE_DEBUG to 1 or to some of {','.join(debug.NAMES)}",
    )


def pair(option: str, text: str) -> tuple[str, str]:
    """Split the value ``NAME=VALUE`` of an option."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument(f"{option} {text!r} has no value", remedy="Write NAME=VALUE")
    if not name:
        raise InvalidArgument(f"{option} {text!r} has no name", remedy="Write NAME=VALUE")
    return name, value


def seconds(text: str) -> float:
    """Parse a positive number of seconds, for argparse."""
    try:
        value = float(text)
    except ValueError:
        _refuse(text)
    return value if 0 < value < 1e9 else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise argparse.ArgumentTypeError(f"invalid time {text!r}: write a number of seconds above 0")


def client_of(options: argparse.Namespace) -> Client:
    """Return a client with the common options."""
    return Client(
        options.address,
        namespace=options.namespace,
        timeout=options.timeout,
        connect_timeout=options.connect_timeout,
    )


def print_rows(rows: Sequence[Row], columns: Sequence[str], format: str) -> None:
    """Print a listing. A table shows only the columns in ``columns``, but JSON shows all keys."""
    if format == "table":
        _print_table(rows, columns)
    else:
        _print_json([dict(row) for row in rows], format)


def print_names(names: Sequence[str], format: str) -> None:
    """Print names: one per line, or JSON strings."""
    if format == "table":
        for name in names:
            print(printable(name))
    else:
        _print_json(names, format)


def print_object(value: Mapping[str, object], format: str) -> None:
    """Print a JSON object: on one line if ``format`` is ``jsonl``."""
    print(json.dumps(value, indent=2 if format == "json" else None, default=_to_json))


def _to_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _print_json(values: Sequence[object], format: str) -> None:
    if format == "json":
        print(json.dumps(values, indent=2, default=str))
    else:
        for value in values:
            print(json.dumps(value, default=str))


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    lines = [[name.upper().replace("_", " ") for name in columns]]
    lines += [[printable(str(row[name])) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
