"""Functions that check the values of options, or return objects and lists within a spec.

If the value of an option is invalid, the functions raise ``InvalidArgument`` with the option's
name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from ...errors import InvalidArgument
from ...lazy import lazy_pattern
from ...printable import quoted

Spec = dict[str, object]

_SIZE = lazy_pattern(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([kmgt]?)b?")
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def refuse(option: str, value: object, wanted: str) -> NoReturn:
    """Raise ``InvalidArgument``.

    Args:
        option: The name of the option.
        value: The invalid value.
        wanted: A description of the values that the option accepts. The remedy consists of
            the word "Give" and this description.
    """
    raise InvalidArgument(f"{option} cannot be {quoted(value)}", remedy=f"Give {wanted}")


def text(option: str, value: object, wanted: str = "Unicode text without NUL bytes") -> str:
    """Return ``value`` if it is a string that UTF-8 can encode and that contains no NUL.

    A string in C ends at its first NUL.
    """
    if not isinstance(value, str) or "\0" in value:
        refuse(option, value, wanted)
    try:
        value.encode()
    except UnicodeEncodeError:  # Python represents an invalid byte by a lone surrogate (PEP 383)
        refuse(option, value, wanted)
    return value


def texts(option: str, value: object) -> list[str]:
    """Return the strings of an iterable as a list. Refuse a value that is itself a string."""
    return [text(option, item) for item in iterable(option, value, "a list of strings")]


def iterable(option: str, value: object, wanted: str) -> Iterable[object]:
    """Return ``value`` if it is iterable. Strings, bytes and mappings are refused."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        refuse(option, value, wanted)
    return value


def path(option: str, value: object) -> str:
    """Return ``value`` if it is an absolute path."""
    checked = text(option, value)
    if not checked.startswith("/"):
        refuse(option, value, "an absolute path")
    return checked


def integer(option: str, value: object, low: int, high: int) -> int:
    """Return ``value`` if it is an integer from ``low`` to ``high``. Booleans are refused."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(option, value, f"a whole number from {low} to {high}")
    return int(value)


def parse_size(text: str) -> int | None:
    """Return a size in bytes: ``"64m"``, ``"1.5g"`` or ``"1000"``; ``None`` if it is not valid.

    The suffixes ``k``, ``m``, ``g`` and ``t``, with or without a ``b``, stand for powers of 1024.
    ``"-1"`` is returned as -1.
    """
    found = _SIZE.fullmatch(text.lower())
    if text == "-1" or found is None:
        return -1 if text == "-1" else None
    number, unit = found[1], 1 << _SHIFTS[found[2]]
    return int(float(number) * unit) if "." in number else int(number) * unit


def size(name: str, value: object, low: int, high: int) -> int:
    """Return a size in bytes: a whole number, or a text such as ``"64m"``; see ``parse_size``."""
    if isinstance(value, str):
        found = parse_size(value)
        if found is None:
            refuse(name, value, 'a number of bytes, or a text such as "64m" or "2g"')
        value = found
    return integer(name, value, low, high)


def flag(option: str, value: object) -> bool:
    """Return ``value`` if it is a boolean."""
    if not isinstance(value, bool):
        refuse(option, value, "True or False")
    return value


def mapping(option: str, value: object) -> Mapping[object, object]:
    """Return ``value`` if it is a mapping."""
    if not isinstance(value, Mapping):
        refuse(option, value, "a mapping")
    return value


def table(option: str, value: object) -> dict[str, str]:
    """Return a mapping of strings to strings as a new dict."""
    pairs = mapping(option, value).items()
    return {text(option, key): text(option, item) for key, item in pairs}


def section(spec: Spec, *names: str) -> Spec:
    """Return the object at the path ``names`` within a spec. Create the object if it is absent."""
    for name in names:
        found = spec.get(name)
        if found is None:
            found = spec[name] = {}
        if not isinstance(found, dict):
            refuse(f"spec: {name}", found, "an object")
        spec = found
    return spec


def entries(spec: Spec, name: str) -> list[Spec]:
    """Return the list of objects in the field ``name``. Create the list if it is absent."""
    found = spec.get(name)
    if found is None:
        found = spec[name] = []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        refuse(f"spec: {name}", found, "a list of objects")
    return found
