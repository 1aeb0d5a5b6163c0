"""Clean-up for ``with`` blocks that fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .errors import Cancelled, ContainerdError
from .interrupt import shielded


class Undo:
    """A context manager that calls clean-up functions if its block raises.

    The clean-up functions are called in reverse order, and the block's exception propagates. If a
    clean-up function raises a ``ContainerdError``, this error is ignored, because it would hide the
    block's exception. If the block succeeds, no clean-up function is called. An interrupt of the
    operation (``interrupt``) does not stop the clean-up functions.
    """

    __slots__ = ("_functions",)

    def __init__(self, *functions: Callable[[], object]) -> None:
        self._functions = list(functions)

    def add(self, function: Callable[[], object]) -> None:
        """Add a clean-up function, which is called before the functions that were added earlier."""
        self._functions.append(function)

    def clear(self) -> None:
        """Remove all functions, so that no function is called."""
        self._functions.clear()

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None and self._functions:
            with shielded():
                self._call_all()

    def _call_all(self) -> None:
        if not self._functions:
            return
        try:
            with suppress(ContainerdError):
                self._functions.pop()()
        finally:  # call the remaining functions even if an interrupt ends this call
            self._call_all()


def end_block(
    kind: type[BaseException] | None,
    close: Callable[[], object],
    close_quietly: Callable[[], object],
) -> None:
    """Clean up at the end of a ``with`` block.

    Args:
        kind: The class of the exception that the block raised, or ``None`` if the block succeeded.
        close: The function to call if the block succeeded. ``close`` can raise an exception.
        close_quietly: The function to call if the block failed, or if an interrupt ends ``close``.
            ``close_quietly`` cleans up as far as possible, and never raises an exception.
    """
    if kind is not None:
        with shielded():
            close_quietly()
        return
    try:
        close()
    except BaseException as error:
        if isinstance(error, Cancelled) or not isinstance(error, ContainerdError):
            with shielded():
                close_quietly()
        raise
