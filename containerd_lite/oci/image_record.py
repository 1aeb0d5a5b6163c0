"""The record of an image: its name, target and labels, and the rules for names and targets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..errors import DigestMismatch, InvalidArgument
from ..printable import quoted
from ..records import field, record, replace
from ..unread import Unread, absent
from . import digest as digests
from .descriptor import Descriptor

#: Label of an image that was converted from schema 1. Its value is the digest of the original
#: manifest.
CONVERTED = "io.containerd.image/converted-docker-schema1"
#: Label of an image whose manifest was repaired. Its value is the digest of the original manifest.
REPAIRED = "containerd-lite/repaired-from"
#: Label whose value is the RFC 3339 time at which a lease expires or, since 2.0, an image. Garbage
#: collection deletes what has expired.
EXPIRE = "containerd.io/gc.expire"
#: The maximum size of a label in bytes, key and value together (containerd's pkg/labels).
MAX_LABEL = 4096
#: The maximum size in bytes of all annotations of a target. The daemon sends the targets of all
#: images of a namespace in one message of at most 16 MiB.
_MAX_ANNOTATIONS = 64 << 10


@record(frozen=True)
class ImageRecord(Unread):
    """The record of an image in an image store or a layout.

    Attributes:
        name: The name of the image.
        target: The descriptor of the manifest or index that the name refers to.
        labels: The labels of the record.
        created_at: The time at which the record was created; ``None`` if it is unknown.
        updated_at: The time at which the record last changed; ``None`` if it is unknown.
    """

    name: str
    target: Descriptor
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    created_at: datetime | None = field(default_factory=absent)
    updated_at: datetime | None = field(default_factory=absent)


def digest_in(name: str) -> str:
    """Return the digest that a name consists of or ends with; ``""`` if it holds no digest."""
    digest = name.rpartition("@")[2]
    return digest if digests.is_digest(digest) else ""


def stands_for_other(name: str, target: Descriptor, labels: Mapping[str, str]) -> bool:
    """Return whether a name holds a digest, but its target has another digest.

    If the labels say which digest the target was converted from, the name can hold that digest.
    """
    digest = digest_in(name)
    known = (target.digest, labels.get(CONVERTED), labels.get(REPAIRED))
    return digest != "" and digest not in known


def check_name(name: str, target: Descriptor, labels: Mapping[str, str]) -> None:
    """Check that a name that holds a digest stands for the content with this digest.

    Raises:
        DigestMismatch: The name holds another digest than that of the target.
    """
    if stands_for_other(name, target, labels):
        raise DigestMismatch(
            f"{quoted(name)} holds a digest, but the image has the digest {target.digest}",
            remedy="Give the image a name without a digest",
        )


def recorded(name: str, target: Descriptor) -> Descriptor:
    """Return a target as a record keeps it: without annotations that are too long for a label.

    Raises:
        InvalidArgument: The other annotations have more than 64 KiB in total.
    """
    kept, total = {}, 0
    for key, text in target.annotations.items():
        size = len(key.encode()) + len(text.encode())
        if size <= MAX_LABEL:
            kept[key] = text
            total += size
    if total > _MAX_ANNOTATIONS:
        raise InvalidArgument(
            f"the annotations of image {quoted(name)} have {total} bytes, more than the "
            f"{_MAX_ANNOTATIONS} allowed",
            remedy="Remove annotations from the image's entry in the index",
        )
    return replace(target, annotations=kept) if len(kept) < len(target.annotations) else target


def all_recorded(
    targets: Mapping[str, Descriptor], labels: Mapping[str, str]
) -> dict[str, Descriptor]:
    """Return the targets of new names as their records keep them; see ``recorded``.

    Raises:
        DigestMismatch: A name holds another digest than that of its target.
        InvalidArgument: The annotations of a target are too long in total.
    """
    for name, target in targets.items():
        check_name(name, target, labels)
    return {name: recorded(name, target) for name, target in targets.items()}
