"""The file to which an archive is written: a path, or an open file."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...arguments import is_binary
from ...arguments import path as path_of
from ...errors import InvalidArgument
from ...limits import refused
from ...pipes import open_for_writing, writable
from ...store.folder import explained
from ...undo import Undo
from .intake import StrPath

#: Maximum number of symbolic links to follow for one path, as in Linux.
_MOST_LINKS = 40


@contextmanager
def writing_to(target: StrPath | BinaryIO) -> Iterator[BinaryIO]:
    """Yield the file to write to.

    If ``target`` is a path, a new file is yielded. At the end of the block, the new file replaces
    the old file at the path, and has the mode of the old file. If the block fails, the old file
    stays unchanged. If the path is a symbolic link, the target of the link is replaced.

    Args:
        target: A path or a binary file. A binary file stays open.

    Raises:
        InvalidArgument: The path is not valid, or leads through too many symbolic links.
        ContainerdError: The file at the path cannot be written.
    """
    if not isinstance(target, str | os.PathLike):
        if not is_binary(target, "write"):
            raise refused("target", target, "a path, or a binary file that is open for writing")
        with explained(Path(str(getattr(target, "name", "target")))), writable(target) as file:
            yield file
        return
    with explained(Path(target)), _writing_to_path(Path(path_of("target", target))) as file:
        yield file


@contextmanager
def _writing_to_path(target: Path) -> Iterator[BinaryIO]:
    path = _follow_links(target)
    if path is None or (path.exists() and not path.is_file()):  # a pipe, a terminal, /dev/null
        with open_for_writing(target) as special, writable(special) as file:
            yield file
        return
    scratch = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    with Undo(lambda: scratch.unlink(missing_ok=True)):
        with _new_file(scratch, path) as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
        scratch.replace(path)


def _new_file(scratch: Path, path: Path) -> BinaryIO:
    """Open a new file that is to replace the file at ``path``, which an error names."""
    try:
        return scratch.open("xb")
    except OSError as error:
        error.filename = str(path)
        raise


def _follow_links(path: Path) -> Path | None:
    """Return the path that symbolic links lead to, or ``None`` if they lead into ``/proc``.

    ``/dev/stdout`` leads to a link in ``/proc`` that represents an open file of a process. If the
    file were replaced, the process would still use the old file.
    """
    for _ in range(_MOST_LINKS):
        path = path.parent.resolve() / path.name
        if path.parts[:2] == ("/", "proc"):
            return None
        if not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)
    raise InvalidArgument(f"{path} has too many levels of symbolic links")


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all bytes of ``data``.

    The ``write`` method of a file may write only some of the bytes. If ``write`` returns ``None``,
    a raw file has written no bytes, but any other file has written all bytes.

    Raises:
        InvalidArgument: The file is non-blocking and cannot accept more bytes now.
    """
    view = memoryview(data)
    while view:
        count: int | None = file.write(view)
        if count is None:
            if isinstance(file, io.RawIOBase):
                raise InvalidArgument(
                    "the file to write to is non-blocking", remedy="Make the file blocking"
                )
            return
        view = view[count:]
