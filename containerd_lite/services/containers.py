"""containerd.services.containers.v1: what a container is; nothing of it runs here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of
from ._base import Fields, Service
from ._types import AnyValue, any_fields, any_of


@dataclass(frozen=True)
class ContainerRecord:
    """What containerd stores of a container.

    ``spec`` is the runtime spec as JSON in an ``Any``; ``snapshot_key`` names its root filesystem
    in ``snapshotter``.
    """

    id: str
    image: str = ""
    runtime: str = ""
    runtime_options: AnyValue | None = None
    spec: AnyValue | None = None
    snapshotter: str = ""
    snapshot_key: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    extensions: dict[str, AnyValue] = field(default_factory=dict, hash=False)
    sandbox: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


class ContainerService(Service):
    """The containers of a namespace."""

    _name = "containerd.services.containers.v1.Containers"

    def get(self, id: str) -> ContainerRecord:
        """Raises ``NotFound``."""
        return _container(self._call("Get", {"id": id}).container)

    def list(self, *filters: str) -> list[ContainerRecord]:
        found = self._call("List", {"filters": filters}).containers
        return [_container(container) for container in found]

    def create(self, container: ContainerRecord) -> ContainerRecord:
        """Raises ``AlreadyExists``, ``InvalidArgument``."""
        return _container(self._call("Create", {"container": _fields(container)}).container)

    def delete(self, id: str) -> None:
        """Raises ``NotFound``."""
        self._call("Delete", {"id": id})


def _fields(container: ContainerRecord) -> Fields:
    runtime: dict[str, object] = {"name": container.runtime}
    if container.runtime_options is not None:
        runtime["options"] = any_fields(container.runtime_options)
    fields: dict[str, object] = {
        "id": container.id,
        "image": container.image,
        "runtime": runtime,
        "snapshotter": container.snapshotter,
        "snapshot_key": container.snapshot_key,
        "labels": dict(container.labels),
        "sandbox": container.sandbox,
    }
    if container.spec is not None:
        fields["spec"] = any_fields(container.spec)
    return fields


def _container(message: DynamicMessage) -> ContainerRecord:
    has_options = message.runtime.HasField("options")
    return ContainerRecord(
        id=message.id,
        image=message.image,
        runtime=message.runtime.name,
        runtime_options=any_of(message.runtime.options) if has_options else None,
        spec=any_of(message.spec) if message.HasField("spec") else None,
        snapshotter=message.snapshotter,
        snapshot_key=message.snapshot_key,
        labels=dict(message.labels),
        extensions={name: any_of(value) for name, value in message.extensions.items()},
        sandbox=message.sandbox,
        created_at=datetime_of(message.created_at),
        updated_at=datetime_of(message.updated_at),
    )
