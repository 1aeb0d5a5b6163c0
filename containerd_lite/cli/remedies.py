"""Translates the errors of the library, which name Python arguments, for the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import ContainerdError
from ..lazy import lazy_pattern

if TYPE_CHECKING:
    import re

#: A Python argument: its name, ``=``, and perhaps its value. ``type=bind`` is not one.
_ARGUMENT = lazy_pattern(
    r"(?<![\w=.-])([a-z][a-z_]*)=(\([^()]*\)|\"[^\"]*\"|\w+\([^()]*\)|[A-Z]\w*|(?![\w/]))"
)
#: An argument in a message: ``cap_add cannot be 5``, ``restart=`` or ``cpu_quota=1000``.
_IN_MESSAGE = lazy_pattern(
    r"(?<![\w=./'\"-])(?:([a-z][a-z_]*)=(?![\w/'\"])|([a-z]+(?:_[a-z]+)+)\b"
    r"|^([a-z]+)(?= cannot be |: ))"
)
#: The marks between the parts of a remedy. Each part can be left out.
_SEPARATOR = lazy_pattern(r"; |, or ")
#: Arguments with the name of an option that has another meaning.
_OTHER_MEANING = ("timeout",)


def for_command_line(remedy: str, parser: argparse.ArgumentParser) -> str:
    """Return a remedy that names options instead of arguments.

    Advice that names an argument without an option is left out.

    Args:
        remedy: The remedy of an error.
        parser: The parser of the command.
    """
    options = {action.dest: action for action in parser._actions}
    kept, separator = "", ""
    for part, following in zip(
        _SEPARATOR.split(remedy), [*_SEPARATOR.findall(remedy), ""], strict=True
    ):
        translated = _ARGUMENT.sub(lambda match: _option(match, options), part)
        if not _ARGUMENT.search(translated):
            kept += separator + translated if kept else translated[:1].upper() + translated[1:]
            separator = following
    return kept


def message_for_command_line(error: ContainerdError, parser: argparse.ArgumentParser) -> str:
    """Return the message of an error with options instead of arguments.

    The messages of a daemon, whose errors have an operation, stay as they are.

    Args:
        error: The error.
        parser: The parser of the command.
    """
    if error.operation:
        return error.message
    options = {action.dest: action for action in parser._actions}

    def spelling(argument: re.Match[str]) -> str:
        name = next(filter(None, argument.groups()))
        is_option = name in options and name not in _OTHER_MEANING
        return _spelling(options[name]) if is_option else argument[0]

    return _IN_MESSAGE.sub(spelling, error.message)


def _option(argument: re.Match[str], options: dict[str, argparse.Action]) -> str:
    """Return the option for an argument. If the command lacks the option, return the argument."""
    name, value = argument.groups()
    action = options.get(f"no_{name}" if value == "False" else name)
    if action is None or name in _OTHER_MEANING:
        return argument[0]
    text = "" if value in ("True", "False") else value.strip("()\"',")
    return f"{_spelling(action)} {text}".rstrip()


def _spelling(action: argparse.Action) -> str:
    return action.option_strings[-1] if action.option_strings else str(action.metavar)
