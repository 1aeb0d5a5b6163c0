"""The base of all services: call metadata, deadlines, messages and errors.

``CallContext`` has the options of a call. ``Service`` makes the calls. ``joined_lease`` sets the
lease that calls belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from ..errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    Unavailable,
    Unimplemented,
)
from ..oci.document import quoted
from ..records import record, replace
from ..schema.pool import CONTAINERD, DynamicMessage, Method, decode, encode
from ..transport.channel import Channel
from ..transport.stream import Stream, operation
from ._status import translated
from .since import lacking

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds to wait for the daemon's version after a call has failed.
_VERSION_TIMEOUT = 5.0
#: For calls that may take any time: seconds without a message after which the daemon is checked,
#: and seconds that it has to answer this check.
_MAX_SILENCE, _LIVENESS_TIMEOUT = 30.0, 30.0
_Metadata = tuple[tuple[str, str], ...]
#: The fields of a request by their names; a nested message is a dict.
Fields = Mapping[str, object]


@record(frozen=True)
class CallContext:
    """The options of each call: namespace, lease and deadlines.

    Attributes:
        namespace: The containerd namespace that the calls are for.
        lease: Id of the lease that the calls belong to. Default: the lease of the caller's block.
        timeout: Deadline in seconds of calls that only touch metadata.
        long_timeout: Deadline in seconds of calls that move content or wait for something.
            Default: none, because a deadline that expires during a mount or a commit aborts it.
        wait_for_ready: Whether calls wait for a daemon that cannot be reached.
    """

    namespace: str = "default"
    lease: str = ""
    timeout: float | None = 60.0
    long_timeout: float | None = None
    wait_for_ready: bool = False

    @cached_property
    def metadata(self) -> _Metadata:
        """The metadata that names the namespace and the lease."""
        metadata: _Metadata = (("containerd-namespace", self.namespace),)
        return (*metadata, ("containerd-lease", self.lease)) if self.lease else metadata


#: The lease that calls belong to, by daemon and namespace. ``Workers`` copy the context, so their
#: threads use the same lease.
_LEASES: ContextVar[Mapping[tuple[str, str], str]] = ContextVar("leases", default={})  # noqa: B039


class Service:
    """A service of one daemon, called with the options of a ``CallContext``.

    It is cheap to make, and threads may share it.
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

        Options that are not given stay as they are.

        Args:
            timeout: Deadline in seconds of every call, also of calls that have none by default.
            wait_for_ready: Whether calls wait for a daemon that cannot be reached.
            namespace: The namespace that the calls are for.
            lease: Id of the lease that the calls belong to.
        """
        context = self._context
        if timeout is not None:
            context = replace(context, timeout=timeout, long_timeout=timeout)
        if wait_for_ready is not None:
            context = replace(context, wait_for_ready=wait_for_ready)
        if namespace is not None:
            context = replace(context, namespace=namespace)
        if lease is not None:
            context = replace(context, lease=lease)
        service = copy(self)
        service._context = context
        return service

    @property
    def identity(self) -> tuple[str, str]:
        """The daemon's address and the namespace."""
        return self._channel.name, self._context.namespace

    def _metadata(self) -> _Metadata:
        """Return the context's metadata, with the caller's lease if the context has none."""
        context = self._context
        if context.lease or not _LEASES.get():
            return context.metadata
        lease = current_lease(self._channel, context.namespace)
        return (*context.metadata, ("containerd-lease", lease)) if lease else context.metadata

    def _call(
        self, name: str, fields: Fields | None = None, *, is_long: bool = False
    ) -> DynamicMessage:
        """Make a unary call and return the response.

        An ``is_long`` call may take any time: it has the deadline ``long_timeout`` and a
        connection of its own.
        """
        method = CONTAINERD.method(f"{self._name}/{name}")
        return self._exchange(method, request_of(method, fields) if fields else b"", is_long)

    def _exchange(self, method: Method, request: bytes, is_long: bool) -> DynamicMessage:
        """Send an encoded request and return the decoded response."""
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
            raise self._explained(error, method) from error.__cause__
        except ContainerdError as error:
            raise translated(error) from error.__cause__
        return decode(method.response, response)

    def _explained(self, error: Unimplemented, method: Method) -> ContainerdError:
        """Return the error; its remedy names the daemon's version, and one with the method."""
        version = CONTAINERD.method("containerd.services.version.v1.Version/Version")
        try:
            response = self._channel.unary(version.path, timeout=_VERSION_TIMEOUT)
            daemon = str(decode(version.response, response).version)
        except ContainerdError:
            daemon = ""
        error.remedy = lacking(method.path[1:], daemon)
        return translated(error)

    def _stream(self, name: str, fields: Fields | None = None) -> MessageStream:
        """Begin a streaming call; ``fields``, if given, are those of its only request."""
        method = CONTAINERD.method(f"{self._name}/{name}")
        return self._begin(method, None if fields is None else request_of(method, fields))

    def _begin(self, method: Method, message: bytes | None) -> MessageStream:
        """Begin a streaming call; ``message``, if given, is its only request."""
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
        """Raise ``Unavailable`` if the daemon does not answer a request for its version."""
        method = CONTAINERD.method("containerd.services.version.v1.Version/Version")
        try:
            self._channel.unary(method.path, timeout=_LIVENESS_TIMEOUT)
        except DeadlineExceeded as error:
            raise Unavailable(
                f"the daemon has been silent for {_MAX_SILENCE + _LIVENESS_TIMEOUT:.0f} s, and "
                "does not answer other calls either",
                address=self._channel.name,
                remedy="Check whether the daemon is stopped or its disk hangs",
            ) from error

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<{kind} {self._channel.name} namespace={self._context.namespace}>"


