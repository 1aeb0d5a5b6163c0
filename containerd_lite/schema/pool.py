"""Makes message classes and methods from descriptor files, and loads each file at its first use.

Each schema has its own descriptor pool and its own cache. Protobuf's default pool is not used,
because it belongs to the application. One lock guards all look-ups in pools and the creation of
classes, because no backend of protobuf lets two threads fill a pool at the same time.
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

#: A message whose fields are known only at run time. Users get such a message only from
#: ``Client.call`` and other generic calls.
DynamicMessage: TypeAlias = Any


@record(frozen=True)
class Method:
    """A method of a gRPC service.

    Attributes:
        path: The HTTP/2 path, ``/package.Service/Method``.
        request: The class of the requests.
        response: The class of the responses.
        client_streaming: Whether the client sends several messages.
        server_streaming: Whether the server sends several messages.
    """

    path: str
    request: type[DynamicMessage]
    response: type[DynamicMessage]
    client_streaming: bool = False
    server_streaming: bool = False


#: The lock of all schemas. A fork waits for this lock, so that no other thread uses protobuf during
#: the fork. Otherwise, a lock inside protobuf could stay locked in the child.
_LOCK = threading.RLock()
_is_fork_safe = False


def _make_fork_safe() -> None:
    """Make ``fork`` wait for ``_LOCK``. The caller must hold ``_LOCK``.

    ``_filled_pool`` calls this function before it makes the first pool. So the import of the
    package registers nothing.
    """
    global _is_fork_safe
    if not _is_fork_safe:
        os.register_at_fork(
            before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_LOCK.release
        )
        _is_fork_safe = True


class Schema:
    """The messages and services that a set of descriptor files describes.

    Args:
        package: The Python package that contains the files.
        folder: The folder in the package with the ``.binpb`` files and their ``index.txt``.
    """

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
        """Return the class of a message. All calls with the same name return the same class.

        Args:
            name: The full name of the message, for example ``containerd.types.Descriptor``.

        Raises:
            InvalidArgument: The schema has no such message.
        """
        found = self._classes.get(name)
        return found if found is not None else self._make_class(name)

    def method(self, name: str) -> Method:
        """Return a method by its name.

        Args:
            name: The full name of the method, as ``package.Service/Method``.

        Raises:
            InvalidArgument: The schema has no such service or method.
        """
        found = self._methods.get(name)
        return found if found is not None else self._make_method(name)

    def methods(self, service: str) -> list[str]:
        """Return the names of the methods of a service.

        Raises:
            InvalidArgument: The schema has no such service.
        """
        with _LOCK:
            return [method.name for method in self._service(service).methods]

    def names(self) -> list[str]:
        """Return the full names of all top-level messages, enums and services."""
        with _LOCK:
            if not self._index:
                self._read_index()
            return sorted(self._index)

    def load_all(self) -> None:
        """Load all descriptor files now, so that no file is read later."""
        for name in self.names():
            with _LOCK:
                self._load(name)

    def well_known(self, proto: str) -> bytes | None:
        """Return a serialized descriptor file of Google's well-known types.

        Args:
            proto: The import path of the file, for example ``google/protobuf/any.proto``.

        Returns:
            The file, or ``None`` if the schema does not contain the file.
        """
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
                    f"the schema has no method {name!r}", remedy=_suggestion(methods)
                )
            descriptor = methods[method]
            flags = descriptor if hasattr(descriptor, "client_streaming") else _proto_of(descriptor)
            self._methods[name] = Method(
                f"/{name}",
                self.message(descriptor.input_type.full_name),
                self.message(descriptor.output_type.full_name),
                flags.client_streaming,
                flags.server_streaming,
            )
            return self._methods[name]

    def _service(self, name: str) -> Any:
        self._load(name)
        try:
            return self._filled_pool().FindServiceByName(name)
        except KeyError:
            wanted = name.rpartition(".")[2].lower()
            similar = [
                found for found in self.names() if found.rpartition(".")[2].lower() == wanted
            ]
            raise InvalidArgument(
                f"the schema has no service {name!r}", remedy=_suggestion(similar)
            ) from None

    def _filled_pool(self) -> DescriptorPool:
        if self._pool is None:
            _make_fork_safe()
            self._pool = DescriptorPool()
        return self._pool

    def _load(self, symbol: str) -> None:
        """Load the file that describes a symbol. The imported files are loaded first."""
        if not self._index:
            self._read_index()
        while symbol and symbol not in self._index:  # index.txt contains only top-level names
            symbol = symbol.rpartition(".")[0]
        if symbol:
            self._load_file(self._index[symbol])

    def _read_index(self) -> None:
        """Read ``index.txt``.

        For each descriptor file, ``index.txt`` has a line with the name and the imports of the
        file. The indented lines below this line contain the names of the file's messages, enums and
        services.
        """
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
        # importlib.resources can read the file, too, but takes 15 ms to import.
        content = get_data(self._package, f"{self._folder}/{name}")
        if content is None:
            raise FileNotFoundError(f"the loader of {self._package} cannot read files")
        return content


def _proto_of(method: Any) -> Any:
    """Return the descriptor of a method as a message.

    Before protobuf 4.22, the method descriptors of the native backend do not have the attributes
    ``client_streaming`` and ``server_streaming``, but a ``MethodDescriptorProto`` has them.
    """
    from google.protobuf.descriptor_pb2 import MethodDescriptorProto

    proto = MethodDescriptorProto()
    method.CopyToProto(proto)
    return proto


def _suggestion(names: Iterable[str]) -> str:
    """Return a remedy that lists the names to use instead."""
    return f"Use one of: {', '.join(sorted(names))}" if names else ""


def _class_of(descriptor: DynamicMessage, pool: DescriptorPool) -> type[DynamicMessage]:
    factory: DynamicMessage = message_factory
    kind: type[DynamicMessage]
    if hasattr(factory, "GetMessageClass"):
        kind = factory.GetMessageClass(descriptor)
    else:
        kind = factory.MessageFactory(pool).GetPrototype(descriptor)  # before protobuf 4.22
    return kind


def decode(kind: type[DynamicMessage], data: bytes | bytearray) -> DynamicMessage:
    """Decode a message.

    Raises:
        ProtocolError: The bytes are not a valid message of this class.
    """
    try:
        return kind.FromString(data if _reads_in_place(kind) else memoryview(data))
    except (DecodeError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError(
            f"the received data is not a valid {kind.DESCRIPTOR.full_name}: {error}"
        ) from error


#: The results of ``_reads_in_place`` by the metaclass of messages. Each protobuf backend has its
#: own metaclass.
_in_place: dict[type, bool] = {}


def _reads_in_place(kind: type[DynamicMessage]) -> bool:
    """Return whether the protobuf backend can decode a bytearray without copying it.

    Since about protobuf 5.29, the backend upb can decode a bytearray without a copy. All backends
    can decode a memoryview, but upb copies the content of a memoryview. This copy takes 1 % of the
    time of a call that lists 2,000 images.
    The pure-Python backend must not get a bytearray, because it would put parts of the bytearray
    into the message without converting these parts to bytes.
    """
    metaclass = type(kind)
    if metaclass not in _in_place:
        try:
            kind.FromString(bytearray())
            _in_place[metaclass] = metaclass.__module__ == "google._upb._message"
        except TypeError:
            _in_place[metaclass] = False
    return _in_place[metaclass]


def encode(message: DynamicMessage) -> bytes:
    """Encode a message."""
    data: bytes = message.SerializeToString()
    return data


#: The schema of containerd's services and messages.
CONTAINERD = Schema(__package__ or "containerd_lite.schema", "sets")
