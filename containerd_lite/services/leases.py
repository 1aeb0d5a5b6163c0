"""The leases service, containerd.services.leases.v1.

A lease protects resources from garbage collection for a limited time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from ..errors import Unimplemented
from ..oci.image_record import EXPIRE as EXPIRE
from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, dict_of
from ._base import Service, check_lease_id, current_lease, joined_lease

#: The resource types that all daemons know.
_RESOURCE_TYPES = "content, ingests and snapshots/<snapshotter>"


@record(frozen=True)
class Lease:
    """A lease, which protects everything that was written under it.

    The protection ends when the lease is deleted or expires.
    """

    id: str
    created_at: datetime
    labels: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class Resource:
    """A resource that a lease protects.

    Attributes:
        id: The digest of content, the ref of an ingest, the key of a snapshot, or the name of an
            image.
        type: ``content``, ``ingests``, ``snapshots/<snapshotter>`` or, since 2.0, ``images``.
    """

    id: str
    type: str


class LeaseService(Service):
    """The leases of a namespace."""

    _name = "containerd.services.leases.v1.Leases"

    @property
    def joined(self) -> str:
        """The id of the lease of the surrounding ``joining`` block, or ``""``."""
        return current_lease(self._channel, self._context.namespace)

    def joining(self, id: str) -> AbstractContextManager[None]:
        """Return a context manager. The calls within its block use the lease ``id``.

        If one of these calls creates a resource, the daemon adds the resource to the lease. Calls
        to other daemons or namespaces do not use the lease. The block neither renews nor deletes
        the lease. Calls of the block raise ``NotFound`` if the lease does not exist.

        Args:
            id: The id of the lease.

        Raises:
            InvalidArgument: ``id`` is not a string or is empty.
        """
        check_lease_id(id)
        return joined_lease(self._channel, self._context.namespace, id)

    def create(self, id: str = "", labels: Mapping[str, str] | None = None) -> Lease:
        """Create a lease.

        Args:
            id: The id of the lease. Default: the daemon chooses an id.
            labels: The labels of the lease. The label ``EXPIRE`` sets the time at which the lease
                expires; ``lifetimes.expires`` returns this label.

        Raises:
            AlreadyExists: A lease with this id exists.
        """
        return _lease(self._call("Create", {"id": id, "labels": dict(labels or {})}).lease)

    def delete(self, id: str, *, sync: bool = False) -> None:
        """Delete a lease.

        Args:
            id: The id of the lease.
            sync: Whether to wait until the daemon has collected garbage. Since 1.2.

        Raises:
            NotFound: The lease does not exist.
        """
        self._call("Delete", {"id": id, "sync": sync}, is_long=sync)

    def add_resource(self, id: str, resource: Resource) -> None:
        """Add a resource to a lease, unless the lease already has the resource. Since 1.3.

        Args:
            id: The id of the lease.
            resource: The resource.

        Raises:
            NotFound: The lease does not exist.
            Unimplemented: The daemon does not know the type of the resource.
        """
        self._change_resource("AddResource", id, resource)

    def delete_resource(self, id: str, resource: Resource) -> None:
        """Remove a resource from a lease, if the lease has the resource. Since 1.3.

        Args:
            id: The id of the lease.
            resource: The resource.

        Raises:
            NotFound: The lease does not exist.
            Unimplemented: The daemon does not know the type of the resource.
        """
        self._change_resource("DeleteResource", id, resource)

    def _change_resource(self, method: str, id: str, resource: Resource) -> None:
        fields = {"id": id, "resource": {"id": resource.id, "type": resource.type}}
        try:
            self._call(method, fields)
        except Unimplemented as error:  # the daemon lacks the type, not the method
            daemon = error.remedy.partition(";")[0]
            error.remedy = (
                f"{daemon}; all daemons know the resource types {_RESOURCE_TYPES}; "
                "the type images came with 2.0"
            )
            raise

    def list_resources(self, id: str) -> list[Resource]:
        """Return the resources of a lease. Since 1.3.

        Args:
            id: The id of the lease.

        Raises:
            NotFound: The lease does not exist.
        """
        found = self._call("ListResources", {"id": id}).resources
        return [Resource(resource.id, resource.type) for resource in found]

    def list(self, *filters: str) -> list[Lease]:
        """Return the leases of the namespace.

        Args:
            filters: Only leases that match one of these filters on ``id`` or ``labels``. Default:
                all leases.
        """
        return [_lease(lease) for lease in self._call("List", {"filters": filters}).leases]


def _lease(message: DynamicMessage) -> Lease:
    return Lease(message.id, datetime_of(message.created_at), dict_of(message.labels))
