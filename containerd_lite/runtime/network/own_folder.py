"""The folder in which this package keeps files of containers and networks between calls."""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import InvalidArgument
from ...printable import quoted

_DEFAULT = "/var/lib/containerd-lite"
_VARIABLE = "CONTAINERD_LITE_STATE"


def own_folder() -> Path:
    """Return ``$CONTAINERD_LITE_STATE``, or else ``/var/lib/containerd-lite``.

    Raises:
        InvalidArgument: The variable does not contain an absolute path.
    """
    text = os.environ.get(_VARIABLE) or _DEFAULT
    if not text.startswith("/"):
        raise InvalidArgument(
            f"${_VARIABLE} is {quoted(text)}, which is not an absolute path",
            remedy=f"Set ${_VARIABLE} to an absolute path, or unset it",
        )
    return Path(text)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, whatever the umask is.

    The runtime of a container with a user namespace passes through these folders as a user who is
    not root. The mode 0711 does not let users list the folders.

    Raises:
        OSError: A folder cannot be made.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o711)
