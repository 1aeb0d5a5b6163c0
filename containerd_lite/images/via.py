"""The choice whether this process moves an image, or the daemon with its Transfer service."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Literal

from ..errors import InvalidArgument, Unimplemented
from .image_backend import ImageBackend

#: ``"client"`` is this process, ``"daemon"`` the daemon's Transfer service. ``"auto"`` is the
#: service if it supports all that the caller asks for, and otherwise this process.
Via = Literal["client", "daemon", "auto"]


def is_for_daemon(backend: ImageBackend, via: Via, **options: object) -> bool:
    """Return whether the daemon does the work.

    Args:
        backend: Says whether its daemon can transfer images.
        via: The caller's choice.
        **options: The caller's values of the options that only this process supports.

    Raises:
        InvalidArgument: The caller chose the daemon and passed one of ``options``, or ``via`` is
            not one of the three choices.
    """
    given = [name for name, value in options.items() if value]
    if via == "daemon" and given:
        raise InvalidArgument(
            f"the daemon does not support {', '.join(given)}",
            remedy='Leave that out, or pass via="auto"',
        )
    if via not in ("client", "daemon", "auto"):
        raise InvalidArgument(f'via={via!r} is not "client", "daemon" or "auto"')
    return via == "daemon" or (via == "auto" and not given and backend.can_transfer())


def falling_back(via: Via) -> AbstractContextManager[object]:
    """Return a context that suppresses ``Unimplemented`` if ``via`` is ``"auto"``.

    The block asks the daemon. The code after the block then does the same work in this process.
    """
    return suppress(Unimplemented) if via == "auto" else nullcontext()
