"""Clean-up for blocks that fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from .errors import ContainerdError


class Undo:
    """Removes what a block has made if the block raises, whatever it raises.

    A context manager.  When its block succeeds, it calls nothing: what was made belongs to the
    caller.  When the block raises, it calls the given functions, the last one first, and the
    exception goes on.  A ``ContainerdError`` of such a function is dropped, for it would hide
    the exception that the block raised.
    """

    def __init__(self, *functions: Callable[[], object]) -> None:
        self._functions = list(functions)

    def add(self, function: Callable[[], object]) -> None:
        """Call ``function``, too, if the block raises; before those that were given earlier."""
        self._functions.append(function)

    def clear(self) -> None:
        """Call nothing any more."""
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
        finally:  # an interrupt during one of them must not keep the others from being called
            self._call_all()


def end_block(
    kind: type[BaseException] | None,
    close: Callable[[], object],
    close_quietly: Callable[[], object],
) -> None:
    """The end of a ``with`` block that has something to remove.

    Args:
        kind: the class of the exception that the block raised, ``None`` if it succeeded.
        close: removes it, and raises what keeps it from doing so.
        close_quietly: removes it as far as possible; called where the block has failed, and where
            an interrupt came up in ``close``.
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
