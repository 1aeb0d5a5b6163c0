"""Clean-up for ``with`` blocks that fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .errors import ContainerdError


class Undo:
    """A context manager that calls clean-up functions if its block raises.

    It calls the functions in reverse order, and the exception propagates. It drops a
    ``ContainerdError`` of a function, which would hide the exception of the block. If the block
    succeeds, it calls none of them.
    """

    def __init__(self, *functions: Callable[[], object]) -> None:
        self._functions = list(functions)

    def add(self, function: Callable[[], object]) -> None:
        """Call ``function``, too, if the block raises, before the functions added earlier."""
        self._functions.append(function)

    def clear(self) -> None:
        """Forget all functions."""
        self._functions.clear()

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self._call_all()

    def _call_all(self) -> None:
        if not self._functions:
            return
        try:
            with suppress(ContainerdError):
                self._functions.pop()()
        finally:  # call the others even if an interrupt hits this one
            self._call_all()


def end_block(
    kind: type[BaseException] | None,
    close: Callable[[], object],
    close_quietly: Callable[[], object],
) -> None:
    """Clean up at the end of a ``with`` block.

    Args:
        kind: The class of the exception that the block raised, or ``None`` if it succeeded.
        close: Cleans up after a block that succeeded, and raises if it cannot.
        close_quietly: Cleans up as far as possible, without raising. Called if the block failed,
            or if an interrupt hits ``close``.
    """
    if kind is not None:
        close_quietly()
        return
    try:
        close()
    except ContainerdError:
        raise
    except BaseException:
        close_quietly()
        raise
