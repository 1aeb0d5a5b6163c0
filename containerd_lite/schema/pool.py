"""Names to message classes and methods, out of a private pool that loads lazily.

What lives here: ``Schema`` and the one that describes containerd.  What may not: sockets, and
the process's default descriptor pool, which belongs to the application.

Every look-up and class creation stands behind one lock, and each schema has one cache: protobuf's
pools are not safe to fill from two threads, on any of its backends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pkgutil import get_data
from typing import Any, TypeAlias

from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from ..errors import InvalidArgument, ProtocolError
from ..records import record

#: A message whose fields are known at run time only; never leaves the package but by ``call``.
DynamicMessage: TypeAlias = Any


@record(frozen=True)
class Method:
    """One RPC: its HTTP/2 path, the classes of its messages, and which sides send several."""

    path: str
    request: type[DynamicMessage]
    response: type[DynamicMessage]
    client_streaming: bool = False
    server_streaming: bool = False


#: Of all schemas.  A fork waits for it: protobuf has locks of its own, too, and a child would find
#: held what another thread held in its parent.
_LOCK = threading.RLock()
_is_fork_safe = False


def _make_fork_safe() -> None:
    """With the lock: not done at import, which registers nothing."""
    global _is_fork_safe
    if not _is_fork_safe:
        os.register_at_fork(
            before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
        )
        _is_fork_safe = True


class Schema:
    """A set of ``.binpb`` files beside an ``index.txt``, and what they describe."""

    lock = _LOCK

    def __init__(self, package: str, folder: str) -> None:
        self._package = package
        self._folder = folder
        self._pool: DescriptorPool | None = None
        self._index: dict[str, str] = {}
        self._imports: dict[str, list[str]] = {}
        self._loaded: set[str] = set()
        self._classes: dict[str, type[DynamicMessage]] = {}
        self._methods: dict[str, Method] = {}

    def message(self, name: str) -> type[DynamicMessage]:
        """The class of a message by its full name, ``containerd.types.Descriptor``.

        The same name gives the same class, always.  Raises ``InvalidArgument`` for a name that
        the schema does not have.
        """
        found = self._classes.get(name)
        return found if found is not None else self._make_class(name)

    def method(self, name: str) -> Method:
        """The method ``package.Service/Method``.  Raises ``InvalidArgument``."""
        found = self._methods.get(name)
        return found if found is not None else self._make_method(name)

    def methods(self, service: str) -> list[str]:
        """The names of a service's methods.  Raises ``InvalidArgument``."""
        with _LOCK:
            return [method.name for method in self._service(service).methods]

    def names(self) -> list[str]:
        """The full names of all messages, enums and services that are not inside others."""
        with _LOCK:
            if not self._index:
                self._read_index()
            return sorted(self._index)

    def load_all(self) -> None:
        """Read every set now, so that no file need be read later."""
        for name in self.names():
            with _LOCK:
                self._load(name)

    def well_known(self, proto: str) -> bytes | None:
        """One of Google's well-known files by its import path, ``google/protobuf/any.proto``."""
        if not self._index:
            self._read_index()
        name = proto.removesuffix(".proto").replace("/", ".") + ".binpb"
        is_there = name.startswith("google.protobuf.") and name in self._imports
        return self._read(name) if is_there else None

    def _make_class(self, name: str) -> type[DynamicMessage]:
        with _LOCK:
            if name not in self._classes:
                self._load(name)
                try:
                    descriptor = self._filled_pool().FindMessageTypeByName(name)
                except KeyError:
                    raise InvalidArgument(f"the schema has no message {name!r}") from None
                self._classes[name] = _class_of(descriptor, self._filled_pool())
            return self._classes[name]

    def _make_method(self, name: str) -> Method:
        service, _, method = name.partition("/")
        with _LOCK:
            methods = self._service(service).methods_by_name
            if method not in methods:
                raise InvalidArgument(
                    f"the schema has no method {name!r}", remedy=_instead(methods)
                )
            found = methods[method]
            told = found if hasattr(found, "client_streaming") else _proto_of(found)
            self._methods[name] = Method(
                f"/{name}",
                self.message(found.input_type.full_name),
                self.message(found.output_type.full_name),
                told.client_streaming,
                told.server_streaming,
            )
            return self._methods[name]

    def _service(self, name: str) -> Any:
        self._load(name)
        try:
            return self._filled_pool().FindServiceByName(name)
        except KeyError:
            last = name.rpartition(".")[2].lower()
            close = [one for one in self.names() if one.rpartition(".")[2].lower() == last]
            raise InvalidArgument(
                f"the schema has no service {name!r}", remedy=_instead(close)
            ) from None

    def _filled_pool(self) -> DescriptorPool:
        if self._pool is None:
            _make_fork_safe()
            self._pool = DescriptorPool()
        return self._pool

    def _load(self, symbol: str) -> None:
        """Bring the file of a name into the pool, what it imports first."""
        if not self._index:
            self._read_index()
        while symbol and symbol not in self._index:  # a nested message: its outermost one
            symbol = symbol.rpartition(".")[0]
        if symbol:
            self._load_file(self._index[symbol])

    def _read_index(self) -> None:
        """A line for each file, with its imports; below it, indented, what it describes."""
        name = ""
        for line in self._read("index.txt").decode("ascii").splitlines():
            if line[0] == "\t":
                self._index[line[1:]] = name
            else:
                name, _, imports = line.partition(":")
                self._imports[name] = imports.split()

    def _load_file(self, name: str) -> None:
        if name not in self._loaded:
            for imported in self._imports[name]:
                self._load_file(imported)
            self._filled_pool().AddSerializedFile(self._read(name))
            self._loaded.add(name)

    def _read(self, name: str) -> bytes:
        # importlib.resources does the same, and takes 15 ms to import.
        content = get_data(self._package, f"{self._folder}/{name}")
        if content is None:
            raise FileNotFoundError(f"{self._package} is loaded by what has no files")
        return content


