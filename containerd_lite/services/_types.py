"""Records that several services share, and their messages both ways.

What lives here: descriptor, mount, Any.  What may not: RPCs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..oci.descriptor import Descriptor
from ..schema.pool import DynamicMessage
from ..schema.values import RUNTIME_SPEC, json_bytes
from ._base import Fields


@dataclass(frozen=True)
class Mount:
    """A mount that a snapshotter asks for: as ``mount -t type -o options source target``."""

    type: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnyValue:
    """A ``google.protobuf.Any``: a type's bare full name, and its bytes as they came."""

    type_url: str
    value: bytes


def descriptor_of(message: DynamicMessage) -> Descriptor:
    return Descriptor(
        media_type=message.media_type,
        digest=message.digest,
        size=message.size,
        annotations=dict(message.annotations),
    )


def descriptor_fields(descriptor: Descriptor) -> Fields:
    return {
        "media_type": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
        "annotations": dict(descriptor.annotations),
    }


def mounts_of(messages: Iterable[DynamicMessage]) -> tuple[Mount, ...]:
    return tuple(Mount(m.type, m.source, m.target, tuple(m.options)) for m in messages)


def mount_fields(mounts: Iterable[Mount]) -> list[Fields]:
    return [
        {"type": m.type, "source": m.source, "target": m.target, "options": list(m.options)}
        for m in mounts
    ]


def any_of(message: DynamicMessage) -> AnyValue:
    return AnyValue(message.type_url, bytes(message.value))


def any_fields(value: AnyValue) -> Fields:
    return {"type_url": value.type_url, "value": value.value}


def runtime_spec(spec: Mapping[str, object]) -> AnyValue:
    """A runtime spec as containerd's typeurl writes it: JSON under a name of its own."""
    return AnyValue(RUNTIME_SPEC, json_bytes(spec))
