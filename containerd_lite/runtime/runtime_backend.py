"""The backend of all verbs for containers: the services of one namespace, and its images."""

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
    """The services of one namespace, each asked for when it is needed."""

    def __init__(
        self,
        services: Services,
        new_images: Callable[[], ImageBackend],
        runtime: str | None = None,
    ) -> None:
        """``new_images`` is called when images are needed; ``runtime`` is the client's default."""
        self._services = services
        self._runtime = runtime
        self._new_images = new_images

    @property
    def images(self) -> ImageBackend:
        return self._new_images()

    @property
    def namespace(self) -> str:
        return self._services.namespace

    @property
    def runtime(self) -> str:
        """The runtime of new containers: the client's, the namespace's label, or runc."""
        return self._runtime or self._services.default("runtime", _RUNTIME)

    @property
    def containers(self) -> ContainerService:
        return self._services.container_service

    @property
    def tasks(self) -> TaskService:
        return self._services.task_service

    @property
    def differ(self) -> DiffService:
        return self._services.diff_service

    @property
    def introspection(self) -> IntrospectionService:
        return self._services.introspection_service

    @property
    def sandbox_store(self) -> SandboxStore:
        return self._services.sandbox_store

    @property
    def sandbox_controller(self) -> SandboxController:
        return self._services.sandbox_controller

    def snapshots(self, snapshotter: str | None = None) -> SnapshotService:
        return self._services.snapshot_service(snapshotter)

    def image(self, name: str) -> Image:
        """As ``Client.get_image``."""
        return images.find_image(self.images, name)
