"""Checks of the values of options, and access to the objects and lists within a spec.

A check returns the value, or raises ``InvalidArgument`` with the name of the option.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from ...errors import InvalidArgument
from ..document import quoted

Spec = dict[str, object]


def refuse(option: str, value: object, wanted: str) -> NoReturn:
    """Raise ``InvalidArgument`` with the name of the option and the values that it accepts."""
    raise InvalidArgument(f"{option} cannot be {quoted(value)}", remedy=f"Give {wanted}")


def text(option: str, value: object, wanted: str = "Unicode text without NUL bytes") -> str:
    """Return a string that JSON can contain and that has no NUL bytes, as C requires."""
    if not isinstance(value, str) or "\0" in value:
        refuse(option, value, wanted)
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which Python uses for an undecodable byte
        refuse(option, value, wanted)
    return value


def texts(option: str, value: object) -> list[str]:
    """Return a list of strings; a single string is refused, although it is iterable."""
    return [text(option, item) for item in several(option, value, "a list of strings")]


def several(option: str, value: object, wanted: str) -> Iterable[object]:
    """Return an iterable; strings, bytes and mappings are refused."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        refuse(option, value, wanted)
    return value


def path(option: str, value: object) -> str:
    """Return an absolute path."""
    checked = text(option, value)
    if not checked.startswith("/"):
        refuse(option, value, "an absolute path")
    return checked


def whole(option: str, value: object, low: int, high: int) -> int:
    """Return an integer from ``low`` to ``high``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(option, value, f"a whole number from {low} to {high}")
    return int(value)


def flag(option: str, value: object) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        refuse(option, value, "True or False")
    return value


def mapping(option: str, value: object) -> Mapping[object, object]:
    """Return a mapping."""
    if not isinstance(value, Mapping):
        refuse(option, value, "a mapping")
    return value


def table(option: str, value: object) -> dict[str, str]:
    """Return a mapping of strings to strings."""
    pairs = mapping(option, value).items()
    return {text(option, key): text(option, item) for key, item in pairs}


def section(spec: Spec, *names: str) -> Spec:
    """Return an object within a spec, and create it if it is absent."""
    for name in names:
        found = spec.get(name)
        if found is None:
            found = spec[name] = {}
        if not isinstance(found, dict):
            refuse(f"spec: {name}", found, "an object")
        spec = found
    return spec


def entries(spec: Spec, name: str) -> list[Spec]:
    """Return a list of objects within a spec, and create it if it is absent."""
    found = spec.get(name)
    if found is None:
        found = spec[name] = []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        refuse(f"spec: {name}", found, "a list of objects")
    return found
