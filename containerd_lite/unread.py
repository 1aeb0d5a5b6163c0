"""Records whose fields are read from a message at first access.

Listings are long, and callers often need only the names: reading all fields of an image takes 50
times as long as creating its record.
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
    """Return ``None``; the default factory of a lazy field.

    A plain default would be an attribute of the class, and hide the unread field.
    """
    return None


class Unread:
    """The base class of frozen dataclasses whose fields may be read at first access.

    Users see an ordinary dataclass. ``read_late`` creates a record with its source and a reader
    for each field. A lazy field must not have a plain default, which would be an attribute of the
    class. A subclass of this class must not have subclasses.
    """

    #: ``_readers`` read the fields from ``_source``, which is ``None`` once all fields are read.
    #: ``_at`` is the record's index in ``_source`` if that is a list, else ``None``. Keeping the
    #: readers and the source in one tuple would add 4 % to the CPU time of listing images: the
    #: garbage collector would have one more object per record.
    __slots__ = ("_at", "_readers", "_source")

    if not TYPE_CHECKING:  # mypy would accept any attribute otherwise

        def __getattr__(self, name: str) -> object:
            """Read a field, and add its descriptor to the class.

            The next record finds the descriptor, which is faster than a failed lookup. Python
            also calls this if a reader raises ``AttributeError``; the field is then read again.
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
    """Create a record whose fields are read from ``source`` at first access.

    The caller may put known values into the ``__dict__`` of the record.

    Args:
        kind: A subclass of ``Unread``.
        source: The object that the readers read.
        readers: A reader for each field that the caller does not put into the ``__dict__``.
    """
    made = object.__new__(kind)
    _set_source(made, source)
    _set_readers(made, readers)
    _set_at(made, None)
    return made


def list_read_late(kind: type[_R], sources: Sequence[object], readers: Readers) -> list[_R]:
    """Create a record for each source, like ``read_late``.

    Each record keeps a reference to all of ``sources`` until all of its own fields are read.
    Python creates the ``__dict__`` of a record when it is first used. The loops run in C: a loop
    in Python would take twice as long.
    """
    many = len(sources)
    made = list(map(object.__new__, repeat(kind, many)))
    deque(map(_set_source, made, repeat(sources)), 0)
    deque(map(_set_readers, made, repeat(readers)), 0)
    deque(map(_set_at, made, range(many)), 0)
    return made


class _Field:
    """A descriptor that reads a field at first access, and stores it in the record's ``__dict__``.

    Python finds the value there from then on, because this descriptor has no ``__set__``.
    """

    __slots__ = ("_field_count", "_name")

    def __init__(self, kind: type[Unread], name: str) -> None:
        self._name = name
        #: The number of entries in the ``__dict__`` of a record once all fields are read.
        self._field_count = sum(not has_default(kind, one) for one in names_of(kind))

    def __get__(self, record: Unread, kind: type[Unread] | None = None) -> object:
        parts = record.__dict__  # raises AttributeError if record is None: on the class
        name = self._name
        source, at = record._source, record._at  # type: ignore[attr-defined]
        if source is None:  # another thread has read the last field
            return parts[name]
        read = record._readers[name]  # type: ignore[attr-defined]
        value = parts[name] = read(source if at is None else source[at])
        if len(parts) == self._field_count:
            _set_source(record, None)
        return value
