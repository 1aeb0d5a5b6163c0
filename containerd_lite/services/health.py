"""The gRPC health service, grpc.health.v1, which reports whether the daemon serves requests."""

from __future__ import annotations

from collections.abc import Iterator

from ._base import MessageStream, Service

_STATUS_NAMES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class HealthService(Service):
    """gRPC's health service, which containerd serves together with its own services.

    A status is ``UNKNOWN``, ``SERVING``, ``NOT_SERVING`` or ``SERVICE_UNKNOWN`` (health.proto).
    containerd has only the status of the whole server, whose service name is ``""``.
    """

    _name = "grpc.health.v1.Health"

    def check(self, service: str = "") -> str:
        """Return the status of a service.

        Args:
            service: The full name of the service. Default: the whole server.

        Raises:
            NotFound: The daemon has no status for this service.
        """
        return _status_name(self._call("Check", {"service": service}).status)

    def watch(self, service: str = "") -> HealthWatch:
        """Stream the status of a service: its current status, and then each change.

        The status is ``SERVICE_UNKNOWN`` while the daemon has no status for this service.

        Args:
            service: The full name of the service. Default: the whole server.
        """
        return HealthWatch(self._stream("Watch", {"service": service}))

    def list(self) -> dict[str, str]:
        """Return the status of each service, by the service's name. Since 2.1.

        Raises:
            Unimplemented: The daemon is older than 2.1.
        """
        found = self._call("List").statuses
        return {service: _status_name(found[service].status) for service in found}


class HealthWatch:
    """A stream of statuses: an iterator and a context manager.

    Any thread may call ``close``. A thread that is waiting for a status then gets ``Cancelled``.
    """

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        response = self._stream.receive()
        if response is None:
            raise StopIteration
        return _status_name(response.status)

    def close(self) -> None:
        """End the stream, and release its connection."""
        self._stream.close()

    def __enter__(self) -> HealthWatch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HealthWatch {self._stream!r}>"


def _status_name(number: int) -> str:
    return _STATUS_NAMES[number] if 0 <= number < len(_STATUS_NAMES) else f"STATUS_{number}"
