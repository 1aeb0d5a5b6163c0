"""Records some of whose fields are read only when they are looked at.

Lists are long, and of most entries a name is all that is wanted: reading every field of an image
takes 50 times as long as making the record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from .records import has_default, names_of

_R = TypeVar("_R", bound="Unread")

Readers = Mapping[str, Callable[[Any], object]]


def absent() -> None:
    """Stands for a default of ``None`` in such a record: a plain one would be found unread."""
    return None


class Unread:
    """Base of a frozen dataclass whose fields may be read late; to users it is like any other.

    The record itself knows nothing of where its fields come from: ``read_late`` gives it a source
    and the readers of its fields.  A field that may stay unread has no default that is a plain
    value, for that would be an attribute of the class.  No record is a base of another.
    """

    #: ``_readers`` read the fields from ``_source``, which is ``None`` once all is read.  ``_at``
    #: is the record's place in it, if it is a list.  One tuple of the first two would cost 4 % of
    #: the CPU time of listing images: it is one more object for the garbage collector.
    __slots__ = ("_at", "_readers", "_source")

    if not TYPE_CHECKING:  # to mypy, it would make any attribute a good one

        def __getattr__(self, name: str) -> object:
            """Put the field into the class, for the next record: to find nothing there takes long.

            A reader that raises ``AttributeError`` ends up here too, and is asked again.
            """
            kind = type(self)
            if name not in names_of(kind):
                raise AttributeError(f"{kind.__name__} has no {name!r}", name=name, obj=self)
            found = _Field(kind, name)
            setattr(kind, name, found)
            return found.__get__(self)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(getattr(self, name) for name in names_of(type(self)))


#: A frozen dataclass refuses assignments; the descriptors of its slots do not.
_set_at, _set_readers, _set_source = (
    vars(Unread)[name].__set__ for name in ("_at", "_readers", "_source")
)


def read_late(kind: type[_R], source: object, readers: Readers) -> _R:
    """The record of one source; the caller may put into its ``__dict__`` what is at hand.

    Args:
        kind: a subclass of ``Unread``.
        source: what the readers read.
        readers: for each field that the caller does not put there, what reads it.
    """
    made = object.__new__(kind)
    _set_source(made, source)
    _set_readers(made, readers)
    _set_at(made, None)
    return made


def list_read_late(kind: type[_R], sources: Sequence[object], readers: Readers) -> list[_R]:
    """The records of several sources, as ``read_late``.

    Each record keeps all of ``sources`` until all of its own fields are read.  Python makes the
    ``__dict__`` of a record at the first look at it.  The loops run in C: a loop in Python would
    take twice as long.
    """
    many = len(sources)
    made = list(map(object.__new__, repeat(kind, many)))
    deque(map(_set_source, made, repeat(sources)), 0)
    deque(map(_set_readers, made, repeat(readers)), 0)
    deque(map(_set_at, made, range(many)), 0)
    return made


class _Field:
    """Reads a field at the first look; then the record's ``__dict__`` has it.

    Python looks there first, since this has no ``__set__``.
    """

    __slots__ = ("_name", "_whole")

    def __init__(self, kind: type[Unread], name: str) -> None:
        self._name = name
        #: How many fields the ``__dict__`` of a record has when all are read.
        self._whole = sum(not has_default(kind, one) for one in names_of(kind))

    def __get__(self, record: Unread, kind: type[Unread] | None = None) -> object:
        parts = record.__dict__  # of None, if it is the class that is asked: it has no such thing
        name = self._name
        source, at = record._source, record._at  # type: ignore[attr-defined]
        if source is None:  # all is read by now, if by another thread
            return parts[name]
        read = record._readers[name]  # type: ignore[attr-defined]
        value = parts[name] = read(source if at is None else source[at])
        if len(parts) == self._whole:
            _set_source(record, None)
        return value
