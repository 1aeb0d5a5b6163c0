"""The mounts service, containerd.services.mounts.v1: mounts that the daemon makes. Since 2.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from ..errors import Unknown
from ..records import field, record
from ..schema.pool import CONTAINERD, DynamicMessage
from ..schema.values import datetime_of, dict_of, mask, timestamp
from ._base import Fields, Service
from ._types import Mount, mount_fields, mounts_of

_IS_GONE = "no such file or directory"


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

    The mount manager makes mounts that the kernel alone cannot make: those whose type contains a
    transform (``format/…``, ``mkdir/…``, ``mkfs/…``), and those that a handler makes (``erofs``).
    ``Client.temp_mount`` uses this service where it is needed.
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
        """Have the daemon make the mounts that need its transforms or its mount handlers.

        The daemon makes these mounts, and all mounts before the last of them. The caller makes the
        other mounts. The daemon stores the activation under its name.

        Garbage collection unmounts and deletes the activation, unless it has a lease or a back
        reference. Call this method within ``Client.lease``, or set a label that
        ``lifetimes.while_exists`` returns. ``LeaseService.list_resources`` does not list
        activations.

        Args:
            name: The name of the activation.
            mounts: The mounts, in the order in which they must be made. Do not pass bind mounts
                with the options ``uidmap=`` and ``gidmap=``. When a daemon up to 2.4 unmounts such
                a mount, the daemon deletes the files in the source (seen with 2.3.7 and 2.4.2).
            labels: The labels of the activation.
            temporary: Whether the daemon makes all the mounts, in its state folder. The caller then
                makes only one bind mount, which gives access to the last of these mounts. Pass
                false if a type contains a transform: a daemon before 2.4 would crash (seen with
                2.3.7).

        Returns:
            The activation, with the mounts that the daemon has made and the mounts that the caller
            must make. Templates are replaced with their values.

        Raises:
            AlreadyExists: An activation with this name exists. ``info`` returns it.
            Unimplemented: The daemon is older than 2.2. Or none of the mounts needs the daemon, or
                the daemon does not know a transform or refuses it, for example because ``mkdir/…``
                names a path outside the daemon's folders. If no type contains a ``/``, the caller
                must make all the mounts. Otherwise the mounts cannot be made.
            Unknown: A template or an option is invalid, or a mount failed.
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

        The caller must unmount its own mounts first.

        Raises:
            NotFound: The activation does not exist.
            Unknown: A mount is in use. Garbage collection tries again.
        """
        try:
            self._call("Deactivate", {"name": name}, is_long=True)
        except Unknown as error:
            # Garbage collection can unmount the mounts and delete their folders at the same time.
            if {*error.raw_message.splitlines()} != {_IS_GONE}:
                raise

    def info(self, name: str) -> Activation:
        """Return the activation with this name.

        The daemon stores only the type, the mount point and the time of a mount that it has made.
        The sources and the options of these mounts are empty.

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
        """Yield the activations of the namespace, with the same fields as ``info``.

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
