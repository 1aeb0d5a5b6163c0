"""Checks of what a caller asks of a spec, and the way into a spec that somebody else wrote.

What lives here: typed reading that names the option.  What may not: knowledge of any option.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from ...errors import InvalidArgument
from ..document import quoted

Spec = dict[str, object]


def refuse(option: str, value: object, wanted: str) -> NoReturn:
    """Raises ``InvalidArgument`` that names the option and what it takes."""
    raise InvalidArgument(f"{option} cannot be {quoted(value)}", remedy=f"Give {wanted}")


def text(option: str, value: object, wanted: str = "Unicode text without NUL bytes") -> str:
    """A string that a C program and JSON can both hold."""
    if not isinstance(value, str) or "\0" in value:
        refuse(option, value, wanted)
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which is how Python keeps a byte that is no text
        refuse(option, value, wanted)
    return value


def texts(option: str, value: object) -> list[str]:
    """A list of strings; a string is none, though Python would take it apart."""
    return [text(option, item) for item in several(option, value, "a list of strings")]


def several(option: str, value: object, wanted: str) -> Iterable[object]:
    """Something to go through that is neither text nor a mapping."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        refuse(option, value, wanted)
    return value


def path(option: str, value: object) -> str:
    """An absolute path."""
    found = text(option, value)
    if not found.startswith("/"):
        refuse(option, value, "an absolute path")
    return found


def whole(option: str, value: object, low: int, high: int) -> int:
    """A whole number of a range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(option, value, f"a whole number from {low} to {high}")
    return int(value)


def flag(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        refuse(option, value, "True or False")
    return value


def mapping(option: str, value: object) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        refuse(option, value, "a mapping")
    return value


def table(option: str, value: object) -> dict[str, str]:
    """A mapping of strings to strings."""
    pairs = mapping(option, value).items()
    return {text(option, key): text(option, item) for key, item in pairs}


def section(spec: Spec, *names: str) -> Spec:
    """An object within a spec, made where it is absent."""
    for name in names:
        found = spec.get(name)
        if found is None:
            found = spec[name] = {}
        if not isinstance(found, dict):
            refuse(f"spec: {name}", found, "an object")
        spec = found
    return spec


def entries(spec: Spec, name: str) -> list[Spec]:
    """A list of objects within a spec, made where it is absent."""
    found = spec.get(name)
    if found is None:
        found = spec[name] = []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        refuse(f"spec: {name}", found, "a list of objects")
    return found
