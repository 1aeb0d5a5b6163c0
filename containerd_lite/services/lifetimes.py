"""Labels that tell the daemon's garbage collection how long to keep an object.

Set the labels when the object is created, or update it: content, snapshots, images, leases and
mount activations have labels. Daemons ignore the labels that they do not know.

Source: containerd's docs/garbage-collection.md and core/metadata/gc.go.
"""

from __future__ import annotations

from datetime import datetime, timezone

from ..errors import InvalidArgument
from ..oci.image_record import EXPIRE

#: The label that keeps content or a snapshot. Its value does not matter.
ROOT = "containerd.io/gc.root"
_BACK_REFERENCE = "containerd.io/gc.bref"
_CONDITION = "containerd.io/gc.cond.snapshot"
_USED_AT = "containerd.io/gc.cond.value-usedat"


def expires(when: datetime) -> dict[str, str]:
    """Return the label by which a lease or an image expires. For images, since 2.0.

    Garbage collection deletes an expired image, unless another label or a lease keeps it.

    Args:
        when: The time, as an aware datetime.

    Raises:
        InvalidArgument: The time has no time zone.
    """
    return {EXPIRE: _rfc3339(when)}


def while_exists(kind: str, id: str, name: str = "") -> dict[str, str]:
    """Return the label by which an object exists as long as another object. Since 2.2.

    The label is a back reference. It keeps content, a snapshot, a mount activation or an expired
    image. The other object may be created later.

    Args:
        kind: The kind of the other object: ``content``, ``image``, ``container`` or
            ``snapshot.<snapshotter>``.
        id: The digest, name, id or key of the other object.
        name: A name for this label. Several labels for one kind need different names.
    """
    suffix = f"/{name}" if name else ""
    return {f"{_BACK_REFERENCE}.{kind}{suffix}": id}


def keeps_while_used(snapshotter: str, key: str, seconds: float, name: str = "") -> dict[str, str]:
    """Return the label by which content or an image keeps a recently used snapshot. Since 2.3.

    The snapshot needs the label that ``used_at`` returns.

    Args:
        snapshotter: The snapshotter of the snapshot.
        key: The key or name of the snapshot.
        seconds: Seconds after its last use for which the snapshot is kept.
        name: A name for this label. Several labels for one snapshotter need different names.
    """
    suffix = f"/{name}" if name else ""
    return {f"{_CONDITION}.{snapshotter}{suffix}": f"usedat<{seconds:.3f}s|{key}"}


def used_at(when: datetime) -> dict[str, str]:
    """Return the label of a snapshot that says when it was last used; see ``keeps_while_used``.

    Args:
        when: The time, as an aware datetime.

    Raises:
        InvalidArgument: The time has no time zone.
    """
    return {_USED_AT: _rfc3339(when)}


def _rfc3339(when: datetime) -> str:
    if when.utcoffset() is None:
        raise InvalidArgument(
            f"the time {when} has no time zone", remedy="Set tzinfo, for instance to timezone.utc"
        )
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
