"""Who moves images: this process, or the daemon through its Transfer service."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Literal

from ..errors import InvalidArgument, Unimplemented
from .image_backend import ImageBackend

#: This process, the daemon's transfer service, or the latter where it can.
Via = Literal["client", "daemon", "auto"]


def is_for_daemon(backend: ImageBackend, via: Via, **options: object) -> bool:
    """Whether the daemon is to do it.

    Args:
        backend: says whether there is a daemon that can.
        via: what the caller asked for.
        options: what the caller gave of the options that only this process knows.

    Raises:
        InvalidArgument: the daemon is to do it, and one of ``options`` is given.
    """
    given = [name for name, value in options.items() if value]
    if via == "daemon" and given:
        raise InvalidArgument(
            f"the daemon knows nothing of {', '.join(given)}",
            remedy='Leave that out, or let via="auto" choose',
        )
    if via not in ("client", "daemon", "auto"):
        raise InvalidArgument(f'via={via!r} is not "client", "daemon" or "auto"')
    return via == "daemon" or (via == "auto" and not given and backend.can_transfer())


def falling_back(via: Via) -> AbstractContextManager[object]:
    """With ``"auto"`` the block may raise ``Unimplemented``: what follows it does the same."""
    return suppress(Unimplemented) if via == "auto" else nullcontext()
