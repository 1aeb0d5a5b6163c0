"""grpc.health.v1: whether the daemon serves."""

from __future__ import annotations

from collections.abc import Iterator

from ._base import MessageStream, Service

_STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class HealthService(Service):
    """gRPC's health service, which containerd serves beside its own.

    A status is ``UNKNOWN``, ``SERVING``, ``NOT_SERVING`` or ``SERVICE_UNKNOWN`` (health.proto);
    containerd tells one of the server as a whole alone, the service ``""``.
    """

    _name = "grpc.health.v1.Health"

    def check(self, service: str = "") -> str:
        """The status of a service.  Raises ``NotFound`` for one of which nothing is told."""
        return _status(self._call("Check", {"service": service}).status)

    def watch(self, service: str = "") -> HealthWatch:
        """The status now, and again whenever it changes; ``SERVICE_UNKNOWN`` for a service of
        which nothing is told yet."""
        return HealthWatch(self._stream("Watch", {"service": service}))

    def list(self) -> dict[str, str]:
        """The statuses by service; since 2.1."""
        found = self._call("List").statuses
        return {service: _status(found[service].status) for service in found}


class HealthWatch:
    """One ``Watch``: an iterator of statuses, and a context manager.

    It ends when ``close`` is called, which any thread may; then whoever waits for it gets
    ``Cancelled``.
    """

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        reply = self._stream.receive()
        if reply is None:
            raise StopIteration
        return _status(reply.status)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> HealthWatch:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _status(number: int) -> str:
    return _STATUS[number] if 0 <= number < len(_STATUS) else f"STATUS_{number}"
