"""Calls methods by their names, without the typed services.

A method can come from any descriptor set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..arguments import check_instance
from ..errors import InvalidArgument
from ..schema.plain import fill
from ..schema.pool import CONTAINERD, DynamicMessage, Method, Schema, encode
from ..transport.channel import Channel
from ._base import CallContext, MessageStream, Service

#: A request: a message of the schema, or a mapping from the names of its fields to their values.
Request = DynamicMessage | Mapping[str, object] | None


class RawService(Service):
    """Calls methods by name, with the client's namespace, lease and deadlines.

    Args:
        channel: The channel to the daemon.
        context: The options of the calls.
        schema: The schema with the methods. Default: containerd's schema.
    """

    def __init__(
        self, channel: Channel, context: CallContext, schema: Schema | None = None
    ) -> None:
        super().__init__(channel, context)
        self.schema = CONTAINERD if schema is None else schema
        check_instance("schema", self.schema, Schema, "what schema.load returned")

    def any(self, name: str, request: Request = None) -> DynamicMessage:
        """Call a method: with ``call`` if it is unary, else with ``stream``.

        Args:
            name: The full name of the method, ``package.Service/Method``.
            request: The request, or its fields. For the default, see ``call`` and ``stream``.

        Returns:
            The response of a unary method, or the ``MessageStream`` of a streaming method.

        Raises:
            InvalidArgument: The schema lacks the method or a field.
        """
        method = self.schema.method(name)
        is_streaming = method.client_streaming or method.server_streaming
        return self.stream(name, request) if is_streaming else self.call(name, request)

    def call(self, name: str, request: Request = None) -> DynamicMessage:
        """Make a unary call and return the response.

        Args:
            name: The full name of the method, ``package.Service/Method``.
            request: The request, or its fields. Default: an empty request.

        Raises:
            InvalidArgument: The method is a streaming method. This error is also raised if the
                schema lacks the method or a field. The remedy then lists the existing methods or
                fields.
        """
        method = self.schema.method(name)
        if method.client_streaming or method.server_streaming:
            raise InvalidArgument(f"{name} is a streaming method", remedy="Call it with stream()")
        return self._unary(method, encode(self._message(method, request)), False)

    def stream(self, name: str, request: Request = None) -> MessageStream:
        """Begin a streaming call.

        Args:
            name: The full name of the method, ``package.Service/Method``.
            request: The only request of the call, or the fields of this request. Default: an empty
                request. If the method takes a stream of requests, the default is to send no
                request. The caller then sends requests with ``MessageStream.send``.

        Returns:
            The call, which is an iterator over the responses and a context manager.

        Raises:
            InvalidArgument: The method is a unary method. This error is also raised if the schema
                lacks the method or a field. The remedy then lists the existing methods or fields.
        """
        method = self.schema.method(name)
        if not method.client_streaming and not method.server_streaming:
            raise InvalidArgument(f"{name} is a unary method", remedy="Call it with call()")
        if method.client_streaming and request is None:
            return self._begin_stream(method, None)
        return self._begin_stream(method, encode(self._message(method, request)))

    def _message(self, method: Method, request: Request) -> DynamicMessage:
        if request is not None and not isinstance(request, Mapping):
            if not isinstance(request, method.request):
                raise InvalidArgument(
                    f"{method.path[1:]} takes a {method.request.DESCRIPTOR.full_name} "
                    f"of this schema, or a mapping of its fields, not {type(request).__name__}",
                    remedy="Pass request={'FIELD': VALUE}",
                )
            return request
        return fill(self.schema, method.request, request or {})


class Stub:
    """A gRPC service whose methods can be called as Python methods.

    Each method takes a message, a mapping, or fields as keyword arguments. A unary method returns
    the response. A streaming method returns a ``MessageStream``.

    Args:
        raw: The ``RawService`` that makes the calls.
        service: The full name of the service, ``package.Service``.

    Raises:
        InvalidArgument: The schema lacks the service.
    """

    def __init__(self, raw: RawService, service: str) -> None:
        self._raw = raw
        self._service = service
        self._methods = frozenset(raw.schema.methods(service))

    def __getattr__(self, name: str) -> StubMethod:
        if name not in self._methods:
            names = ", ".join(sorted(self._methods))
            raise AttributeError(f"{self._service} has no method {name!r}; it has: {names}")
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
        """Call the method.

        Args:
            request: The request, as a message or a mapping of its fields.
            **fields: The fields of the request, instead of ``request``.

        Returns:
            The response of a unary method, or the ``MessageStream`` of a streaming method.

        Raises:
            InvalidArgument: ``request`` and ``fields`` are both given, or a field does not exist.
        """
        if fields and request is not None:
            raise InvalidArgument(
                "both a request and keyword fields are given", remedy="Pass only one of them"
            )
        return self._raw.any(self._name, fields or request)

    def __repr__(self) -> str:
        return f"<StubMethod {self._name}>"
