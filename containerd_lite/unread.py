"""Records whose fields are read from a message at first access.

Listings are long, and callers often need only the names. Reading all fields of an image takes 50
times as long as creating the image's record.
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
    """Return ``None``. This is the default factory of fields that are read at first access.

    A plain default would be an attribute of the class, and would hide the unread field.
    """
    return None


class Unread:
    """The base class of frozen dataclasses whose fields can be read at first access.

    Users see an ordinary dataclass. ``read_late`` creates a record from a source and a reader for
    each field. A field that is read at first access must not have a plain default, because a plain
    default would be an attribute of the class. A subclass of this class must not have subclasses.
    """

    #: ``_readers`` has the functions that read the fields from ``_source``. If ``_source`` is a
    #: list, ``_index`` is the index of the record's own source in this list, otherwise ``_index``
    #: is ``None``. When all fields are read, ``_source`` becomes ``None``. If the readers and the
    #: source were in one tuple, listing images would take 4 % more CPU time, because the garbage
    #: collector would have one more object per record.
    __slots__ = ("_index", "_readers", "_source")

    if not TYPE_CHECKING:  # with this method, mypy would accept any attribute

        def __getattr__(self, name: str) -> object:
            """Read a field, and add a descriptor for the field to the class.

            For the next record, Python uses the descriptor, which is faster than this method. If
            the descriptor raises ``AttributeError``, Python also calls this method, which reads the
            field again.
            """
            kind = type(self)
            if name not in names_of(kind):
                raise AttributeError(f"{kind.__name__} has no {name!r}", name=name, obj=self)
            found = _Field(kind, name)
            setattr(kind, name, found)
            return found.__get__(self)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(getattr(self, name) for name in names_of(type(self)))


#: Functions that set the slots. A frozen dataclass refuses assignments, but the descriptors of its
#: slots accept them.
_set_index, _set_readers, _set_source = (
    vars(Unread)[name].__set__ for name in ("_index", "_readers", "_source")
)


def read_late(kind: type[_R], source: object, readers: Readers) -> _R:
    """Create a record whose fields are read from ``source`` at first access.

    The caller can store known values of fields in the ``__dict__`` of the record.

    Args:
        kind: A subclass of ``Unread``.
        source: The object from which the readers read.
        readers: Functions by field name. Each function takes ``source``, and returns the value of
            the field. A field whose value the caller stores in the ``__dict__`` needs no function.
    """
    made = object.__new__(kind)
    _set_source(made, source)
    _set_readers(made, readers)
    _set_index(made, None)
    return made


def list_read_late(kind: type[_R], sources: Sequence[object], readers: Readers) -> list[_R]:
    """Create a record for each source, like ``read_late``.

    Each record has a reference to the list ``sources`` until all fields of the record are read.
    Python creates the ``__dict__`` of a record when the ``__dict__`` is first used. The loops of
    this function run in C, because loops in Python would take twice as long.
    """
    count = len(sources)
    made = list(map(object.__new__, repeat(kind, count)))
    deque(map(_set_source, made, repeat(sources)), 0)
    deque(map(_set_readers, made, repeat(readers)), 0)
    deque(map(_set_index, made, range(count)), 0)
    return made


class _Field:
    """A descriptor that reads a field at first access, and stores it in the record's ``__dict__``.

    At later accesses, Python finds the value in the ``__dict__`` before it finds the descriptor,
    because the descriptor has no ``__set__``.
    """

    __slots__ = ("_field_count", "_name")

    def __init__(self, kind: type[Unread], name: str) -> None:
        self._name = name
        #: The number of entries in the ``__dict__`` of a record after all fields are read.
        self._field_count = sum(not has_default(kind, field) for field in names_of(kind))

    def __get__(self, record: Unread, kind: type[Unread] | None = None) -> object:
        # If the attribute is read from the class, ``record`` is ``None``, and this line raises
        # ``AttributeError``.
        parts = record.__dict__
        name = self._name
        source, index = record._source, record._index  # type: ignore[attr-defined]
        if source is None:  # another thread has read the last field
            return parts[name]
        read = record._readers[name]  # type: ignore[attr-defined]
        value = parts[name] = read(source if index is None else source[index])
        if len(parts) == self._field_count:
            _set_source(record, None)
        return value