def _proto_of(method: Any) -> Any:
    """What the attributes do not tell, in protobuf's native part before 4.22."""
    from google.protobuf.descriptor_pb2 import MethodDescriptorProto

    told = MethodDescriptorProto()
    method.CopyToProto(told)
    return told


def _instead(names: Iterable[str]) -> str:
    """What to write instead of a name that is not there."""
    return f"There are: {', '.join(sorted(names))}" if names else ""


def _class_of(descriptor: DynamicMessage, pool: DescriptorPool) -> type[DynamicMessage]:
    factory: DynamicMessage = message_factory
    kind: type[DynamicMessage]
    if hasattr(factory, "GetMessageClass"):
        kind = factory.GetMessageClass(descriptor)
    else:
        kind = factory.MessageFactory(pool).GetPrototype(descriptor)  # before protobuf 4.22
    return kind


def decode(kind: type[DynamicMessage], data: bytes | bytearray) -> DynamicMessage:
    """Bytes to a message.  Raises ``ProtocolError`` for bytes that are none."""
    try:
        return kind.FromString(data if _reads_in_place(kind) else memoryview(data))
    except (DecodeError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(f"what came is no {kind.DESCRIPTOR.full_name}: {error}") from error


#: By the metaclass of messages, of which each backend has one.
_in_place: dict[type, bool] = {}


def _reads_in_place(kind: type[DynamicMessage]) -> bool:
    """Whether the backend reads a bytearray as it lies: upb does, since protobuf 5.29 or so.

    All read a memoryview, but upb copies what is in it, which takes a hundredth of the call that
    lists 2,000 images; the pure backend would keep parts of a bytearray as they are.
    """
    maker = type(kind)
    if maker not in _in_place:
        try:
            kind.FromString(bytearray())
            _in_place[maker] = maker.__module__ == "google._upb._message"
        except TypeError:
            _in_place[maker] = False
    return _in_place[maker]


def encode(message: DynamicMessage) -> bytes:
    data: bytes = message.SerializeToString()
    return data


#: What containerd's daemons understand.
CONTAINERD = Schema(__package__ or "containerd_lite.schema", "sets")
