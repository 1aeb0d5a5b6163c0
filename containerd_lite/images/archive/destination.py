"""Where an archive is written to: a path, or a file that is open.

What lives here: replacing files whole, files that take less than they are given.  What may not:
what is written.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import InvalidArgument
from ...undo import Undo
from .intake import StrPath

#: Links that lead to links; Linux allows a path as many.
_MOST_LINKS = 40


@contextmanager
def writing_to(target: StrPath | BinaryIO) -> Iterator[BinaryIO]:
    """The file to write to; a path's is replaced at the end of the block, or left as it was.

    A link stays one, to the new file, which gets the mode of the old one.
    """
    if not isinstance(target, str | os.PathLike):
        yield target
        return
    path = _followed(Path(target))
    if path is None or (path.exists() and not path.is_file()):  # a pipe, a terminal, /dev/null
        with open(target, "wb") as file:
            yield file
        return
    scratch = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    with Undo(lambda: scratch.unlink(missing_ok=True)):
        with scratch.open("xb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
        scratch.replace(path)


def _followed(path: Path) -> Path | None:
    """Where links lead; ``None`` for a file that is open, such as ``/dev/stdout``.

    What is open is written to where it is: whoever opened it would not see another file.
    """
    for _ in range(_MOST_LINKS):
        path = path.parent.resolve() / path.name
        if path.parts[:2] == ("/", "proc"):
            return None
        if not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)
    raise InvalidArgument(f"the links of {path} lead nowhere")


def put(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write it all: a raw file may take less at a time, and others do not say what they took."""
    view = memoryview(data)
    while view:
        count: int | None = file.write(view)
        if count is None:
            if isinstance(file, io.RawIOBase):
                raise InvalidArgument(
                    "the file to write to does not wait", remedy="Make it a blocking one"
                )
            return
        view = view[count:]
