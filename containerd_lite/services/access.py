"""A base class of ``Client`` with the daemon's services as properties."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from .. import limits, services
from ..arguments import check_instance, check_types
from ..deadline import Deadline, backoff
from ..errors import Unavailable
from ..transport.channel import Channel
from ._base import CallContext, check_lease_id

if TYPE_CHECKING:
    from pathlib import Path

    from ..schema.pool import DynamicMessage, Schema
    from ._types import AnyValue, Mount
    from .event_types import EventTypes
    from .transfer import Transferable, TransferOptions

#: The prefix of the namespace labels that set defaults.
_DEFAULT_LABELS = "containerd.io/defaults/"
_DEFAULT_SNAPSHOTTER = "overlayfs"


class Services:
    """The services of one daemon, for one namespace.

    The module of a service is loaded when the service is used for the first time.
    """

    def __init__(
        self, channel: Channel, context: CallContext, snapshotter: str | None = None
    ) -> None:
        self._channel = channel
        self._context = context
        self._snapshotter = snapshotter

    @property
    def namespace(self) -> str:
        """The containerd namespace of all calls."""
        return self._context.namespace

    @property
    def namespace_service(self) -> services.NamespaceService:
        """The namespaces service."""
        return services.NamespaceService(self._channel, self._context)

    @property
    def container_service(self) -> services.ContainerService:
        """The containers service, which stores the records of containers."""
        return services.ContainerService(self._channel, self._context)

    @property
    def content_service(self) -> services.ContentService:
        """The content service. ``Client.content_store`` is a store that uses this service."""
        return services.ContentService(self._channel, self._context)

    @property
    def image_service(self) -> services.ImageService:
        """The images service, which stores the names of images and their targets."""
        return services.ImageService(self._channel, self._context)

    @property
    def task_service(self) -> services.TaskService:
        """The tasks service, which runs the processes of containers."""
        return services.TaskService(self._channel, self._context)

    @property
    def diff_service(self) -> services.DiffService:
        """The diff service, which unpacks layers and creates layers."""
        return services.DiffService(self._channel, self._context)

    @property
    def health_service(self) -> services.HealthService:
        """The gRPC health service."""
        return services.HealthService(self._channel, self._context)

    @property
    def event_service(self) -> services.EventService:
        """The events service."""
        return services.EventService(self._channel, self._context)

    @property
    def version_service(self) -> services.VersionService:
        """The version service."""
        return services.VersionService(self._channel, self._context)

    @property
    def lease_service(self) -> services.LeaseService:
        """The leases service."""
        return services.LeaseService(self._channel, self._context)

    @property
    def introspection_service(self) -> services.IntrospectionService:
        """The introspection service, which describes the daemon and its plugins."""
        return services.IntrospectionService(self._channel, self._context)

    @property
    def sandbox_store(self) -> services.SandboxStore:
        """The sandbox store, which stores the records of sandboxes. Since 1.7."""
        return services.SandboxStore(self._channel, self._context)

    @property
    def sandbox_controller(self) -> services.SandboxController:
        """The sandbox controller, which runs sandboxes. Since 1.7."""
        return services.SandboxController(self._channel, self._context)

    @property
    def streaming_service(self) -> services.StreamingService:
        """The streaming service. Other services refer to a stream by its id. Since 1.7."""
        return services.StreamingService(self._channel, self._context)

    @property
    def transfer_service(self) -> services.TransferService:
        """The transfer service. Since 1.7.

        With this service, the daemon itself pulls, pushes, imports and exports images.
        """
        return services.TransferService(self._channel, self._context)

    @property
    def mount_service(self) -> services.MountService:
        """The mounts service, which lets the daemon make mounts. Since 2.2."""
        return services.MountService(self._channel, self._context)

    def snapshot_service(self, name: str | None = None) -> services.SnapshotService:
        """Return the snapshots service of one snapshotter.

        Args:
            name: The name of the snapshotter. Default: the client's snapshotter, else the
                snapshotter that the namespace's labels name, else ``overlayfs``.
        """
        chosen = name or self._snapshotter or self.default("snapshotter", _DEFAULT_SNAPSHOTTER)
        return services.SnapshotService(self._channel, self._context, chosen)

    def default(self, what: str, fallback: str) -> str:
        """Return a default value from the namespace's labels (containerd's pkg/labels).

        Args:
            what: The name of the default, such as ``"snapshotter"``.
            fallback: The value to return if the labels do not contain this default.
        """
        labels = self.namespace_service.get(self._context.namespace).labels
        return labels.get(_DEFAULT_LABELS + what) or fallback

    def subscribe(
        self,
        *filters: str,
        topic: str | None = None,
        container: str | None = None,
        namespace: str | None = None,
        type: EventTypes | None = None,
        timeout: float | None = None,
        reconnect: bool = False,
    ) -> services.EventStream:
        """Subscribe to new events of all namespaces.

        containerd does not send past events. ``EventService.subscribe`` explains how to avoid
        missing events, and lists the errors.

        Args:
            filters: Only events that match one of these filters. Default: all events.
            topic: Only events with this topic (``"/tasks/exit"``), or, if it ends with ``/``, with
                this prefix.
            container: Only events of the container with this id, and of its task.
            namespace: Only events of this namespace.
            type: Only events of this type, such as ``TaskExit``, or of one of several types.
            timeout: Seconds that the whole subscription may last. Default: no limit.
            reconnect: Whether to subscribe again after a restart of the daemon. The stream then
                yields an event with a ``Gap``, which says from when to when events were lost.

        Returns:
            An iterator over events. The caller must close the iterator.
        """
        return self.event_service.subscribe(
            *filters,
            topic=topic,
            container=container,
            namespace=namespace,
            type=type,
            timeout=timeout,
            reconnect=reconnect,
        )

    def transfer(
        self,
        source: Transferable | AnyValue,
        destination: Transferable | AnyValue,
        options: TransferOptions | None = None,
    ) -> None:
        """Have the daemon transfer an image from a source to a destination. Since 1.7.

        This method waits for the end of the transfer. ``pull``, ``push``, ``import_images`` and
        ``export_images`` with ``via="daemon"`` are easier to use. ``TransferService.transfer``
        lists the operations and the errors.

        Args:
            source: The source, such as an ``OCIRegistry`` of ``services.transfer_types``.
            destination: The destination, such as an ``ImageStore``.
            options: The options of the transfer. Default: no progress values.
        """
        self.transfer_service.transfer(source, destination, options)

    def lease(
        self,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
        expires: float = 86400,
    ) -> AbstractContextManager[str]:
        """Keep garbage collection from deleting what the block writes.

        The block runs under a lease. The context manager yields the id of the lease. If blocks are
        nested, the inner block uses the lease of the outer block, unless the inner block has an
        ``id`` or ``labels``. The lease is renewed while the block runs, and deleted when the block
        ends. Garbage collection then removes what the block wrote and no image, container or label
        refers to.

        To run a block under a lease that exists, use ``lease_service.joining(id)``, which neither
        renews nor deletes the lease. To make a lease that outlives the block, use
        ``lease_service.create``.

        Args:
            id: The id of the lease. Default: a random id.
            labels: The labels of the lease. The label ``containerd.io/gc.expire`` is set by
                ``expires``.
            expires: Seconds after which the lease expires if this process dies.

        Raises:
            AlreadyExists: A lease with this id exists.
            InvalidArgument: ``expires`` is too short or too long, or an argument has the wrong
                type.
        """
        check_types({"labels": labels})
        if id is not None:
            check_lease_id(id)
        return services.keeping(self.lease_service, expires, id=id, labels=labels)

    def temp_mount(
        self, mounts: Iterable[Mount], *, read_only: bool = False
    ) -> AbstractContextManager[Path]:
        """Mount what a snapshotter returned on a temporary folder while the block runs.

        The context manager yields the path of the folder, which only this process's user and root
        can reach. The mounts and the folder are removed at the end of the block. If a program still
        uses the files, the mounts disappear from the folder at once, and from the kernel when the
        program ends its use.

        The process makes the mounts itself, and must run as root on the daemon's machine. Since
        2.2, the daemon makes the mounts that need its help, such as those of the EROFS snapshotter.
        Then the process must also run in the daemon's mount namespace.

        Symbolic links in an image can point out of the folder. Do not follow the links of an image
        that you do not trust. The files keep their owners, their setuid bits and their devices.

        In block mode (``default_size``), the EROFS snapshotter gives a container a filesystem of
        its own: the first mount has the type ``mkfs/ext4``. A second mount of this filesystem
        damages it, even with ``read_only``. So mount it only while no container uses it.

        Args:
            mounts: The mounts that ``prepare``, ``view`` or ``mounts`` of a snapshots service
                returned, in their order.
            read_only: Whether the files cannot be changed. Use this for a snapshot that a running
                container uses. Owners that the snapshotter would map are then not mapped.

        Raises:
            PermissionDenied: This process cannot mount.
            NotFound: The files of the snapshot do not exist on this machine.
            InvalidArgument: ``mounts`` is empty, or a mount's target is outside the folder.
            FailedPrecondition: The kernel cannot make a mount, or the process does not see the
                daemon's mounts.
            Unimplemented: The mounts need the daemon's help, and the daemon is older than 2.2 or
                does not support them. Or the mounts map ids, and ``read_only`` is false.

        Source: ``WithTempMount`` and ``WithReadonlyTempMount`` in containerd's core/mount/temp.go.
        """
        return services.temp_mount(
            self.mount_service, self.lease_service, mounts, is_read_only=read_only
        )

    # ---- the daemon ------------------------------------------------------------------------

    def is_serving(self, *, timeout: float | None = 10.0) -> bool:
        """Return whether the daemon reports that it serves requests.

        Args:
            timeout: Seconds to wait for a daemon that is starting, above 0. ``None`` means no
                limit.
        """
        deadline = Deadline(limits.seconds("timeout", timeout))
        for wait in backoff(0.02, 1.0):
            service = self.health_service.until(deadline, wait_for_ready=True)
            try:
                return service.check() == "SERVING"
            except TimeoutError:
                return False
            except Unavailable:  # a daemon that is shutting down responds only to some calls
                if deadline.expired:
                    return False
            time.sleep(min(wait, deadline.remaining() or wait))
        raise AssertionError("unreachable")

    def version(self, *, wait_for_ready: bool = False) -> services.Version:
        """Return the daemon's version and revision.

        Args:
            wait_for_ready: Whether to wait until the daemon can be reached.
        """
        return self.version_service.with_options(wait_for_ready=wait_for_ready).version()

    def server(self) -> services.Server:
        """Return the daemon's identity and its deprecation warnings."""
        return self.introspection_service.server()

    def capabilities(self) -> services.Capabilities:
        """Return the features that the daemon's plugins provide. This makes one call."""
        return services.capabilities_of(self.introspection_service)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._channel.name} namespace={self.namespace}>"

    # ---- methods without a typed wrapper ---------------------------------------------------

    def call(
        self,
        method: str,
        request: DynamicMessage | Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
        schema: Schema | None = None,
    ) -> DynamicMessage:
        """Call any method of the daemon by its name.

        Args:
            method: The full name of the method, ``package.Service/Method``.
            request: The request message, or a mapping of its fields.
            timeout: Seconds that the call may take. Default: the client's timeout.
            schema: A schema that ``schema.load`` has returned. Default: containerd's schema.

        Returns:
            The response message, or a ``MessageStream`` if the method is streaming.

        Raises:
            InvalidArgument: The schema lacks the method or a field. The remedy lists the existing
                methods or fields.
        """
        check_instance("method", method, str, "the full name of a method: package.Service/Method")
        return self._raw(schema, timeout).any(method, request)

    def stub(
        self, service: str, *, timeout: float | None = None, schema: Schema | None = None
    ) -> services.Stub:
        """Return an object that has the methods of a service as Python methods.

        These Python methods take a protobuf message, a mapping or keyword arguments. They return
        protobuf messages.

        Args:
            service: The full name of the service, such as ``"runtime.v1.RuntimeService"``.
            timeout: Seconds that each call may take. Default: the client's timeout.
            schema: A schema that ``schema.load`` has returned. Default: containerd's schema.

        Raises:
            InvalidArgument: The schema lacks the service.
        """
        check_instance("service", service, str, "the full name of a service: package.Service")
        return services.Stub(self._raw(schema, timeout), service)

    def _raw(self, schema: Schema | None, timeout: float | None) -> services.RawService:
        raw = services.RawService(self._channel, self._context, schema)
        return raw if timeout is None else raw.with_options(timeout=timeout)
