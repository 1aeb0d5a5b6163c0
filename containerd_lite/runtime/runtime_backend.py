"""The backend of the container verbs: the services and images of one namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import images

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..images.image import Image
    from ..images.image_backend import ImageBackend
    from ..services.access import Services
    from ..services.containers import ContainerService
    from ..services.diff import DiffService
    from ..services.introspection import IntrospectionService
    from ..services.sandboxes import SandboxController, SandboxStore
    from ..services.snapshots import SnapshotService
    from ..services.tasks import TaskService

_RUNTIME = "io.containerd.runc.v2"


class RuntimeBackend:
    """The services of one namespace; each is made when it is used.

    Args:
        services: The client's services.
        new_images: Returns the backend of the image verbs. It is called when images are needed.
        runtime: The client's default runtime, if it has one.
    """

    def __init__(
        self,
        services: Services,
        new_images: Callable[[], ImageBackend],
        runtime: str | None = None,
    ) -> None:
        self._services = services
        self._runtime = runtime
        self._new_images = new_images

    @property
    def images(self) -> ImageBackend:
        """The backend of the image verbs."""
        return self._new_images()

    @property
    def namespace(self) -> str:
        """The namespace of every call."""
        return self._services.namespace

    @property
    def runtime(self) -> str:
        """The default runtime: the client's, else that of the namespace's label, else runc."""
        return self._runtime or self._services.default("runtime", _RUNTIME)

    @property
    def containers(self) -> ContainerService:
        """The container service."""
        return self._services.container_service

    @property
    def tasks(self) -> TaskService:
        """The task service."""
        return self._services.task_service

    @property
    def differ(self) -> DiffService:
        """The diff service."""
        return self._services.diff_service

    @property
    def introspection(self) -> IntrospectionService:
        """The introspection service."""
        return self._services.introspection_service

    @property
    def sandbox_store(self) -> SandboxStore:
        """The service that stores sandboxes' records."""
        return self._services.sandbox_store

    @property
    def sandbox_controller(self) -> SandboxController:
        """The service that runs sandboxes."""
        return self._services.sandbox_controller

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        """Return the snapshot service of this snapshotter. Default: the client's or namespace's."""
        return self._services.snapshot_service(snapshotter)

    def image(self, name: str) -> Image:
        """Return the image with this name; see ``Client.get_image``."""
        return images.find_image(self.images, name)
