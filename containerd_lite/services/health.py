"""grpc.health.v1: whether the daemon serves."""

from __future__ import annotations

from ._base import Service

_STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


class HealthService(Service):
    """gRPC's health service, which containerd serves beside its own."""

    _name = "grpc.health.v1.Health"

    def check(self, service: str = "") -> str:
        """``UNKNOWN``, ``SERVING``, ``NOT_SERVING`` or ``SERVICE_UNKNOWN`` (health.proto)."""
        status = self._call("Check", {"service": service}).status
        return _STATUS[status] if 0 <= status < len(_STATUS) else f"STATUS_{status}"
