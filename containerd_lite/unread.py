"""Records some of whose fields are read only when they are looked at.

What lives here: the base of such records, which knows nothing of messages.  Lists are long, and
of most entries a name is all that is wanted: reading every field of an image takes 20 times as
long as making the record (benchmarks/services.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

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

    __slots__ = ("_source",)
    #: Told once, by whoever knows the sources.
    _readers: ClassVar[Readers] = {}

    @classmethod
    def _made_of(cls: type[_R], sources: Iterable[object]) -> list[_R]:
        """Records of ``sources``, by what ``cls._readers`` says of their fields.

        A record has its source in a slot; as long as nobody asks for its ``__dict__`` it has
        none.  Both loops are C's: one of Python's would take twice as long.
        """
        sources = list(sources)
        made = list(map(object.__new__, repeat(cls, len(sources))))
        deque(map(_source.__set__, made, sources), 0)
        return made

    @classmethod
    def _of(cls: type[_R], source: object) -> _R:
        """The record of one source; the caller may put into its ``__dict__`` what is at hand."""
        return cls._made_of((source,))[0]

    if not TYPE_CHECKING:  # to mypy, it would make any attribute a good one

        def __getattr__(self, name: str) -> object:
            parts = self.__dict__
            try:
                source = _source.__get__(self)
                reader = self._readers[name]
            except (AttributeError, KeyError):
                if name not in parts:  # read by now, if by another thread
                    raise AttributeError(
                        f"{type(self).__name__} has no {name!r}", name=name, obj=self
                    ) from None
            else:
                parts[name] = reader(source)
                if len(parts) == len(self.__dataclass_fields__):  # all are read
                    with suppress(AttributeError):
                        _source.__delete__(self)
            return parts[name]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(getattr(self, one.name) for one in fields(self))  # type: ignore[arg-type]


_source = Unread.__dict__["_source"]
