"""The services of one daemon, as one namespace sees them.

What lives here: ``Services``, which hands them out.  What may not: images, containers, policy
beyond the namespace's own defaults.

A service's file is imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..transport.channel import Channel
from ._base import CallContext

if TYPE_CHECKING:
    from ..schema.pool import DynamicMessage, Schema
    from .capabilities import Capabilities
    from .containers import ContainerService
    from .diff import DiffService
    from .events import EventService
    from .health import HealthService
    from .images import ImageService
    from .introspection import IntrospectionService, Server
    from .leases import LeaseService
    from .mounts import MountService
    from .namespaces import NamespaceService
    from .raw import RawService, Stub
    from .sandboxes import SandboxController, SandboxStore
    from .snapshots import SnapshotService
    from .streaming import StreamingService
    from .subscription import EventStream
    from .tasks import TaskService
    from .transfer import TransferService
    from .version import VersionService

_DEFAULTS = "containerd.io/defaults/"
_SNAPSHOTTER = "overlayfs"


class Services:
    """Each service by a property; what one needs is loaded when it is first used."""

    def __init__(
        self, channel: Channel, context: CallContext, snapshotter: str | None = None
    ) -> None:
        self._channel = channel
        self._context = context
        self._snapshotter = snapshotter

    @property
    def namespace_service(self) -> NamespaceService:
        from .namespaces import NamespaceService

        return NamespaceService(self._channel, self._context)

    @property
    def container_service(self) -> ContainerService:
        from .containers import ContainerService

        return ContainerService(self._channel, self._context)

    @property
    def image_service(self) -> ImageService:
        from .images import ImageService

        return ImageService(self._channel, self._context)

    @property
    def task_service(self) -> TaskService:
        from .tasks import TaskService

        return TaskService(self._channel, self._context)

    @property
    def diff_service(self) -> DiffService:
        from .diff import DiffService

        return DiffService(self._channel, self._context)

    @property
    def health_service(self) -> HealthService:
        from .health import HealthService

        return HealthService(self._channel, self._context)

    @property
    def event_service(self) -> EventService:
        from .events import EventService

        return EventService(self._channel, self._context)

    @property
    def version_service(self) -> VersionService:
        from .version import VersionService

        return VersionService(self._channel, self._context)

    @property
    def lease_service(self) -> LeaseService:
        from .leases import LeaseService

        return LeaseService(self._channel, self._context)

    @property
    def introspection_service(self) -> IntrospectionService:
        from .introspection import IntrospectionService

        return IntrospectionService(self._channel, self._context)

    @property
    def sandbox_store(self) -> SandboxStore:
        """What sandboxes there are; since 1.7."""
        from .sandboxes import SandboxStore

        return SandboxStore(self._channel, self._context)

    @property
    def sandbox_controller(self) -> SandboxController:
        """What runs sandboxes; since 1.7."""
        from .sandboxes import SandboxController

        return SandboxController(self._channel, self._context)

    @property
    def streaming_service(self) -> StreamingService:
        """Streams that other services refer to by their ids; since 1.7."""
        from .streaming import StreamingService

        return StreamingService(self._channel, self._context)

    @property
    def transfer_service(self) -> TransferService:
        """Images moved by the daemon itself; since 1.7."""
        from .transfer import TransferService

        return TransferService(self._channel, self._context)

    @property
    def mount_service(self) -> MountService:
        """Mounts that the daemon keeps active; since 2.2."""
        from .mounts import MountService

        return MountService(self._channel, self._context)

    def snapshot_service(self, name: str | None = None) -> SnapshotService:
        """The snapshots of the snapshotter ``name``, the client's or the namespace's default."""
        from .snapshots import SnapshotService

        chosen = name or self._snapshotter or self._default("snapshotter", _SNAPSHOTTER)
        return SnapshotService(self._channel, self._context, chosen)

    def _default(self, what: str, fallback: str) -> str:
        """What the namespace's labels say (pkg/labels), else ``fallback``."""
        labels = self.namespace_service.get(self._context.namespace).labels
        return labels.get(_DEFAULTS + what) or fallback

    def subscribe(
        self, *filters: str, timeout: float | None = None, reconnect: bool = False
    ) -> EventStream:
        """Stream the daemon's events from now on, of all namespaces: an iterator to be closed.

        See ``EventService.subscribe``, which also says how to lose none.
        """
        return self.event_service.subscribe(*filters, timeout=timeout, reconnect=reconnect)

    # ---- what the daemon is ----------------------------------------------------------------

    def server(self) -> Server:
        """The daemon's identity and its warnings of what is deprecated."""
        return self.introspection_service.server()

    def capabilities(self) -> Capabilities:
        """What this daemon can do, by its own account: one call."""
        from .capabilities import capabilities_of

        return capabilities_of(self.introspection_service)

    # ---- past the typed services -----------------------------------------------------------

    def call(
        self,
        method: str,
        request: DynamicMessage | Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        schema: Schema | None = None,
    ) -> DynamicMessage:
        """Call ``package.Service/Method``: the response, a message, or a ``MessageStream``.

        ``request`` is a message or a mapping of its fields.  ``timeout`` in seconds, if it is not
        to be the client's.  ``schema`` is one that ``schema.own.load`` made.  Raises
        ``InvalidArgument`` for a method or a field that is not there, and says which are.
        """
        return self._raw(schema, timeout).any(method, request)

    def stub(
        self, service: str, *, timeout: float | None = None, schema: Schema | None = None
    ) -> Stub:
        """A service's methods by their names, in messages: ``stub("runtime.v1.RuntimeService")``.

        ``timeout`` in seconds is each call's, if it is not to be the client's.  Raises
        ``InvalidArgument`` for a service that the schema does not have.
        """
        from .raw import Stub

        return Stub(self._raw(schema, timeout), service)

    def _raw(self, schema: Schema | None, timeout: float | None) -> RawService:
        from ..schema.pool import CONTAINERD
        from .raw import RawService

        raw = RawService(self._channel, self._context, schema or CONTAINERD)
        return raw if timeout is None else raw.with_options(timeout=timeout)
