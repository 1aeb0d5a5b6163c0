"""Records that several services share, and their messages both ways.

What lives here: descriptor, platform, mount, Any.  What may not: RPCs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter

from ..errors import InvalidArgument
from ..oci.descriptor import Descriptor
from ..oci.platform import Platform
from ..records import record
from ..schema.plain import fill, plain
from ..schema.pool import CONTAINERD, DynamicMessage, decode, encode
from ..schema.values import JSON_TYPES, RUNTIME_SPEC, dict_of, json_bytes, json_of
from ..unread import Readers, read_late
from ._base import Fields

_ANY = "google.protobuf.Any"


@record(frozen=True)
class Mount:
    """A mount that a snapshotter asks for: as ``mount -t type -o options source target``."""

    type: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()


@record(frozen=True)
class AnyValue:
    """A ``google.protobuf.Any``: a type's bare full name, and its bytes as they came.

    containerd writes the types of the runtime spec as JSON, under names that begin with
    ``types.containerd.io/`` (containerd's typeurl).
    """

    type_url: str
    value: bytes

    @classmethod
    def of(cls, type_url: str, fields: Mapping[str, object]) -> AnyValue:
        """A value of that type with these fields.

        Raises ``InvalidArgument`` for a type that the schema does not have, and for fields that
        do not fit it.
        """
        if type_url.startswith(JSON_TYPES):
            return cls(type_url, json_bytes(fields))
        return cls(type_url, encode(fill(CONTAINERD, CONTAINERD.message(type_url), fields)))

    @classmethod
    def parse(cls, body: bytes) -> AnyValue:
        """An ``Any`` that stands for itself, as in a file.  Raises ``ProtocolError``."""
        return any_of(decode(CONTAINERD.message(_ANY), body))

    def message(self) -> bytes:
        """What ``parse`` reads."""
        return encode(CONTAINERD.message(_ANY)(**any_fields(self)))

    def plain(self) -> dict[str, object] | None:
        """The fields, in plain Python; ``None`` for a type that the schema does not have.

        A message within is a dict, a timestamp an aware datetime, an enum the name of its value,
        an ``Any`` a dict of ``type_url`` and ``value``.  Raises ``ProtocolError`` for bytes that
        are no such value.
        """
        name = self.type_url.removeprefix("type.googleapis.com/")
        if name.startswith(JSON_TYPES):
            return json_of(self.value)
        try:
            kind = CONTAINERD.message(name)
        except InvalidArgument:
            return None
        return plain(decode(kind, self.value))


_DESCRIPTOR: Readers = {
    "media_type": attrgetter("media_type"),
    "annotations": lambda message: dict_of(message.annotations),
}


def descriptor_of(message: DynamicMessage) -> Descriptor:
    made = read_late(Descriptor, message, _DESCRIPTOR)
    parts = made.__dict__
    parts["digest"], parts["size"] = message.digest, message.size
    made.__post_init__()
    return made


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


def platform_of(message: DynamicMessage) -> Platform:
    """A ``containerd.types.Platform``."""
    return Platform(
        message.os,
        message.architecture,
        message.variant,
        message.os_version,
        tuple(message.os_features),
    )


def platform_fields(platform: Platform) -> Fields:
    """A platform as the fields of a ``containerd.types.Platform``."""
    return {
        "os": platform.os,
        "architecture": platform.architecture,
        "variant": platform.variant,
        "os_version": platform.os_version,
        "os_features": list(platform.os_features),
    }


def any_of(message: DynamicMessage) -> AnyValue:
    return AnyValue(message.type_url, bytes(message.value))


def any_fields(value: AnyValue) -> Fields:
    return {"type_url": value.type_url, "value": value.value}


def any_map_fields(values: Mapping[str, AnyValue]) -> dict[str, DynamicMessage]:
    """A map of ``Any``, as messages: in maps, protobuf before 4.22 does not make any of dicts."""
    kind = CONTAINERD.message(_ANY)
    return {name: kind(**any_fields(value)) for name, value in values.items()}


def runtime_spec(spec: Mapping[str, object]) -> AnyValue:
    """A runtime spec as containerd's typeurl writes it: JSON under a name of its own."""
    return AnyValue(RUNTIME_SPEC, json_bytes(spec))
