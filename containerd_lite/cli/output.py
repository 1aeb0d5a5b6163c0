"""What the commands do alike: options, tables, JSON, and the client that options describe.

What lives here: helpers of the commands.  What may not: any one command.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    from ..client import Client

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

#: A row of a listing: column name to value; the names are the keys of the JSON, too.
Row = Mapping[str, object]
FORMATS = ("table", "json", "jsonl")


def add_command(
    commands: Commands,
    common: argparse.ArgumentParser,
    name: str,
    command: Callable[[argparse.Namespace], int],
    description: str,
) -> argparse.ArgumentParser:
    """A parser for one command; ``command`` takes its options and returns the exit code."""
    summary = description.partition(".")[0].partition(";")[0]
    parser = commands.add_parser(
        name, parents=[common], help=summary[0].lower() + summary[1:], description=description
    )
    parser.set_defaults(command=command)
    return parser


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
    from ..client import Client

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
