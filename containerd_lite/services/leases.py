"""containerd.services.leases.v1: what garbage collection must leave alone, and how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of
from ._base import Service

#: RFC 3339 time after which garbage collection deletes the lease (docs/garbage-collection.md).
EXPIRE = "containerd.io/gc.expire"


@dataclass(frozen=True)
class Lease:
    """A lease; all that is written under it is kept until it is deleted or expires."""

    id: str
    created_at: datetime
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Resource:
    """Something a lease holds: ``type`` is ``content``, ``ingests``, ``images`` or
    ``snapshots/<snapshotter>``; ``id`` its digest, ref, name or key."""

    id: str
    type: str


class LeaseService(Service):
    """The leases of a namespace."""

    _name = "containerd.services.leases.v1.Leases"

    def create(self, id: str, labels: Mapping[str, str] | None = None) -> Lease:
        """Raises ``AlreadyExists``."""
        return _lease(self._call("Create", {"id": id, "labels": dict(labels or {})}).lease)

    def delete(self, id: str, *, sync: bool = False) -> None:
        """``sync`` collects garbage before it returns.  Raises ``NotFound``."""
        self._call("Delete", {"id": id, "sync": sync}, is_long=sync)

    def add_resource(self, id: str, resource: Resource) -> None:
        fields = {"id": id, "resource": {"id": resource.id, "type": resource.type}}
        self._call("AddResource", fields)

    def delete_resource(self, id: str, resource: Resource) -> None:
        fields = {"id": id, "resource": {"id": resource.id, "type": resource.type}}
        self._call("DeleteResource", fields)

    def list_resources(self, id: str) -> list[Resource]:
        found = self._call("ListResources", {"id": id}).resources
        return [Resource(resource.id, resource.type) for resource in found]

    def list(self, *filters: str) -> list[Lease]:
        return [_lease(found) for found in self._call("List", {"filters": filters}).leases]


def _lease(message: DynamicMessage) -> Lease:
    return Lease(message.id, datetime_of(message.created_at), dict(message.labels))
