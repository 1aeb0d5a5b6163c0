"""What every service does alike: metadata, deadlines, messages, errors.

What lives here: ``CallContext``, the current lease, status → exception, and ``Service``.  What
may not: any one service.
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

#: How long to ask the daemon for its version, when a call has failed already (seconds).
_QUICK = 5.0
#: Of a call that may rightly take any time: after how much silence (seconds) the daemon is asked
#: for a sign of life, and how long it may take to give it.
_SILENCE, _SIGN_OF_LIFE = 30.0, 30.0
_Metadata = tuple[tuple[str, str], ...]
#: What a request's fields are made of; nested messages are dicts.
Fields = Mapping[str, object]


@record(frozen=True)
class CallContext:
    """What goes with each call: namespace, lease, and how long it may take.

    ``timeout`` in seconds is the deadline of calls that only touch metadata; ``long_timeout`` that
    of calls which move content or wait for something, none unless asked for: a deadline that
    passes in the middle of a mount or a commit aborts it there.
    """

    namespace: str = "default"
    lease: str = ""
    timeout: float | None = 60.0
    long_timeout: float | None = None
    wait_for_ready: bool = False

    @cached_property
    def metadata(self) -> _Metadata:
        metadata: _Metadata = (("containerd-namespace", self.namespace),)
        return (*metadata, ("containerd-lease", self.lease)) if self.lease else metadata


#: The lease that calls join, by daemon and namespace; threads of the pipeline copy the context.
_LEASES: ContextVar[Mapping[tuple[str, str], str]] = ContextVar("leases", default={})  # noqa: B039


class Service:
    """A service of one daemon, seen through a ``CallContext``; cheap to make, safe to share."""

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
        """This service with other call options; what is not given stays.

        ``timeout`` in seconds bounds every call, those that have no deadline of their own too.
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
        other = copy(self)
        other._context = context
        return other

    @property
    def identity(self) -> tuple[str, str]:
        """The daemon's address and the namespace."""
        return self._channel.name, self._context.namespace

    def _metadata(self) -> _Metadata:
        """The context's, and the lease that the caller has joined, unless there is one in it."""
        context = self._context
        if context.lease or not _LEASES.get():
            return context.metadata
        lease = current_lease(self._channel, context.namespace)
        return (*context.metadata, ("containerd-lease", lease)) if lease else context.metadata

    def _call(
        self, name: str, fields: Fields | None = None, *, is_long: bool = False
    ) -> DynamicMessage:
        """One unary RPC; ``is_long`` for those that may rightly take any time."""
        method = CONTAINERD.method(f"{self._name}/{name}")
        return self._exchange(method, request_of(method, fields) if fields else b"", is_long)

    def _exchange(self, method: Method, request: bytes, is_long: bool) -> DynamicMessage:
        context = self._context
        try:
            reply = self._channel.unary(
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
        return decode(method.response, reply)

    def _explained(self, error: Unimplemented, method: Method) -> ContainerdError:
        """With which daemon this is, and which one has the method."""
        version = CONTAINERD.method("containerd.services.version.v1.Version/Version")
        try:
            reply = self._channel.unary(version.path, timeout=_QUICK)
            daemon = str(decode(version.response, reply).version)
        except ContainerdError:
            daemon = ""
        error.remedy = lacking(method.path[1:], daemon)
        return translated(error)

    def _stream(self, name: str, fields: Fields | None = None) -> MessageStream:
        """A streaming RPC; with ``fields`` they are its only request."""
        method = CONTAINERD.method(f"{self._name}/{name}")
        return self._begin(method, None if fields is None else request_of(method, fields))

    def _begin(self, method: Method, message: bytes | None) -> MessageStream:
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

    def _expect_life(self) -> None:
        """Raises ``Unavailable`` for a daemon that does not even tell its version."""
        method = CONTAINERD.method("containerd.services.version.v1.Version/Version")
        try:
            self._channel.unary(method.path, timeout=_SIGN_OF_LIFE)
        except DeadlineExceeded as error:
            raise Unavailable(
                f"the daemon has been silent for {_SILENCE + _SIGN_OF_LIFE:.0f} s, and does not "
                "answer other calls either",
                address=self._channel.name,
                remedy="Is it stopped, or its disk stuck?",
            ) from error

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<{kind} {self._channel.name} namespace={self._context.namespace}>"


class MessageStream:
    """A stream of messages instead of bytes; a context manager and an iterator."""

    def __init__(self, stream: Stream, method: Method, service: Service) -> None:
        self.raw = stream
        self.method = method
        self._service = service

    def send(self, fields: Fields, *, last: bool = False) -> None:
        self.raw.send(request_of(self.method, fields), last=last)

    def receive_patiently(self) -> DynamicMessage | None:
        """As ``receive``, for as long as the daemon shows signs of life.

        Raises ``Unavailable`` where it does not.
        """
        data = self.patient_bytes()
        return None if data is None else decode(self.method.response, data)

    def patient_bytes(self) -> bytes | bytearray | None:
        """The next message as it came, waited for as ``receive_patiently`` does."""
        while True:
            try:
                return self.receive_bytes(_SILENCE)
            except DeadlineExceeded:
                if self.raw.is_done:  # its own deadline has passed
                    raise
            self._service._expect_life()

    def receive(self, timeout: float | None = None) -> DynamicMessage | None:
        """The next message, ``None`` at the end; errors as ``transport.Stream.receive`` has."""
        data = self.receive_bytes(timeout)
        return None if data is None else decode(self.method.response, data)

    def receive_bytes(self, timeout: float | None = None) -> bytes | bytearray | None:
        """The next message as it came."""
        try:
            return self.raw.receive(timeout)
        except Unimplemented as error:
            raise self._service._explained(error, self.method) from error.__cause__
        except ContainerdError as error:
            raise translated(error) from error.__cause__

    def poll(self) -> DynamicMessage | None:
        data = self.raw.poll()
        return None if data is None else decode(self.method.response, data)

    def close(self) -> None:
        self.raw.close()

    def __iter__(self) -> Iterator[DynamicMessage]:
        while (message := self.receive()) is not None:
            yield message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def request_of(method: Method, fields: Fields) -> bytes:
    """A request as it is sent.  Raises ``InvalidArgument`` for values that no message can hold."""
    try:
        return encode(method.request(**fields))
    except ValueError as error:
        text = quoted(error.object) if isinstance(error, UnicodeEncodeError) else ""
        raise InvalidArgument(
            f"{text} is no Unicode text" if text else str(error),
            operation=operation(method.path),
            remedy="Give Unicode text, and numbers in their bounds",
        ) from error


def current_lease(channel: Channel, namespace: str) -> str:
    """The id of the lease that this context's calls belong to, ``""`` if there is none."""
    return _LEASES.get().get((channel.name, namespace), "")


@contextmanager
def joined_lease(channel: Channel, namespace: str, lease: str) -> Iterator[None]:
    """Within the block, calls to this daemon and namespace belong to ``lease``."""
    token = _LEASES.set({**_LEASES.get(), (channel.name, namespace): lease})
    try:
        yield
    finally:
        _LEASES.reset(token)
