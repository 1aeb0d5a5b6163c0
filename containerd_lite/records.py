"""``record``: dataclasses that are cheap to define.

``dataclasses.dataclass`` compiles the methods of a class when the class is defined, which takes
0.3 to 1 ms. A short-lived program imports many record classes, but creates only few objects of most
classes. A class that is defined with ``record`` starts with general methods, which work for every
class. When the program creates the 17th object of the class, or first uses
``__dataclass_fields__``, the class gets the methods that ``dataclass`` compiles. All features of
dataclasses work: ``dataclasses.fields``, ``asdict``, ``replace``, ``copy.replace``, ``match``,
pickling, equality and ``repr``. Type checkers see an ordinary dataclass.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

__all__ = ["field", "has_default", "names_of", "record", "replace", "to_dict"]

#: Number of objects that the general ``__init__`` creates, in 4 us each. After that, the class is
#: compiled.
_MAX_GENERAL = 16
_MISSING: Any = object()
#: The maximum number of characters of a record's ``repr``, and of one value in it.
_MAX_REPR, _MAX_VALUE = 200, 80


class _FieldArguments:
    """The arguments of ``dataclasses.field``."""

    def __init__(
        self,
        default: Any = _MISSING,
        default_factory: Any = _MISSING,
        init: bool = True,
        repr: bool = True,
        hash: bool | None = None,
        compare: bool = True,
        kw_only: bool = False,
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.hash = hash
        self.compare = compare
        self.kw_only = kw_only

    def compiled(self) -> Any:
        """Return a ``dataclasses.field`` with the same arguments."""
        from dataclasses import field  # takes 13 ms, unless h2 has already imported dataclasses

        given = {key: value for key, value in vars(self).items() if value is not _MISSING}
        return field(**given)


class _Layout:
    """The fields of a record class and of its base classes, in the order of their definition."""

    def __init__(self, fields: dict[str, _FieldArguments], *, frozen: bool) -> None:
        self.fields = fields
        self.frozen = frozen
        self.made = 0
        self.positional = [name for name, spec in fields.items() if spec.init and not spec.kw_only]
        self.compared = [name for name, spec in fields.items() if spec.compare]
        self.hashed = [
            name
            for name, spec in fields.items()
            if (spec.compare if spec.hash is None else spec.hash)
        ]
        self.shown = [name for name, spec in fields.items() if spec.repr]

    def values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """Return the values of all fields, or ``None`` if the arguments do not fit."""
        values = dict(zip(self.positional, args, strict=False))
        if len(args) > len(values) or not values.keys().isdisjoint(kwargs):
            return None
        values.update(kwargs)
        for name, spec in self.fields.items():
            if name in values:
                if not spec.init:
                    return None
            elif spec.default_factory is not _MISSING:
                values[name] = spec.default_factory()
            elif spec.default is not _MISSING:
                values[name] = spec.default
            elif spec.init:
                return None
        return values if values.keys() <= self.fields.keys() else None


def _owner(kind: type) -> type:
    """Return ``kind`` if it is a record class, or the record class from which it is derived."""
    return next(base for base in kind.__mro__ if "__record_fields__" in vars(base))


def _layout(kind: type) -> _Layout:
    owner = _owner(kind)
    found: _Layout | None = vars(owner).get("__record_layout__")
    if found is None:
        fields: dict[str, _FieldArguments] = {}
        for base in reversed(owner.__mro__):
            fields.update(vars(base).get("__record_fields__", {}))
        found = _Layout(fields, frozen=owner.__record_frozen__)  # type: ignore[attr-defined]
        owner.__record_layout__ = found  # type: ignore[attr-defined]
    return found


def names_of(kind: type) -> Iterable[str]:
    """Return the names of a record's fields, in order, without compiling the class."""
    return _layout(kind).fields


def has_default(kind: type, name: str) -> bool:
    """Return whether a field has a plain default.

    A plain default is a value, not a factory, and is an attribute of the class.
    """
    return _layout(kind).fields[name].default is not _MISSING


def _compile(kind: type) -> type:
    """Make a dataclass with the same fields, and copy its methods to the record class."""
    from dataclasses import dataclass

    owner, layout = _owner(kind), _layout(kind)
    types = {name: text for base in reversed(owner.__mro__) for name, text in _types(base)}
    parts: dict[str, Any] = {
        "__annotations__": {name: types[name] for name in layout.fields},
        "__module__": owner.__module__,
        "__qualname__": owner.__qualname__,
        "__doc__": owner.__doc__ or "",
        **{name: spec.compiled() for name, spec in layout.fields.items()},
    }
    if hasattr(owner, "__post_init__"):
        parts["__post_init__"] = owner.__post_init__
    like: Any = dataclass(frozen=layout.frozen)(type(owner.__name__, (), parts))
    for name in _COMPILED:
        if vars(owner).get(name) is _GENERAL.get(name):
            setattr(owner, name, getattr(like, name))
    for name in _LATE:
        setattr(owner, name, getattr(like, name))
    return owner


