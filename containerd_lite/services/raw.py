"""The way past the typed services: any method of any descriptor set, by its name.

What lives here: ``Stub`` and its methods.  What may not: what any one service means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..errors import InvalidArgument
from ..schema.plain import fill
from ..schema.pool import CONTAINERD, DynamicMessage, Method, Schema, encode
from ..transport.channel import Channel
from ._base import CallContext, MessageStream, Service

#: A request: a message of the schema's, or its fields.
Request = DynamicMessage | Mapping[str, object] | None


class RawService(Service):
    """Calls methods by name; the client's namespace, lease and deadlines go with them."""

    def __init__(
        self, channel: Channel, context: CallContext, schema: Schema | None = None
    ) -> None:
        super().__init__(channel, context)
        self.schema = schema or CONTAINERD

    def any(self, name: str, request: Request = None) -> DynamicMessage:
        """Whichever of ``call`` and ``stream`` the method is for: a response, or a stream."""
        method = self.schema.method(name)
        is_streaming = method.client_streaming or method.server_streaming
        return self.stream(name, request) if is_streaming else self.call(name, request)

    def call(self, name: str, request: Request = None) -> DynamicMessage:
        """A unary call of ``package.Service/Method``; returns the response.

        Raises ``InvalidArgument`` for a method or a field that is not there, with those that are,
        and for a method that is no unary one.
        """
        method = self.schema.method(name)
        if method.client_streaming or method.server_streaming:
            raise InvalidArgument(f"{name} is a streaming call", remedy="stream() begins it")
        return self._exchange(method, encode(self._message(method, request)), False)

    def stream(self, name: str, request: Request = None) -> MessageStream:
        """Begin a streaming call: a context manager and an iterator of responses.

        ``request`` is the only one, if it is given; without it, ``send`` some.  Errors as ``call``.
        """
        method = self.schema.method(name)
        if not method.client_streaming and not method.server_streaming:
            raise InvalidArgument(f"{name} is a unary call", remedy="call() makes it")
        if method.client_streaming and request is None:
            return self._begin(method, None)
        return self._begin(method, encode(self._message(method, request)))

    def _message(self, method: Method, request: Request) -> DynamicMessage:
        if request is not None and not isinstance(request, Mapping):
            if not isinstance(request, method.request):
                raise InvalidArgument(
                    f"{method.path[1:]} takes a {method.request.DESCRIPTOR.full_name} "
                    f"of this schema, or a mapping of its fields, not {type(request).__name__}"
                )
            return request
        return fill(self.schema, method.request, request or {})


class Stub:
    """One service, whose methods are those of the descriptor set.

    A method takes a message or a mapping, or fields as keyword arguments, and returns the
    response; a streaming one, a ``MessageStream``.
    """

    def __init__(self, raw: RawService, service: str) -> None:
        """Raises ``InvalidArgument`` for a service that the schema does not have."""
        self._raw = raw
        self._service = service
        self._methods = frozenset(raw.schema.methods(service))

    def __getattr__(self, name: str) -> StubMethod:
        if name not in self._methods:
            there = ", ".join(sorted(self._methods))
            raise AttributeError(f"{self._service} has no method {name!r}; there are: {there}")
        return StubMethod(self._raw, f"{self._service}/{name}")

    def __dir__(self) -> Iterator[str]:
        yield from self._methods

    def __repr__(self) -> str:
        return f"<Stub {self._service}>"


class StubMethod:
    """A method of a ``Stub``."""

    def __init__(self, raw: RawService, name: str) -> None:
        self._raw = raw
        self._name = name

    def __call__(self, request: Request = None, /, **fields: object) -> DynamicMessage:
        """Call it with a message, a mapping, or fields: all keywords are the request's.

        Returns the response, a message, or a ``MessageStream`` of such.
        """
        if fields and request is not None:
            raise InvalidArgument("a request and fields of one", remedy="Give one of the two")
        return self._raw.any(self._name, fields or request)

    def __repr__(self) -> str:
        return f"<StubMethod {self._name}>"
