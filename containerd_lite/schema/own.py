"""Descriptor sets of the user's own, each in a pool of its own.

What lives here: what ``schema.load`` does.  What may not: the package's sets.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from ..errors import InvalidArgument
from .pool import CONTAINERD, Schema

#: What ``protoc --include_imports`` of a large API comes to, and some more.
MAX_SIZE = 64 << 20
_HOW = "Make it by protoc --include_imports --descriptor_set_out"


def load(source: str | PathLike[str] | bytes) -> Schema:
    """A schema out of a serialized ``FileDescriptorSet``, given as it is or by its path.

    For ``Client.call`` and ``Client.stub``.  Whatever a file imports has to be in the set, save
    Google's well-known types, which are taken from here where it lacks them.  Raises
    ``InvalidArgument`` for what is no such set, and ``OSError`` for a file that cannot be read.
    """
    if isinstance(source, bytes):
        data = source
    else:
        with Path(source).open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise InvalidArgument(f"a descriptor set of more than {MAX_SIZE} bytes is not read")
    try:
        files = {file.name: file for file in FileDescriptorSet.FromString(data).file}
    except DecodeError as error:
        raise InvalidArgument(f"this is no FileDescriptorSet: {error}", remedy=_HOW) from None
    if not files:
        raise InvalidArgument("the descriptor set has no file", remedy=_HOW)
    return _Loaded(files)


class _Loaded(Schema):
    """All of it is in the pool from the start."""

    def __init__(self, files: dict[str, FileDescriptorProto]) -> None:
        super().__init__("", "")
        self._files = files
        with self.lock:
            for name in files:
                self._add(name, ())

    def _load(self, symbol: str) -> None:
        """There is nothing more to be had."""

    def _read_index(self) -> None:
        for file in self._files.values():
            for kind in (file.message_type, file.enum_type, file.service):
                self._index.update({f"{file.package}.{one.name}".strip("."): "" for one in kind})

    def _add(self, name: str, above: tuple[str, ...]) -> None:
        if name in self._loaded:
            return
        if name in above:
            raise InvalidArgument(f"{name} imports itself, by way of {' and '.join(above)}")
        file = self._files.get(name)
        if file is None:
            data = CONTAINERD.well_known(name)
            if data is None:
                raise InvalidArgument(f"{name}, which is imported, is not in the set", remedy=_HOW)
        else:
            for imported in file.dependency:
                self._add(imported, (*above, name))
            data = file.SerializeToString()
        try:
            self._filled_pool().AddSerializedFile(data)
            self._filled_pool().FindFileByName(name)  # some look at what they were given only now
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidArgument(f"{name} cannot be loaded: {error}") from None
        self._loaded.add(name)
