"""The base class of all services: call metadata, deadlines, messages and errors.

``CallContext`` contains the options of calls. ``Service`` makes the calls. ``joined_lease`` sets
the lease for the calls of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from .. import limits
from ..deadline import Deadline
from ..errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    Unavailable,
    Unimplemented,
)
from ..limits import refused
from ..printable import quoted
from ..records import record, replace
from ..schema.pool import CONTAINERD, DynamicMessage, Method, decode, encode
from ..transport.channel import Channel
from ..transport.stream import Stream, operation
from ._status import translated
from .since import unimplemented_remedy

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds to wait for the daemon's version, which the remedy of ``Unimplemented`` contains.
_VERSION_TIMEOUT = 5.0
#: ``receive_patiently`` checks the daemon after ``_MAX_SILENCE`` seconds without a message. The
#: daemon must respond to this check within ``_LIVENESS_TIMEOUT`` seconds.
_MAX_SILENCE, _LIVENESS_TIMEOUT = 30.0, 30.0
_Metadata = tuple[tuple[str, str], ...]
#: The errors of protobuf for values that do not fit their fields.
_MISFITS = (ValueError, TypeError, OverflowError)
#: A mapping from the names of a request's fields to their values. A nested message is a dict.
Fields = Mapping[str, object]


@record(frozen=True)
class CallContext:
    """The options of calls: the namespace, the lease, the timeouts and ``wait_for_ready``.

    Attributes:
        namespace: The containerd namespace of the calls.
        lease: The id of the lease that protects what the calls create. Default: the lease of the
            surrounding ``joined_lease`` block, if there is one.
        timeout: Seconds that a short call may take. ``None`` means no limit.
        long_timeout: Seconds that a long call may take. A long call moves content or waits for
            something. Default: no limit, because an expired deadline aborts a mount or a commit.
        wait_for_ready: Whether calls wait until the daemon can be reached.
    """

    namespace: str = "default"
    lease: str = ""
    timeout: float | None = 60.0
    long_timeout: float | None = None
    wait_for_ready: bool = False

    @cached_property
    def metadata(self) -> _Metadata:
        """The gRPC metadata with the namespace and the lease."""
        metadata: _Metadata = (("containerd-namespace", self.namespace),)
        return (*metadata, ("containerd-lease", self.lease)) if self.lease else metadata


#: The ids of the leases that ``joined_lease`` has set, by the daemon's address and the namespace.
#: The threads of ``Workers`` run in a copy of the caller's context, so they use the same leases.
_LEASES: ContextVar[Mapping[tuple[str, str], str]] = ContextVar("leases", default={})  # noqa: B039


class Service:
    """A client of one gRPC service of a daemon. A ``CallContext`` contains the call options.

    An instance is cheap to create. Several threads can share one instance.
    """

    _name: ClassVar[str]

    def __init__(self, channel: Channel, context: CallContext) -> None:
        self._channel = channel
        self._context = context

    def with_options(
        self,
        *,
        timeout: float | None = None,
        wait_for_ready: bool | None = None,
        namespace: str | None = None,
        lease: str | None = None,
    ) -> Self:
        """Return a copy of this service with other call options.

        An option that is not passed keeps its value.

        Args:
            timeout: Seconds that each call may take, above 0. This limit also applies to calls
                that have no deadline by default. Infinity means no limit.
            wait_for_ready: Whether calls wait until the daemon can be reached.
            namespace: The containerd namespace of the calls.
            lease: The id of the lease that protects what the calls create.

        Raises:
            InvalidArgument: ``timeout`` is not a number above 0.
        """
        context = self._context
        if timeout is not None:
            limit = limits.seconds("timeout", timeout)
            context = replace(context, timeout=limit, long_timeout=limit)
        if wait_for_ready is not None:
            context = replace(context, wait_for_ready=wait_for_ready)
        if namespace is not None:
            context = replace(context, namespace=namespace)
        if lease is not None:
            context = replace(context, lease=lease)
        service = copy(self)
        service._context = context
        return service

    def until(self, deadline: Deadline, *, wait_for_ready: bool | None = None) -> Self:
        """Return a copy of this service whose calls end at a deadline, even if it has passed.

        Args:
            deadline: The deadline. A call after the deadline raises ``DeadlineExceeded``.
            wait_for_ready: Whether calls wait until the daemon can be reached.
        """
        service, limit = self.with_options(wait_for_ready=wait_for_ready), deadline.remaining()
        service._context = replace(service._context, timeout=limit, long_timeout=limit)
        return service

    @property
    def identity(self) -> tuple[str, str]:
        """The daemon's address and the namespace."""
        return self._channel.name, self._context.namespace

    def _metadata(self) -> _Metadata:
        """Return the context's metadata.

        If the context has no lease, add the lease of the surrounding ``joined_lease`` block.
        """
        context = self._context
        if context.lease or not _LEASES.get():
            return context.metadata
        lease = current_lease(self._channel, context.namespace)
        return (*context.metadata, ("containerd-lease", lease)) if lease else context.metadata

    def _call(
        self, name: str, fields: Fields | None = None, *, is_long: bool = False
    ) -> DynamicMessage:
        """Make a unary call and return the response.

        If ``is_long`` is true, the call has the deadline ``long_timeout``, and does not share its
        connection with other calls.
        """
        method = CONTAINERD.method(f"{self._name}/{name}")
        return self._unary(method, request_of(method, fields) if fields else b"", is_long)

    def _unary(self, method: Method, request: bytes, is_long: bool) -> DynamicMessage:
        """Make a unary call with an encoded request, and return the decoded response."""
        context = self._context
        try:
            response = self._channel.unary(
                method.path,
                request,
                metadata=self._metadata(),
                timeout=context.long_timeout if is_long else context.timeout,
                wait_for_ready=context.wait_for_ready,
                dedicated=is_long,
            )
        except Unimplemented as error:
            raise self._with_release_remedy(error, method) from error.__cause__
        except ContainerdError as error:
            raise translated(error) from error.__cause__
        return decode(method.response, response)

    def _with_release_remedy(self, error: Unimplemented, method: Method) -> ContainerdError:
        """Set the remedy of an error, and return the translated error.

        The remedy names the daemon's version and the release that added the method.
        """
        error.remedy = unimplemented_remedy(method.path[1:], self._daemon_version(), error.message)
        return translated(error)

    def _daemon_version(self) -> str:
        """Return the daemon's version, or ``""`` if the daemon does not say it."""
        version = CONTAINERD.method("containerd.services.version.v1.Version/Version")
        try:
            response = self._channel.unary(version.path, timeout=_VERSION_TIMEOUT)
            return str(decode(version.response, response).version)
        except ContainerdError:
            return ""

    def _stream(self, name: str, fields: Fields | None = None) -> MessageStream:
        """Begin a streaming call. If ``fields`` are given, send them as the only request."""
        method = CONTAINERD.method(f"{self._name}/{name}")
        return self._begin_stream(method, None if fields is None else request_of(method, fields))

    def _begin_stream(self, method: Method, message: bytes | None) -> MessageStream:
        """Begin a streaming call. If an encoded message is given, send it as the only request."""
        request = () if message is None else (message,)
        context = self._context
        try:
            stream = self._channel.stream(
                method.path,
                *request,
                metadata=self._metadata(),
                timeout=context.long_timeout,
                wait_for_ready=context.wait_for_ready,
            )
        except ContainerdError as error:
            raise translated(error) from error.__cause__
        return MessageStream(stream, method, self)

    def _check_liveness(self) -> None:
        """Raise ``Unavailable`` if the daemon does not respond to a request for its version."""
        method = CONTAINERD.method("containerd.services.version.v1.Version/Version")
        try:
            self._channel.unary(method.path, timeout=_LIVENESS_TIMEOUT)
        except DeadlineExceeded as error:
            raise Unavailable(
                f"the daemon has been silent for {_MAX_SILENCE + _LIVENESS_TIMEOUT:.0f} s, and "
                "does not answer other calls either",
                address=self._channel.name,
                remedy="Check whether the daemon process is suspended, or whether its disk hangs",
            ) from error

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<{kind} {self._channel.name} namespace={self._context.namespace}>"


