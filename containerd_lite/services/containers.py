"""containerd.services.containers.v1: what a container is; nothing of it runs here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from ..errors import Unimplemented
from ..records import field, record
from ..schema.pool import DynamicMessage
from ..schema.values import datetime_of, dict_of, mask
from ._base import Fields, Service
from ._types import AnyValue, any_fields, any_map_fields, any_of

#: The one field that the daemon's masks call otherwise (core/metadata/containers.go).
_IN_MASKS = {"snapshot_key": "snapshotkey"}


@record(frozen=True)
class ContainerRecord:
    """What containerd stores of a container.

    ``spec`` is the runtime spec as JSON in an ``Any``; ``snapshot_key`` names its root filesystem
    in ``snapshotter``; ``extensions`` are the client's own, by name; ``sandbox`` is a sandbox's
    id, since 1.7.  The daemon sets ``created_at`` and ``updated_at``, whatever is asked for.
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

    def create(self, container: ContainerRecord) -> ContainerRecord:
        """Raises ``AlreadyExists``; ``InvalidArgument`` for what cannot be one.

        ``runtime`` must be there and, for daemons before 1.7, ``spec``.
        """
        return _container(self._call("Create", {"container": _fields(container)}).container)

    def update(self, container: ContainerRecord, fields: Iterable[str] = ()) -> ContainerRecord:
        """Replace ``fields`` by those of ``container``; returns what the daemon made of it.

        ``fields`` may be ``labels``, ``labels.<key>``, ``spec``, ``extensions``,
        ``extensions.<name>``, ``image``, ``snapshot_key``; without any it is all of these, and
        ``runtime`` and ``snapshotter`` must be what they are.  A label that is not in
        ``container`` is removed by its ``labels.<key>``.  An extension stays once it is there:
        daemons put new ones beside the old, and an absent one's ``extensions.<name>`` empties it.
        Raises ``NotFound``, ``InvalidArgument`` for a field that cannot change.
        """
        request: dict[str, object] = {"container": _fields(container)}
        paths = [_IN_MASKS.get(path, path) for path in fields]
        if paths:
            request["update_mask"] = mask(paths)
        return _container(self._call("Update", request).container)

    def delete(self, id: str) -> None:
        """Raises ``NotFound``."""
        self._call("Delete", {"id": id})

    def stream(self, *filters: str) -> Iterator[ContainerRecord]:
        """The containers that match one of ``filters``, all without any, as they come.

        One RPC, without a deadline unless one was asked for.  Raises ``Unimplemented`` before
        1.2, ``InvalidArgument`` for a filter that is none.
        """
        with self._stream("ListStream", {"filters": filters}) as replies:
            for reply in replies:
                yield _container(reply.container)

    def list(self, *filters: str) -> list[ContainerRecord]:
        """As ``stream``, whole, within the service's deadline, and from daemons before 1.2 too.

        ``List`` answers in one message, which must not be larger than 16 MiB: it is asked only
        where there is no ``ListStream``.
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
