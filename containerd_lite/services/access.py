"""The services of one daemon, as one namespace sees them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from .. import services
from ..deadline import Deadline, backoff
from ..errors import Unavailable
from ..transport.channel import Channel
from ._base import CallContext

if TYPE_CHECKING:
    from ..schema.pool import DynamicMessage, Schema

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
    def namespace(self) -> str:
        """The namespace that every call is for."""
        return self._context.namespace

    @property
    def namespace_service(self) -> services.NamespaceService:
        return services.NamespaceService(self._channel, self._context)

    @property
    def container_service(self) -> services.ContainerService:
        return services.ContainerService(self._channel, self._context)

    @property
    def content_service(self) -> services.ContentService:
        """The content service's RPCs; ``Client.content_store`` is the store on top of them."""
        return services.ContentService(self._channel, self._context)

    @property
    def image_service(self) -> services.ImageService:
        return services.ImageService(self._channel, self._context)

    @property
    def task_service(self) -> services.TaskService:
        return services.TaskService(self._channel, self._context)

    @property
    def diff_service(self) -> services.DiffService:
        return services.DiffService(self._channel, self._context)

    @property
    def health_service(self) -> services.HealthService:
        return services.HealthService(self._channel, self._context)

    @property
    def event_service(self) -> services.EventService:
        return services.EventService(self._channel, self._context)

    @property
    def version_service(self) -> services.VersionService:
        return services.VersionService(self._channel, self._context)

    @property
    def lease_service(self) -> services.LeaseService:
        return services.LeaseService(self._channel, self._context)

    @property
    def introspection_service(self) -> services.IntrospectionService:
        return services.IntrospectionService(self._channel, self._context)

    @property
    def sandbox_store(self) -> services.SandboxStore:
        """What sandboxes there are; since 1.7."""
        return services.SandboxStore(self._channel, self._context)

    @property
    def sandbox_controller(self) -> services.SandboxController:
        """What runs sandboxes; since 1.7."""
        return services.SandboxController(self._channel, self._context)

    @property
    def streaming_service(self) -> services.StreamingService:
        """Streams that other services refer to by their ids; since 1.7."""
        return services.StreamingService(self._channel, self._context)

    @property
    def transfer_service(self) -> services.TransferService:
        """Images moved by the daemon itself; since 1.7."""
        return services.TransferService(self._channel, self._context)

    @property
    def mount_service(self) -> services.MountService:
        """Mounts that the daemon keeps active; since 2.2."""
        return services.MountService(self._channel, self._context)

    def snapshot_service(self, name: str | None = None) -> services.SnapshotService:
        """The snapshots of the snapshotter ``name``, the client's or the namespace's default."""
        chosen = name or self._snapshotter or self.default("snapshotter", _SNAPSHOTTER)
        return services.SnapshotService(self._channel, self._context, chosen)

    def default(self, what: str, fallback: str) -> str:
        """What the namespace's labels say (pkg/labels), else ``fallback``."""
        labels = self.namespace_service.get(self._context.namespace).labels
        return labels.get(_DEFAULTS + what) or fallback

    def subscribe(
        self, *filters: str, timeout: float | None = None, reconnect: bool = False
    ) -> services.EventStream:
        """Stream the daemon's events from now on, of all namespaces: an iterator to be closed.

        See ``EventService.subscribe``, which also says how to lose none.
        """
        return self.event_service.subscribe(*filters, timeout=timeout, reconnect=reconnect)

    def lease(self, *, expires: float = 86400) -> AbstractContextManager[str]:
        """Keep what is written within the block from garbage collection; gives the lease's id.

        A block within another joins its lease.  ``expires`` in seconds is when the daemon may
        delete it once this process is gone; while the block runs it is renewed.  A block that
        fails takes what it wrote with it.  Raises ``InvalidArgument``.
        """
        return services.keeping(self.lease_service, expires)

    # ---- what the daemon is ----------------------------------------------------------------

    def is_serving(self, *, timeout: float | None = 10.0) -> bool:
        """Whether the daemon serves; waits up to ``timeout`` seconds for it to come up."""
        deadline = Deadline(timeout)
        for wait in backoff(0.02, 1.0):
            service = self.health_service.with_options(
                timeout=deadline.remaining(), wait_for_ready=True
            )
            try:
                return service.check() == "SERVING"
            except TimeoutError:
                return False
            except Unavailable:  # one that ends still answers some, and hangs up on others
                if deadline.expired:
                    return False
            time.sleep(min(wait, deadline.remaining() or wait))
        raise AssertionError("unreachable")

    def version(self, *, wait_for_ready: bool = False) -> services.Version:
        """The daemon's version and revision."""
        return self.version_service.with_options(wait_for_ready=wait_for_ready).version()

    def server(self) -> services.Server:
        """The daemon's identity and its warnings of what is deprecated."""
        return self.introspection_service.server()

    def capabilities(self) -> services.Capabilities:
        """What this daemon can do, by its own account: one call."""
        return services.capabilities_of(self.introspection_service)

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
    ) -> services.Stub:
        """A service's methods by their names, in messages: ``stub("runtime.v1.RuntimeService")``.

        ``timeout`` in seconds is each call's, if it is not to be the client's.  Raises
        ``InvalidArgument`` for a service that the schema does not have.
        """
        return services.Stub(self._raw(schema, timeout), service)

    def _raw(self, schema: Schema | None, timeout: float | None) -> services.RawService:
        raw = services.RawService(self._channel, self._context, schema)
        return raw if timeout is None else raw.with_options(timeout=timeout)