class MessageStream:
    """A streaming call with protobuf messages; an iterator and a context manager.

    The iterator yields the responses. The end of the ``with`` block closes the call.

    Attributes:
        raw: The underlying stream of encoded messages, which also has the call's metadata.
        method: The called method.
    """

    def __init__(self, stream: Stream, method: Method, service: Service) -> None:
        self.raw = stream
        self.method = method
        self._service = service

    def send(self, fields: Fields, *, last: bool = False) -> None:
        """Send one request.

        Args:
            fields: The fields of the request.
            last: Whether this is the last request.

        Raises:
            InvalidArgument: A value does not fit its field.
        """
        self.raw.send(request_of(self.method, fields), last=last)

    def receive_patiently(self) -> DynamicMessage | None:
        """Return the next message, or ``None`` at the end of the stream.

        The wait has no limit while the daemon responds to other calls.

        Raises:
            Unavailable: The daemon has stopped responding.
            ContainerdError: The call failed. The gRPC status determines the class of the error.
        """
        data = self.receive_bytes_patiently()
        return None if data is None else decode(self.method.response, data)

    def receive_bytes_patiently(self) -> bytes | bytearray | None:
        """Wait as ``receive_patiently`` does, but return the message in its encoded form."""
        while True:
            try:
                return self.receive_bytes(_MAX_SILENCE)
            except DeadlineExceeded:
                if self.raw.is_done:  # the deadline of the call has expired
                    raise
            self._service._check_liveness()

    def receive(self, timeout: float | None = None) -> DynamicMessage | None:
        """Return the next message, or ``None`` at the end of the stream.

        Args:
            timeout: Seconds to wait for the next message. Default: until the call's deadline.

        Raises:
            DeadlineExceeded: No message arrived within ``timeout``, or the deadline of the call
                has expired. The call continues after ``timeout``, but not after its deadline.
            ContainerdError: The call failed. The gRPC status determines the class of the error.
        """
        data = self.receive_bytes(timeout)
        return None if data is None else decode(self.method.response, data)

    def receive_bytes(self, timeout: float | None = None) -> bytes | bytearray | None:
        """Wait as ``receive`` does, but return the message in its encoded form."""
        try:
            return self.raw.receive(timeout)
        except Unimplemented as error:
            raise self._service._with_release_remedy(error, self.method) from error.__cause__
        except ContainerdError as error:
            raise translated(error) from error.__cause__

    def poll(self) -> DynamicMessage | None:
        """Return a message that has already arrived, or ``None``. Do not wait."""
        data = self.raw.poll()
        return None if data is None else decode(self.method.response, data)

    def close(self) -> None:
        """Cancel the call if it has not ended, and release its connection."""
        self.raw.close()

    def __iter__(self) -> Iterator[DynamicMessage]:
        while (message := self.receive()) is not None:
            yield message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<MessageStream {self.method.path[1:]} {'ended' if self.raw.is_done else 'open'}>"


