"""Records some of whose fields are read only when they are looked at.

What lives here: the base of such records, which knows nothing of messages.  Lists are long, and
of most entries a name is all that is wanted: reading every field of an image takes 50 times as
long as making the record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import repeat
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

_R = TypeVar("_R", bound="Unread")

Reader = Callable[[Any], object]


def absent() -> None:
    """Stands for a default of ``None`` in such a record: a plain one would be found unread."""
    return None


class Unread:
    """Base of a frozen dataclass; to whoever has one, it is like any other.

    A field that may stay unread has no default that is a plain value, for that would be an
    attribute of the class.  No record is a base of another.
    """

    #: The source, or what has it at the index ``_at``: to take it out would make another object
    #: for each record of a list.  ``None`` once all is read.
    __slots__ = ("_at", "_source")
    #: Told once, by whoever knows the sources.
    _readers: ClassVar[Mapping[str, Reader]] = {}

    @classmethod
    def _made_of(cls: type[_R], sources: Sequence[object]) -> list[_R]:
        """Records of ``sources``, by what ``cls._readers`` says of their fields.

        Each keeps all of ``sources`` until all of its own is read.  As long as nobody asks one for
        its ``__dict__`` it has none.  The loops are C's: one of Python's would take twice as long.
        """
        many = len(sources)
        made = list(map(object.__new__, repeat(cls, many)))
        deque(map(_set_source, made, repeat(sources)), 0)
        deque(map(_set_at, made, range(many)), 0)
        return made

    @classmethod
    def _of(cls: type[_R], source: object) -> _R:
        """The record of one source; the caller may put into its ``__dict__`` what is at hand."""
        made = object.__new__(cls)
        _set_source(made, source)
        _set_at(made, None)
        return made

    if not TYPE_CHECKING:  # to mypy, it would make any attribute a good one

        def __getattr__(self, name: str) -> object:
            """Put the field into the class, for the next record: to find nothing there takes long.

            A reader that raises ``AttributeError`` ends up here too, and is asked again.
            """
            reader = self._readers.get(name)
            if reader is None:
                kind = type(self).__name__
                raise AttributeError(f"{kind} has no {name!r}", name=name, obj=self)
            found = _Field(type(self), name, reader)
            setattr(type(self), name, found)
            return found.__get__(self)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(getattr(self, one.name) for one in fields(self))  # type: ignore[arg-type]


#: A frozen dataclass lets nobody set anything, save by its slots.
_set_at, _set_source = Unread.__dict__["_at"].__set__, Unread.__dict__["_source"].__set__


class _Field:
    """Reads a field at the first look; then the record's ``__dict__`` has it.

    Python looks there first, since this has no ``__set__``.
    """

    __slots__ = ("_name", "_read", "_whole")

    def __init__(self, kind: type[Unread], name: str, read: Reader) -> None:
        self._name = name
        self._read = read
        #: So many fields are in the ``__dict__`` of a record that has all.
        self._whole = sum(one.default is MISSING for one in fields(kind))  # type: ignore[arg-type]

    def __get__(self, record: Unread, kind: type[Unread] | None = None) -> object:
        parts = record.__dict__  # of None, if it is the class that is asked: it has no such thing
        source, at = record._source, record._at  # type: ignore[attr-defined]
        if source is None:  # all is read by now, if by another thread
            return parts[self._name]
        value = parts[self._name] = self._read(source if at is None else source[at])
        if len(parts) == self._whole:
            _set_source(record, None)
        return value
