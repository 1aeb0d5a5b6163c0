"""Loads the user's descriptor sets, each into a descriptor pool of its own."""

from __future__ import annotations

import os
from os import PathLike

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from ..errors import InvalidArgument
from ..system import is_regular, open_file
from .pool import CONTAINERD, Schema

#: Maximum size in bytes of a descriptor set. Even for a large API, ``protoc --include_imports``
#: makes a smaller set.
MAX_SIZE = 64 << 20
_REMEDY = "Make the set with protoc --include_imports --descriptor_set_out"


def load(source: str | PathLike[str] | bytes) -> Schema:
    """Load a schema from a serialized ``FileDescriptorSet``.

    The schema is for ``Client.call`` and ``Client.stub``. The set must contain all imported files.
    Only the files of Google's well-known types can be missing, because this package has them.

    Args:
        source: The descriptor set as bytes, or the path of a file that contains it.

    Returns:
        The schema.

    Raises:
        InvalidArgument: The descriptor set is invalid, incomplete, or larger than ``MAX_SIZE``, or
            the path is not the path of a regular file.
        OSError: The file cannot be read.
    """
    if isinstance(source, bytes):
        data = source
    else:
        with open_file(source) as file:
            if not is_regular(file):
                raise InvalidArgument(f"{os.fspath(source)} is not a regular file", remedy=_REMEDY)
            data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise InvalidArgument(f"the descriptor set is larger than the limit of {MAX_SIZE} bytes")
    try:
        files = {file.name: file for file in FileDescriptorSet.FromString(data).file}
    except DecodeError as error:
        raise InvalidArgument(
            f"the data is not a FileDescriptorSet: {error}", remedy=_REMEDY
        ) from None
    if not files:
        raise InvalidArgument("the descriptor set contains no files", remedy=_REMEDY)
    return _Loaded(files)


class _Loaded(Schema):
    """A schema whose pool contains all files from the start."""

    def __init__(self, files: dict[str, FileDescriptorProto]) -> None:
        super().__init__("", "")
        self._files = files
        with self.lock:
            for name in files:
                self._add_file(name, ())

    def _load(self, symbol: str) -> None:
        """Do nothing, because ``__init__`` has already loaded all files."""

    def _read_index(self) -> None:
        for file in self._files.values():
            for items in (file.message_type, file.enum_type, file.service):
                self._index.update({f"{file.package}.{item.name}".strip("."): "" for item in items})

    def _add_file(self, name: str, importers: tuple[str, ...]) -> None:
        """Add the files that the file ``name`` imports to the pool, then the file ``name`` itself.

        ``importers`` is a chain of files. Each file in the chain imports the next file, and the
        last file imports ``name``.
        """
        if name in self._loaded:
            return
        if name in importers:
            raise InvalidArgument(f"{name} imports itself through {' and '.join(importers)}")
        file = self._files.get(name)
        if file is None:
            data = CONTAINERD.well_known(name)
            if data is None:
                raise InvalidArgument(f"the imported file {name} is not in the set", remedy=_REMEDY)
        else:
            for imported in file.dependency:
                self._add_file(imported, (*importers, name))
            data = file.SerializeToString()
        try:
            self._filled_pool().AddSerializedFile(data)
            self._filled_pool().FindFileByName(name)  # some backends check the file only here
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidArgument(f"{name} cannot be loaded: {error}") from None
        self._loaded.add(name)
