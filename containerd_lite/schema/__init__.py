"""Messages without generated code: descriptor sets, loaded when they are needed.

What lives here: ``sets/`` (compiled by ``descriptors/compile.py``), ``pool`` (names to message
classes and methods), ``own`` (sets of the user's own), ``values`` and ``plain`` (plain Python to
message fields and back).  What may not: the default pool; nothing outside imports
``google.protobuf``.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .pool import Schema


def load(source: str | PathLike[str] | bytes) -> Schema:
    """A schema out of a serialized ``FileDescriptorSet``, given as it is or by its path.

    For ``Client.call`` and ``Client.stub``.  Whatever a file imports has to be in the set, save
    Google's well-known types, which are taken from here where it lacks them.  Raises
    ``InvalidArgument`` for what is no such set, and ``OSError`` for a file that cannot be read.
    """
    from .own import loaded

    return loaded(source)