def _types(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the name and the type of each field that the class itself declares.

    In this package, annotations are strings, because of ``from __future__ import annotations``.
    """
    for name, text in kind.__annotations__.items() if kind is not object else ():
        if isinstance(text, str) and not text.startswith("ClassVar"):
            yield name, text


def to_dict(record: object) -> dict[str, Any]:
    """Return a record, such as ``Container.info``, as a dict that fits into JSON.

    Records within it become dicts, sequences lists, times ISO 8601 texts, and bytes base64.

    Raises:
        TypeError: The argument is not a record of this package.
    """
    if not hasattr(type(record), "__record_fields__"):
        raise TypeError(f"{type(record).__name__} is not a record")
    return {name: _plain(getattr(record, name)) for name in names_of(type(record))}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if hasattr(type(value), "__record_fields__"):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (bytes, bytearray)):
        return b2a_base64(value, newline=False).decode("ascii")
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    return str(value)


# ---- the general methods ----------------------------------------------------------------------


def _init(self: Any, *args: Any, **kwargs: Any) -> None:
    kind = type(self)
    layout = _layout(kind)
    layout.made += 1
    values = layout.values(args, kwargs) if layout.made <= _MAX_GENERAL else None
    if values is None:
        # Either the class has many objects, or the arguments are wrong. If the arguments are wrong,
        # the compiled ``__init__`` raises the error.
        vars(_compile(kind))["__init__"](self, *args, **kwargs)
        return
    vars(self).update(values)
    if hasattr(kind, "__post_init__"):
        self.__post_init__()


def _repr(self: Any) -> str:
    """Return the fields that differ from their defaults, in at most ``_MAX_REPR`` characters."""
    layout, kind = _layout(type(self)), type(self).__qualname__
    shown: list[str] = []
    room = _MAX_REPR - len(kind) - len(", ...")
    for name in layout.shown:
        value, spec = getattr(self, name), layout.fields[name]
        if (spec.default is not _MISSING and value == spec.default) or (
            spec.default_factory is not _MISSING and not value
        ):
            continue
        text = f"{name}={_short(value)}"
        room -= len(text) + 2
        if room < 0:
            shown.append("...")
            break
        shown.append(text)
    return f"{kind}({', '.join(shown)})"


def _short(value: object) -> str:
    if isinstance(value, (str, bytes)) and len(value) > _MAX_VALUE:
        return f"{value[: _MAX_VALUE - 5]!r}..."
    text = repr(value)
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 3]}..."


def _eq(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    names = _layout(type(self)).compared
    return tuple(getattr(self, n) for n in names) == tuple(getattr(other, n) for n in names)


def _hash(self: Any) -> int:
    return hash(tuple(getattr(self, name) for name in _layout(type(self)).hashed))


def _set(self: Any, name: str, value: object) -> None:
    _check_frozen(type(self), name, "assign to")
    object.__setattr__(self, name, value)


def _delete(self: Any, name: str) -> None:
    _check_frozen(type(self), name, "delete")
    object.__delattr__(self, name)


def _check_frozen(kind: type, name: str, what: str) -> None:
    """Raise ``FrozenInstanceError``, unless a plain subclass has added the attribute."""
    if kind is _owner(kind) or name in _layout(kind).fields:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot {what} field {name!r}")


def _replace(self: Any, /, **changes: Any) -> Any:
    fields = _layout(type(self)).fields
    kept = {n: getattr(self, n) for n, spec in fields.items() if spec.init and n not in changes}
    return type(self)(**kept, **changes)


class _Late:
    """A class attribute whose first use compiles the class."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, record: object, kind: type) -> Any:
        return vars(_compile(kind))[self._name]


#: The methods that each record class gets, unless the class itself defines the method.
_GENERAL: dict[str, Any] = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
}
#: The methods that are replaced when the class is compiled. ``repr`` stays short.
_COMPILED = tuple(name for name in _GENERAL if name != "__repr__")
_FROZEN: dict[str, Any] = {"__setattr__": _set, "__delattr__": _delete}
_LATE = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")


if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import field, replace
else:
    field = _FieldArguments
    replace = _replace

    def record(kind: type | None = None, /, *, frozen: bool = False) -> Any:
        """Make a dataclass, like ``dataclasses.dataclass``."""
        if kind is None:
            return lambda kind: _record(kind, frozen)
        return _record(kind, frozen)


def _record(kind: type, frozen: bool) -> type:
    own: dict[str, _FieldArguments] = {}
    for name, _ in _types(kind):
        given = vars(kind).get(name, _MISSING)
        if isinstance(given, _FieldArguments):
            own[name] = given
            if given.default is _MISSING:
                delattr(kind, name)
            else:
                setattr(kind, name, given.default)
        else:
            own[name] = _FieldArguments(given)
    methods = {**_GENERAL, "__replace__": _replace, **(_FROZEN if frozen else {"__hash__": None})}
    if vars(kind).get("__hash__") is None and "__hash__" in vars(kind):
        del kind.__hash__  # Python sets __hash__ to None in a class that defines __eq__
    for name, method in methods.items():
        if name not in vars(kind):
            setattr(kind, name, method)
    for name in _LATE:
        setattr(kind, name, _Late(name))
    kind.__record_fields__ = own  # type: ignore[attr-defined]
    kind.__record_frozen__ = frozen  # type: ignore[attr-defined]
    kind.__record_layout__ = None  # type: ignore[attr-defined]
    return kind
