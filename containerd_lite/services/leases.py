"""containerd.services.leases.v1: what garbage collection must leave alone, and how long."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from ..errors import Unimplemented
from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, dict_of
from ._base import Service, current_lease, joined_lease

#: RFC 3339 time after which garbage collection deletes the lease (docs/garbage-collection.md).
EXPIRE = "containerd.io/gc.expire"

_TYPES = "content, ingests and snapshots/<snapshotter>"


@record(frozen=True)
class Lease:
    """A lease; all that is written under it is kept until it is deleted or expires."""

    id: str
    created_at: datetime
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class Resource:
    """Something a lease holds: ``type`` is ``content``, ``ingests``, ``snapshots/<snapshotter>``
    or, since 2.0, ``images``; ``id`` its digest, ref, key or name."""

    id: str
    type: str


class LeaseService(Service):
    """The leases of a namespace."""

    _name = "containerd.services.leases.v1.Leases"

    @property
    def joined(self) -> str:
        """The id of the lease that the caller's block belongs to, ``""`` if there is none."""
        return current_lease(self._channel, self._context.namespace)

    def joining(self, id: str) -> AbstractContextManager[None]:
        """Within the block all calls to this namespace belong to the lease ``id``."""
        return joined_lease(self._channel, self._context.namespace, id)

    def create(self, id: str = "", labels: Mapping[str, str] | None = None) -> Lease:
        """``id`` ``""`` lets the daemon make one up.  Raises ``AlreadyExists``."""
        return _lease(self._call("Create", {"id": id, "labels": dict(labels or {})}).lease)

    def delete(self, id: str, *, sync: bool = False) -> None:
        """``sync`` collects garbage before it returns, since 1.2.  Raises ``NotFound``."""
        self._call("Delete", {"id": id, "sync": sync}, is_long=sync)

    def add_resource(self, id: str, resource: Resource) -> None:
        """Let the lease ``id`` hold ``resource`` too; again is no error.  Since 1.3.

        Raises ``NotFound`` for a lease that is not there, ``Unimplemented`` for a type of
        resource that the daemon does not know.
        """
        self._change("AddResource", id, resource)

    def delete_resource(self, id: str, resource: Resource) -> None:
        """Let the lease ``id`` hold ``resource`` no longer.  Since 1.3.

        Raises as ``add_resource``; a resource that it does not hold is no error.
        """
        self._change("DeleteResource", id, resource)

    def _change(self, method: str, id: str, resource: Resource) -> None:
        fields = {"id": id, "resource": {"id": resource.id, "type": resource.type}}
        try:
            self._call(method, fields)
        except Unimplemented as error:  # the type is what it does not have
            daemon = error.remedy.partition(";")[0]
            error.remedy = f"{daemon}; it holds {_TYPES}; images came with 2.0"
            raise

    def list_resources(self, id: str) -> list[Resource]:
        """What the lease ``id`` holds.  Since 1.3.  Raises ``NotFound``."""
        found = self._call("ListResources", {"id": id}).resources
        return [Resource(resource.id, resource.type) for resource in found]

    def list(self, *filters: str) -> list[Lease]:
        """The leases that match one of ``filters`` (``id``, ``labels``), all without any."""
        return [_lease(found) for found in self._call("List", {"filters": filters}).leases]


def _lease(message: DynamicMessage) -> Lease:
    return Lease(message.id, datetime_of(message.created_at), dict_of(message.labels))