class MessageStream:
    """A streaming call of protobuf messages; an iterator and a context manager.

    It iterates over the responses. Leaving the ``with`` block closes it.

    Attributes:
        raw: The stream of bytes below it, with the call's metadata.
        method: The method that is called.
    """

    def __init__(self, stream: Stream, method: Method, service: Service) -> None:
        self.raw = stream
        self.method = method
        self._service = service

    def send(self, fields: Fields, *, last: bool = False) -> None:
        """Send one request.

        Args:
            fields: The fields of the request.
            last: Whether no request follows this one.

        Raises:
            InvalidArgument: The message cannot hold one of the values.
        """
        self.raw.send(request_of(self.method, fields), last=last)

    def receive_patiently(self) -> DynamicMessage | None:
        """Return the next message, or ``None`` at the end of the stream.

        Wait for as long as the daemon answers other calls.

        Raises:
            Unavailable: The daemon has stopped answering.
            ContainerdError: The call failed; the class is that of its status.
        """
        data = self.patient_bytes()
        return None if data is None else decode(self.method.response, data)

    def patient_bytes(self) -> bytes | bytearray | None:
        """Return the next message undecoded, and wait as ``receive_patiently`` does."""
        while True:
            try:
                return self.receive_bytes(_MAX_SILENCE)
            except DeadlineExceeded:
                if self.raw.is_done:  # the call's own deadline has expired
                    raise
            self._service._check_liveness()

    def receive(self, timeout: float | None = None) -> DynamicMessage | None:
        """Return the next message, or ``None`` at the end of the stream.

        Args:
            timeout: Seconds to wait for this message. Default: until the call's deadline.

        Raises:
            DeadlineExceeded: No message arrived in time. After ``timeout`` the call continues;
                after the call's own deadline it has ended.
            ContainerdError: The call failed; the class is that of its status.
        """
        data = self.receive_bytes(timeout)
        return None if data is None else decode(self.method.response, data)

    def receive_bytes(self, timeout: float | None = None) -> bytes | bytearray | None:
        """Return the next message undecoded, as ``receive`` does."""
        try:
            return self.raw.receive(timeout)
        except Unimplemented as error:
            raise self._service._explained(error, self.method) from error.__cause__
        except ContainerdError as error:
            raise translated(error) from error.__cause__

    def poll(self) -> DynamicMessage | None:
        """Return a message that has already arrived, or ``None``, without waiting."""
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


def request_of(method: Method, fields: Fields) -> bytes:
    """Encode a request. Raise ``InvalidArgument`` if the message cannot hold a value."""
    try:
        return encode(method.request(**fields))
    except ValueError as error:
        text = quoted(error.object) if isinstance(error, UnicodeEncodeError) else ""
        raise InvalidArgument(
            f"{text} is not valid Unicode text" if text else str(error),
            operation=operation(method.path),
            remedy="Pass Unicode text, and numbers within the range of their fields",
        ) from error


def current_lease(channel: Channel, namespace: str) -> str:
    """Return the id of the lease that the caller's calls belong to, or ``""``."""
    return _LEASES.get().get((channel.name, namespace), "")


@contextmanager
def joined_lease(channel: Channel, namespace: str, lease: str) -> Iterator[None]:
    """Make calls to this daemon and namespace belong to ``lease`` within the block."""
    token = _LEASES.set({**_LEASES.get(), (channel.name, namespace): lease})
    try:
        yield
    finally:
        _LEASES.reset(token)
