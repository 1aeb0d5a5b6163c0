"""Methods that show their options in their signatures and docstrings.

Type checkers know the options of a method from ``**options: Unpack[RunOptions]``. This module makes
the same options, and the comments that explain them in ``spec/options.py``, visible to programs
that look at the method at run time, such as ``help`` and IPython.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from . import spec

if TYPE_CHECKING:
    from inspect import Signature

_Method = TypeVar("_Method", bound=Callable[..., object])


def with_option_help(method: _Method) -> _Method:
    """Show the options of a method, which takes them as ``**options: Unpack[...]``.

    Importing the method does no work for this: its signature and docstring are made when they are
    read.
    """
    return cast("_Method", _MethodWithOptions(method))


class _MethodWithOptions:
    """A method whose ``__signature__`` and ``__doc__`` name each of its options.

    Objects of this class behave like functions. A function itself can have no attribute that is
    made when it is read.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        update_wrapper(self, function, ("__module__", "__name__", "__qualname__"))

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self._function(*args, **keywords)

    def __getattr__(self, name: str) -> Any:
        if name == "_function":  # an object that ``__init__`` has not filled yet
            raise AttributeError(name)
        return getattr(self._function, name)

    def __reduce__(self) -> str:
        return str(self._function.__qualname__)  # pickle saves the name, as it does for functions

    def __repr__(self) -> str:
        return repr(self._function)

    if not TYPE_CHECKING:  # these attributes have other types than in ``object``

        @property
        def __class__(self) -> type:
            return FunctionType

        @property
        def __doc__(self) -> str | None:
            return spec.doc_with_options(self._function)

    @property
    def __signature__(self) -> Signature:
        return spec.signature_with_options(self._function)
