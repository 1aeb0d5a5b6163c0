"""The containers of one namespace of a daemon.

What lives here: making one from an image, and finding those that there are.  What may not: what
runs in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ContainerdError
from ..images.image import Image
from ..services._types import runtime_spec
from ..services.containers import ContainerRecord
from .container import Container, Services, check_id
from .specs import make_spec

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import ContainerOptions

_STOP_SIGNAL = "io.containerd.image.config.stop-signal"


class Containers:
    """Containers by id."""

    def __init__(self, services: Services, namespace: str) -> None:
        self._services = services
        self._namespace = namespace

    def list(self, *filters: str) -> list[Container]:
        found = self._services.containers.list(*filters)
        return [Container(self._services, record) for record in found]

    def load(self, id: str) -> Container:
        """Raises ``NotFound``."""
        return Container(self._services, self._services.containers.get(id))

    def new(
        self,
        id: str,
        image: Image,
        runtime: str,
        args: Sequence[str] | None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """As ``Client.new_container``, under the lease that the caller holds."""
        check_id(id)
        config = image.config()
        spec = make_spec(self._namespace, id, config, args, options)
        # Of the image's labels none is copied: some of containerd's own give root (CVE-2026-53488).
        stop_signal = {_STOP_SIGNAL: config.stop_signal or "SIGTERM"}
        snapshots = self._services.snapshots(options.get("snapshotter"))
        snapshots.prepare(id, image.unpack(snapshots.snapshotter))
        try:
            record = self._services.containers.create(
                ContainerRecord(
                    id=id,
                    image=image.name,
                    runtime=runtime,
                    spec=runtime_spec(spec),
                    snapshotter=snapshots.snapshotter,
                    snapshot_key=id,
                    labels={**stop_signal, **(options.get("labels") or {})},
                )
            )
        except BaseException:
            with suppress(ContainerdError):
                snapshots.remove(id)
            raise
        return Container(self._services, record)
