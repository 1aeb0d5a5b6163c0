"""The mounts service, containerd.services.mounts.v1: mounts that the daemon makes. Since 2.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from ..records import field, record
from ..schema.pool import CONTAINERD, DynamicMessage
from ..schema.values import datetime_of, dict_of, mask, timestamp
from ._base import Fields, Service
from ._types import Mount, mount_fields, mounts_of


@record(frozen=True)
class ActiveMount:
    """A mount that the daemon has made.

    Attributes:
        mount: The mount that was requested.
        mount_point: The path at which the daemon has made the mount.
        mounted_at: When the daemon made the mount.
        data: Values from the handler of this mount. Later mounts of the activation can use these
            values.
    """

    mount: Mount
    mount_point: str = ""
    mounted_at: datetime | None = None
    data: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class Activation:
    """Mounts that were activated together, under one name.

    Attributes:
        name: The name of the activation.
        active: The mounts that the daemon has made.
        system: The mounts that the caller must make with the system's ``mount``.
        labels: The labels of the activation.
    """

    name: str
    active: tuple[ActiveMount, ...] = ()
    system: tuple[Mount, ...] = ()
    labels: dict[str, str] = field(default_factory=dict, hash=False)


class MountService(Service):
    """The mount manager of a namespace. Since 2.2.

    The mount manager makes mounts that the kernel alone cannot make (``format/…``, ``loop``, …).
    """

    _name = "containerd.services.mounts.v1.Mounts"

    def activate(
        self,
        name: str,
        mounts: Iterable[Mount],
        *,
        labels: Mapping[str, str] | None = None,
        temporary: bool = False,
    ) -> Activation:
        """Have the daemon make the mounts that need its mount handlers.

        The daemon stores these mounts under a name. The caller makes the other mounts.

        Args:
            name: The name of the activation.
            mounts: The mounts, in the order in which they must be made.
            labels: The labels of the activation.
            temporary: Whether the daemon also makes the mounts that the kernel can make. If true,
                the caller makes only one bind mount, which gives access to the filesystem.

        Returns:
            The activation, with the mounts that the daemon has made and the mounts that the caller
            must make.

        Raises:
            AlreadyExists: An activation with this name exists.
            Unimplemented: The kernel alone can make all the mounts, or the daemon is older than
                2.2.
        """
        fields = {
            "name": name,
            "mounts": mount_fields(mounts),
            "labels": dict(labels or {}),
            "temporary": temporary,
        }
        return _activation(self._call("Activate", fields, is_long=True).info)

    def deactivate(self, name: str) -> None:
        """Unmount the mounts of an activation, and delete the activation.

        Raises:
            NotFound: The activation does not exist.
        """
        self._call("Deactivate", {"name": name}, is_long=True)

    def info(self, name: str) -> Activation:
        """Return the activation with this name.

        Raises:
            NotFound: The activation does not exist.
        """
        return _activation(self._call("Info", {"name": name}).info)

    def update(self, activation: Activation, *, fields: Iterable[str] = ()) -> Activation:
        """Replace fields of a stored activation.

        Args:
            activation: The new values. The name in ``activation`` selects the stored activation.
            fields: The names of the fields to replace. Default: all fields.

        Raises:
            NotFound: The activation does not exist.
            Unimplemented: All daemons up to at least 2.4 lack this method.
        """
        request: dict[str, object] = {"info": _activation_fields(activation)}
        paths = tuple(fields)
        if paths:
            request["update_mask"] = mask(paths)
        return _activation(self._call("Update", request).info)

    def list(self, *filters: str) -> Iterator[Activation]:
        """Yield the activations of the namespace.

        Args:
            *filters: Filters. All daemons up to at least 2.4 ignore filters.
        """
        with self._stream("List", {"filters": filters}) as responses:
            for response in responses:
                yield _activation(response.info)


def _activation(message: DynamicMessage) -> Activation:
    return Activation(
        message.name,
        tuple(_active_mount(active) for active in message.active),
        mounts_of(message.system),
        dict_of(message.labels),
    )


def _active_mount(message: DynamicMessage) -> ActiveMount:
    is_set = message.HasField("mounted_at")
    return ActiveMount(
        mounts_of([message.mount])[0],
        message.mount_point,
        datetime_of(message.mounted_at) if is_set else None,
        dict_of(message.data),
    )


def _activation_fields(activation: Activation) -> Fields:
    return {
        "name": activation.name,
        "active": [_active_mount_message(active) for active in activation.active],
        "system": mount_fields(activation.system),
        "labels": dict(activation.labels),
    }


def _active_mount_message(active: ActiveMount) -> DynamicMessage:
    fields: dict[str, object] = {
        "mount": mount_fields([active.mount])[0],
        "mount_point": active.mount_point,
        "data": dict(active.data),
    }
    if active.mounted_at is not None:
        fields["mounted_at"] = timestamp(active.mounted_at)
    return CONTAINERD.message("containerd.types.ActiveMount")(**fields)
