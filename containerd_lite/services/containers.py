"""The containers service, containerd.services.containers.v1, which stores records of containers.

The tasks service runs the containers.
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

#: In update masks, ``snapshot_key`` has another name (core/metadata/containers.go).
_MASK_PATHS = {"snapshot_key": "snapshotkey"}


@record(frozen=True)
class ContainerRecord:
    """A container as containerd stores it.

    Attributes:
        id: The id of the container.
        image: The name of the container's image.
        runtime: The name of the runtime.
        runtime_options: The options of the runtime.
        spec: The runtime spec, as JSON in an ``Any``.
        snapshotter: The snapshotter of the root filesystem.
        snapshot_key: The key of the snapshot that is the root filesystem.
        labels: The labels of the container.
        extensions: Further values that clients store, by name.
        sandbox: The id of the container's sandbox. Since 1.7.
        created_at: When the record was created. The daemon ignores this field in requests.
        updated_at: When the record was last updated. The daemon ignores this field in requests.
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
        """Store a new container, and return the stored record.

        Args:
            container: The container. ``runtime`` is required. Daemons before 1.7 also require
                ``spec``.

        Raises:
            AlreadyExists: A container with this id exists.
            InvalidArgument: A field is missing or invalid.
        """
        return _container(self._call("Create", {"container": _fields(container)}).container)

    def update(self, container: ContainerRecord, fields: Iterable[str] = ()) -> ContainerRecord:
        """Update fields of a container, and return the stored record.

        If ``fields`` contains ``labels.<key>`` and ``container`` lacks this label, the daemon
        removes the label. Extensions cannot be removed: the daemon adds the extensions of
        ``container`` to the stored extensions. If ``fields`` contains ``extensions.<name>`` and
        ``container`` lacks this extension, the stored extension becomes empty.

        Args:
            container: A record with the container's id and the new values.
            fields: The fields to replace: ``labels``, ``labels.<key>``, ``spec``, ``extensions``,
                ``extensions.<name>``, ``image`` or ``snapshot_key``. Default: all of these fields.
                If ``fields`` is empty, ``runtime`` and ``snapshotter`` must have the stored values.

        Raises:
            NotFound: The container does not exist.
            InvalidArgument: A field cannot be changed.
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
        """Yield the containers of the namespace while the daemon sends them.

        This method makes one call. The call has no deadline, unless ``with_options`` has set one.

        Args:
            filters: Only containers that match one of these filters. Default: all containers.

        Raises:
            Unimplemented: The daemon is older than 1.2.
            InvalidArgument: A filter cannot be parsed.
        """
        with self._stream("ListStream", {"filters": filters}) as responses:
            for response in responses:
                yield _container(response.container)

    def list(self, *filters: str) -> list[ContainerRecord]:
        """Return the containers of the namespace as a list.

        The whole call must end within ``CallContext.timeout`` seconds. This method calls
        ``ListStream``. If the daemon is older than 1.2 and lacks ``ListStream``, this method calls
        ``List``. The response to ``List`` is one message of at most 16 MiB.

        Args:
            filters: Only containers that match one of these filters. Default: all containers.

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
