"""Records some of whose fields are read only when they are looked at.

What lives here: the base of such records, which knows nothing of messages.  Lists are long, and
of most entries a name is all that is wanted: reading every field of an image takes 20 times as
long as making the record (benchmarks/services.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

_R = TypeVar("_R", bound="Unread")

Readers = Mapping[str, Callable[[Any], object]]


def absent() -> None:
    """Stands for a default of ``None`` in such a record: a plain one would be found unread."""
    return None


class Unread:
    """Base of a frozen dataclass; to whoever has one, it is like any other.

    A field that may stay unread has no default that is a plain value, for that would be an
    attribute of the class.
    """

    @classmethod
    def _unread(cls: type[_R], source: object, readers: Readers) -> _R:
        """One whose fields each of ``readers`` makes of ``source``.

        The caller puts what is at hand into its ``__dict__``; as arguments, that takes half as
        long again.
        """
        made = object.__new__(cls)
        made.__dict__["_rest"] = source, readers
        return made

    if not TYPE_CHECKING:  # to mypy, it would make any attribute a good one

        def __getattr__(self, name: str) -> object:
            parts = self.__dict__
            if (rest := parts.get("_rest")) is not None and name in rest[1]:
                parts[name] = rest[1][name](rest[0])
                if len(parts) > len(self.__dataclass_fields__):  # all are read
                    parts.pop("_rest", None)
            if name in parts:  # read by now, if by another thread
                return parts[name]
            raise AttributeError(f"{type(self).__name__} has no {name!r}", name=name, obj=self)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(getattr(self, one.name) for one in fields(self))  # type: ignore[arg-type]
