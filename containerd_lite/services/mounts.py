"""containerd.services.mounts.v1: mounts that the daemon makes and keeps; since 2.2."""

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
    """A mount that the daemon has made at ``mount_point``.

    ``data`` is what its handler left for the mounts after it.
    """

    mount: Mount
    mount_point: str = ""
    mounted_at: datetime | None = None
    data: dict[str, str] = field(default_factory=dict, hash=False)


@record(frozen=True)
class Activation:
    """What came of mounts: those that are ``active``, and those left for the system to make."""

    name: str
    active: tuple[ActiveMount, ...] = ()
    system: tuple[Mount, ...] = ()
    labels: dict[str, str] = field(default_factory=dict, hash=False)


class MountService(Service):
    """The mount manager of a namespace; since 2.2.

    It makes the mounts that the kernel alone cannot (``format/…``, ``loop``, …).
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
        """Make those of ``mounts`` that the system cannot, and remember them as ``name``.

        ``temporary`` makes all of them, and leaves one bind mount for the system.  Raises
        ``AlreadyExists``; ``Unimplemented`` where there is nothing for the daemon to make.
        """
        fields = {
            "name": name,
            "mounts": mount_fields(mounts),
            "labels": dict(labels or {}),
            "temporary": temporary,
        }
        return _activation(self._call("Activate", fields, is_long=True).info)

    def deactivate(self, name: str) -> None:
        """Unmount what was made as ``name``, and forget it.  Raises ``NotFound``."""
        self._call("Deactivate", {"name": name}, is_long=True)

    def info(self, name: str) -> Activation:
        """Raises ``NotFound``."""
        return _activation(self._call("Info", {"name": name}).info)

    def update(self, activation: Activation, *, fields: Iterable[str] = ()) -> Activation:
        """Replace ``fields`` of what is remembered as ``activation.name``, all if none is named.

        Raises ``NotFound``; ``Unimplemented`` from every daemon up to 2.4 at least.
        """
        request: dict[str, object] = {"info": _fields(activation)}
        paths = tuple(fields)
        if paths:
            request["update_mask"] = mask(paths)
        return _activation(self._call("Update", request).info)

    def list(self, *filters: str) -> Iterator[Activation]:
        """All there are: daemons up to 2.4 at least do not look at ``filters``."""
        with self._stream("List", {"filters": filters}) as replies:
            for reply in replies:
                yield _activation(reply.info)


def _activation(message: DynamicMessage) -> Activation:
    return Activation(
        message.name,
        tuple(_active(found) for found in message.active),
        mounts_of(message.system),
        dict_of(message.labels),
    )


def _active(message: DynamicMessage) -> ActiveMount:
    is_told = message.HasField("mounted_at")
    return ActiveMount(
        mounts_of([message.mount])[0],
        message.mount_point,
        datetime_of(message.mounted_at) if is_told else None,
        dict_of(message.data),
    )


def _fields(activation: Activation) -> Fields:
    return {
        "name": activation.name,
        "active": [_active_message(active) for active in activation.active],
        "system": mount_fields(activation.system),
        "labels": dict(activation.labels),
    }


def _active_message(active: ActiveMount) -> DynamicMessage:
    fields: dict[str, object] = {
        "mount": mount_fields([active.mount])[0],
        "mount_point": active.mount_point,
        "data": dict(active.data),
    }
    if active.mounted_at is not None:
        fields["mounted_at"] = timestamp(active.mounted_at)
    return CONTAINERD.message("containerd.types.ActiveMount")(**fields)
