"""Conversions between protobuf messages and the records that several services use.

The module converts descriptors, platforms, mounts and ``Any`` values.
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
    """A mount, with the arguments of ``mount -t type -o options source target``."""

    type: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()

    @property
    def is_read_only(self) -> bool:
        """Whether the mount is read-only, by its type and options.

        The type can have transforms for the mount manager before it, as in ``format/overlay``. An
        overlay without ``upperdir`` is read-only.

        Source: containerd's core/mount/mount.go, ReadOnly.
        """
        kind = self.type.rpartition("/")[2]
        if kind == "overlay":
            options = ",".join(self.options).split(",")
            return "ro" in options or not any(each.startswith("upperdir=") for each in options)
        return kind == "erofs" or "ro" in self.options


@record(frozen=True)
class AnyValue:
    """A ``google.protobuf.Any``: the full name of a type, and an encoded value of this type.

    containerd encodes values of the runtime spec's types as JSON. The names of these types begin
    with ``types.containerd.io/`` (containerd's typeurl).

    Attributes:
        type_url: The full name of the type, usually without ``type.googleapis.com/``.
        value: The encoded value.
    """

    type_url: str
    value: bytes

    @classmethod
    def of(cls, type_url: str, fields: Mapping[str, object]) -> AnyValue:
        """Encode a value of the type ``type_url``.

        Args:
            type_url: The full name of the type.
            fields: The fields of the value: a mapping from names to plain Python values.

        Raises:
            InvalidArgument: The schema lacks the type, or the type lacks one of the fields.
        """
        if type_url.startswith(JSON_TYPES):
            return cls(type_url, json_bytes(fields))
        return cls(type_url, encode(fill(CONTAINERD, CONTAINERD.message(type_url), fields)))

    @classmethod
    def parse(cls, body: bytes) -> AnyValue:
        """Decode a whole ``Any`` message, such as the content of a file.

        Raises:
            ProtocolError: The bytes are not an ``Any``.
        """
        return any_of(decode(CONTAINERD.message(_ANY), body))

    def message(self) -> bytes:
        """Encode this value as an ``Any`` message, which ``parse`` decodes."""
        return encode(CONTAINERD.message(_ANY)(**any_fields(self)))

    def plain(self) -> dict[str, object] | None:
        """Decode the value to plain Python values.

        Returns:
            A dict of the fields by their names, or ``None`` if the schema lacks the type. Nested
            messages become dicts, timestamps become aware datetimes, and enum values become their
            names. An ``Any`` becomes a dict with ``type_url`` and ``value``.

        Raises:
            ProtocolError: The bytes are not a value of the type.
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
    """Convert a ``containerd.types.Descriptor`` to a record."""
    descriptor = read_late(Descriptor, message, _DESCRIPTOR)
    attributes = descriptor.__dict__
    attributes["digest"], attributes["size"] = message.digest, message.size
    descriptor.__post_init__()
    return descriptor


def descriptor_fields(descriptor: Descriptor) -> Fields:
    """Return the fields of a ``containerd.types.Descriptor``."""
    return {
        "media_type": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
        "annotations": dict(descriptor.annotations),
    }


def mounts_of(messages: Iterable[DynamicMessage]) -> tuple[Mount, ...]:
    """Convert ``containerd.types.Mount`` messages to records."""
    return tuple(Mount(m.type, m.source, m.target, tuple(m.options)) for m in messages)


def mount_fields(mounts: Iterable[Mount]) -> list[Fields]:
    """Return the fields of ``containerd.types.Mount`` messages."""
    return [
        {"type": m.type, "source": m.source, "target": m.target, "options": list(m.options)}
        for m in mounts
    ]


def platform_of(message: DynamicMessage) -> Platform:
    """Convert a ``containerd.types.Platform`` to a record."""
    return Platform(
        message.os,
        message.architecture,
        message.variant,
        message.os_version,
        tuple(message.os_features),
    )


def platform_fields(platform: Platform) -> Fields:
    """Return the fields of a ``containerd.types.Platform``."""
    return {
        "os": platform.os,
        "architecture": platform.architecture,
        "variant": platform.variant,
        "os_version": platform.os_version,
        "os_features": list(platform.os_features),
    }


def any_of(message: DynamicMessage) -> AnyValue:
    """Convert a ``google.protobuf.Any`` to a record."""
    return AnyValue(message.type_url, bytes(message.value))


def any_fields(value: AnyValue) -> Fields:
    """Return the fields of a ``google.protobuf.Any``."""
    return {"type_url": value.type_url, "value": value.value}


def any_map_fields(values: Mapping[str, AnyValue]) -> dict[str, DynamicMessage]:
    """Convert a mapping of ``AnyValue`` records to a dict of ``Any`` messages.

    The values are not dicts of fields, because protobuf before 4.22 does not accept dicts in maps.
    """
    kind = CONTAINERD.message(_ANY)
    return {name: kind(**any_fields(value)) for name, value in values.items()}


def runtime_spec(spec: Mapping[str, object]) -> AnyValue:
    """Encode a runtime spec as JSON, with the type name that containerd's typeurl uses."""
    return AnyValue(RUNTIME_SPEC, json_bytes(spec))
