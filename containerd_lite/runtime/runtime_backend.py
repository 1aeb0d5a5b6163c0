"""The services and the images of one namespace, as the container methods of ``Client`` use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import images
from ..operation import operation
from . import io, kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ..images.image import Image
    from ..images.image_backend import ImageBackend
    from ..images.pull.needed import WhenToPull
    from ..images.signatures.policies import PolicyLike
    from ..locks import PerProcess
    from ..oci.spec import Mount
    from ..operation import CancelToken, Operations
    from ..services.access import Services
    from ..services.containers import ContainerService
    from ..services.introspection import IntrospectionService
    from ..services.sandboxes import SandboxController, SandboxStore
    from ..services.snapshots import SnapshotService
    from ..services.tasks import TaskService
    from .io.base import ProcessStreams

_RUNTIME = "io.containerd.runc.v2"
#: The prefix of the runtimes whose shims are the daemon's own.
_RUNC = "io.containerd.runc."


class RuntimeBackend:
    """The services and the images of one namespace.

    Each read of a service property returns a new service object.

    Args:
        services: The client's services.
        new_images: A function that returns the backend of the image methods.
        operations: The client's running operations.
        runtime: The name of the client's default runtime. Default: the default of the namespace.
        logs_dir: The folder for the logs of detached containers. Default: a folder of this user.
    """

    def __init__(
        self,
        services: Services,
        new_images: Callable[[], ImageBackend],
        operations: PerProcess[Operations],
        runtime: str | None = None,
        logs_dir: str | None = None,
    ) -> None:
        self._services = services
        self._logs_dir = logs_dir
        self._runtime = runtime
        self._new_images = new_images
        self._operations = operations

    def __repr__(self) -> str:
        return f"<RuntimeBackend {self.address} namespace={self.namespace}>"

    def operation(
        self, what: str, timeout: float | None = None, cancel: CancelToken | None = None
    ) -> AbstractContextManager[None]:
        """Return a context manager that runs its block as one operation; see ``operation``."""
        return operation(what, timeout, cancel, self._operations.get())

    @property
    def images(self) -> ImageBackend:
        """The backend of the image methods."""
        return self._new_images()

    @property
    def namespace(self) -> str:
        """The containerd namespace of every request."""
        return self._services.namespace

    @property
    def is_remote(self) -> bool:
        """Whether the daemon can run on another machine: its address is not a Unix socket."""
        return not self.address.startswith("unix")

    @property
    def address(self) -> str:
        """The address of the daemon."""
        return self.containers.identity[0]

    @property
    def runtime(self) -> str:
        """The name of the default runtime: the client's, else the namespace's, else runc."""
        return self._runtime or self._services.default("runtime", _RUNTIME)

    @property
    def containers(self) -> ContainerService:
        """The containers service."""
        return self._services.container_service

    @property
    def tasks(self) -> TaskService:
        """The tasks service."""
        return self._services.task_service

    @property
    def introspection(self) -> IntrospectionService:
        """The introspection service."""
        return self._services.introspection_service

    @property
    def sandbox_store(self) -> SandboxStore:
        """The sandbox store, which has the records of sandboxes."""
        return self._services.sandbox_store

    @property
    def sandbox_controller(self) -> SandboxController:
        """The sandbox controller, which runs sandboxes."""
        return self._services.sandbox_controller

    def check_log_uris(self, runtime: str, *targets: str) -> None:
        """Check the schemes of log URIs; see ``io.check_log_uris``.

        The shims of other runtimes than runc can support further schemes. The path of a log
        file is also checked; see ``kept.check_log_file``.
        """
        for target in targets:
            kept.check_log_file(self.address, target)
        if runtime.startswith(_RUNC):
            io.check_log_uris(self.introspection, *targets)

    def checked_paths(self, mounts: object, streams: ProcessStreams | None) -> list[Mount] | None:
        """Check the paths that the daemon gets, before anything is made.

        Args:
            mounts: The value of the option ``mounts``. ``None`` if it is not given.
            streams: The streams of the first process, if they exist.

        Returns:
            The mounts.

        Raises:
            InvalidArgument: The daemon certainly does not see the source of a bind mount, or the
                folder of a log file.
        """
        if streams is not None:
            kept.check_log_file(self.address, streams.stdio.stdout)
        return None if mounts is None else kept.checked_mounts(self.address, mounts)

    def new_log(self, runtime: str, id: str) -> str | None:
        """Make the folder of a container's log; see ``kept.new_log``.

        The shims of other runtimes than runc may not support log URIs, so their containers have no
        log.
        """
        if not runtime.startswith(_RUNC):
            return None
        return kept.new_log(self.address, self._logs_dir, self.namespace, id)

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        """Return the snapshots service of a snapshotter. Default: the default snapshotter."""
        return self._services.snapshot_service(snapshotter)

    def image(self, image: Image | str) -> Image:
        """Return an image, or the image with this name; see ``Client.get_image``."""
        return images.as_image(self.images, image)

    def needed_image(
        self,
        image: Image | str,
        pull: WhenToPull,
        policy: PolicyLike | None,
        snapshotter: str | None,
    ) -> Image:
        """Return the image of a new container; pull it if ``pull`` says so; see ``Client.run``."""
        return images.needed_image(self.images, image, pull, policy=policy, snapshotter=snapshotter)
