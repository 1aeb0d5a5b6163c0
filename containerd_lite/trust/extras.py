"""Reports which optional package is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import FailedPrecondition


@contextmanager
def needing(package: str, feature: str) -> Iterator[None]:
    """Return a context manager for the imports of an optional package.

    Modules of this room import their optional packages in such a block. The room's table loads a
    module when a caller first uses it, so the error then reaches the caller.

    Args:
        package: The name of the package, with its lowest version (``"cryptography>=45"``).
        feature: What the package is needed for, such as ``"checking certificates"``.

    Raises:
        FailedPrecondition: The import failed.
    """
    try:
        yield
    except ImportError as error:
        raise FailedPrecondition(
            f"{feature} needs the package {package} ({error})",
            remedy='Install it with: pip install "containerd-lite[trust]"',
        ) from error
