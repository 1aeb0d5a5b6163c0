"""The containers service, containerd.services.containers.v1, which stores records of containers.

The tasks service runs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from ..errors import Unimplemented
from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, dict_of, mask
from ._base import Fields, Service
from ._types import AnyValue, any_fields, any_map_fields, any_of

#: The only field that has another name in the daemon's masks (core/metadata/containers.go).
_MASK_PATHS = {"snapshot_key": "snapshotkey"}


@record(frozen=True)
class ContainerRecord:
    """A container as containerd stores it.

    Attributes:
        id: The container's id.
        image: The name of its image.
        runtime: The name of its runtime.
        runtime_options: Options of the runtime.
        spec: The runtime spec, as JSON in an ``Any``.
        snapshotter: The snapshotter of its root filesystem.
        snapshot_key: The key of the snapshot that is its root filesystem.
        labels: Its labels.
        extensions: Further values that clients store, by name.
        sandbox: The id of its sandbox. Since 1.7.
        created_at: When it was created. The daemon sets this and ignores the client's value.
        updated_at: When it was last updated. The daemon sets this too.
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
        """Return the container with this id.

        Raises:
            NotFound: The container does not exist.
        """
        return _container(self._call("Get", {"id": id}).container)

    def create(self, container: ContainerRecord) -> ContainerRecord:
        """Store a new container and return it as the daemon has stored it.

        Args:
            container: The container. It needs ``runtime`` and, for daemons before 1.7, ``spec``.

        Raises:
            AlreadyExists: A container with this id exists.
            InvalidArgument: A field is missing or invalid.
        """
        return _container(self._call("Create", {"container": _fields(container)}).container)

    def update(self, container: ContainerRecord, fields: Iterable[str] = ()) -> ContainerRecord:
        """Update fields of a container and return it as the daemon has stored it.

        The field ``labels.<key>`` removes the label if ``container`` does not have it. Extensions
        cannot be removed: the daemon adds new ones to the existing ones. The field
        ``extensions.<name>`` empties the extension if ``container`` does not have it.

        Args:
            container: The container's id and the new values.
            fields: The fields to replace: ``labels``, ``labels.<key>``, ``spec``, ``extensions``,
                ``extensions.<name>``, ``image`` or ``snapshot_key``. Default: all of these; then
                ``runtime`` and ``snapshotter`` must have their current values.

        Raises:
            NotFound: The container does not exist.
            InvalidArgument: One of the fields cannot change.
        """
        request: dict[str, object] = {"container": _fields(container)}
        paths = [_MASK_PATHS.get(path, path) for path in fields]
        if paths:
            request["update_mask"] = mask(paths)
        return _container(self._call("Update", request).container)

    def delete(self, id: str) -> None:
        """Delete the record of a container.

        Raises:
            NotFound: The container does not exist.
        """
        self._call("Delete", {"id": id})

    def stream(self, *filters: str) -> Iterator[ContainerRecord]:
        """Yield containers while the daemon sends them.

        This is one call. It has no deadline, unless ``with_options`` set one.

        Args:
            filters: Only containers that match one of these filters. Default: all.

        Raises:
            Unimplemented: The daemon is older than 1.2.
            InvalidArgument: A filter cannot be parsed.
        """
        with self._stream("ListStream", {"filters": filters}) as responses:
            for response in responses:
                yield _container(response.container)

    def list(self, *filters: str) -> list[ContainerRecord]:
        """Return containers as a list, within the service's deadline.

        This calls ``ListStream``. Daemons before 1.2 lack it; there this calls ``List``, whose
        response is one message of at most 16 MiB.

        Args:
            filters: Only containers that match one of these filters. Default: all.

        Raises:
            InvalidArgument: A filter cannot be parsed.
        """
        timeout = self._context.timeout
        bounded = self if timeout is None else self.with_options(timeout=timeout)
        try:
            return list(bounded.stream(*filters))
        except Unimplemented:
            found = self._call("List", {"filters": filters}).containers
            return [_container(container) for container in found]


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
        "extensions": any_map_fields(container.extensions),
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
        labels=dict_of(message.labels),
        extensions={name: any_of(value) for name, value in message.extensions.items()},
        sandbox=message.sandbox,
        created_at=datetime_of(message.created_at),
        updated_at=datetime_of(message.updated_at),
    )