def request_of(method: Method, fields: Fields) -> bytes:
    """Encode a request. Raise ``InvalidArgument`` if a value does not fit its field."""
    try:
        return encode(method.request(**fields))
    except _MISFITS as error:
        name, value = _wrong_field(method.request, fields)
        raise InvalidArgument(
            f"{name} cannot be {quoted(value)}",
            operation=operation(method.path),
            remedy="Pass valid Unicode text, and numbers within the ranges of their fields",
        ) from error


def _wrong_field(kind: type[DynamicMessage], fields: Fields) -> tuple[str, object]:
    """Return the name and the value of the first field whose value does not fit."""
    for name, value in fields.items():
        try:
            encode(kind(**{name: value}))
        except _MISFITS:
            message = kind.DESCRIPTOR.fields_by_name[name].message_type
            if isinstance(value, Mapping) and not message.GetOptions().map_entry:
                return _wrong_field(CONTAINERD.message(message.full_name), value)
            return name, value
    raise AssertionError("unreachable")


def current_lease(channel: Channel, namespace: str) -> str:
    """Return the id of the lease of the surrounding ``joined_lease`` block, or ``""``."""
    return _LEASES.get().get((channel.name, namespace), "")


def check_lease_id(id: str) -> None:
    """Raise ``InvalidArgument`` if a value cannot be the id of a lease."""
    if not isinstance(id, str) or not id:
        raise refused("id", id, "the id of a lease, as a string")


@contextmanager
def joined_lease(channel: Channel, namespace: str, lease: str) -> Iterator[None]:
    """Run the block, and send ``lease`` with every call to this daemon and namespace."""
    token = _LEASES.set({**_LEASES.get(), (channel.name, namespace): lease})
    try:
        yield
    finally:
        _LEASES.reset(token)
