"""Decides whether this process or the daemon's Transfer service moves an image."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Literal

from ..errors import InvalidArgument, Unimplemented
from .image_backend import ImageBackend

#: With ``"client"``, this process moves the image. With ``"daemon"``, the daemon's Transfer service
#: moves the image. With ``"auto"``, the Transfer service moves the image if it supports all options
#: that the caller has set. Otherwise this process moves the image.
Via = Literal["client", "daemon", "auto"]


def is_for_daemon(backend: ImageBackend, via: Via, **options: object) -> bool:
    """Return whether the daemon moves the image.

    Args:
        backend: The backend of the image.
        via: The caller's choice.
        **options: The options that the daemon does not support. Their values are the values that
            the caller has set.

    Raises:
        InvalidArgument: ``via`` is not one of the three choices, or ``via`` is ``"daemon"`` and
            the caller has set one of ``options``.
    """
    given = [name for name, value in options.items() if value]
    if via == "daemon" and given:
        raise InvalidArgument(
            f"the daemon's Transfer service does not support {', '.join(given)}",
            remedy='Leave these arguments out, or pass via="auto"',
        )
    if via not in ("client", "daemon", "auto"):
        raise InvalidArgument(f'via={via!r} is not "client", "daemon" or "auto"')
    return via == "daemon" or (via == "auto" and not given and backend.can_transfer())


def falling_back(via: Via) -> AbstractContextManager[object]:
    """Return a context manager that suppresses ``Unimplemented`` if ``via`` is ``"auto"``.

    In the block, the caller asks the daemon to move the image. If the daemon does not support this,
    ``Unimplemented`` ends the block, and the code after the block moves the image in this process.
    """
    return suppress(Unimplemented) if via == "auto" else nullcontext()
