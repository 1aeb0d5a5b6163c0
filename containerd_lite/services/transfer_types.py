"""The sources, destinations and messages of transfers (containerd's types/transfer).

The method ``to_any`` of each record encodes the record as an ``Any``. ``transfer_value`` decodes an
``Any`` to a record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from ..errors import InvalidArgument
from ..oci.descriptor import Descriptor
from ..oci.platform import Platform
from ..records import field, record
from ..schema.pool import CONTAINERD, DynamicMessage, decode, encode
from ..schema.values import datetime_of, dict_of, timestamp
from ._base import Fields
from ._types import AnyValue, descriptor_fields, descriptor_of, platform_fields, platform_of

if TYPE_CHECKING:
    from typing_extensions import Self

#: Words for the values of the enums HTTPDebug and AuthType. The index of a word is the number of
#: the enum value.
_HTTP_DEBUG_WORDS = ("disabled", "debug", "trace", "both")
_AUTH_WORDS = ("none", "credentials", "refresh", "header")


@record(frozen=True)
class TransferValue:
    """The base class of the records of transfers."""

    _name: ClassVar[str]

    def to_any(self) -> AnyValue:
        """Encode this record as an ``Any``.

        Raises:
            InvalidArgument: A field contains an unknown word, or a value of a wrong type or range.
        """
        name = f"containerd.types.transfer.{self._name}"
        new_message, values = CONTAINERD.message(name), self._fields()
        try:
            message = new_message(**values)
        except (TypeError, ValueError):  # the text of protobuf's error could contain a secret
            raise InvalidArgument(f"a field has an invalid value: {self!r:.200}") from None
        return AnyValue(name, encode(message))

    def _fields(self) -> Fields:
        return vars(self)

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(**{item.name: getattr(message, item.name) for item in fields(cls)})


@record(frozen=True)
class TransferResolver:
    """Settings for the daemon's requests to a registry.

    Older daemons ignore the settings that they do not know.

    Attributes:
        auth_stream: The id of an open stream. The daemon sends each ``AuthRequest`` on this
            stream, and the client must respond with an ``AuthResponse``.
        headers: HTTP headers of every request.
        host_dir: A folder on the daemon's machine that contains hosts.toml files. Since 2.0.
        default_scheme: The default URL scheme, ``http`` or ``https``. Since 2.0.
        http_debug: What the daemon logs about HTTP: nothing (``disabled``), requests and responses
            (``debug``), connections (``trace``) or ``both``. Since 2.1.
        logs_stream: The id of an open stream on which the daemon sends the HTTP log as bytes.
            Default: the daemon writes the HTTP log to its own log. Since 2.1. Two downloads at the
            same time can make containerd (at least 2.1 to 2.4) panic, because it does not lock this
            stream. With ``max_concurrent_downloads = 1`` in its configuration, it does not panic.
    """

    auth_stream: str = ""
    headers: dict[str, str] = field(default_factory=dict, hash=False, repr=False)
    host_dir: str = ""
    default_scheme: str = ""
    http_debug: str = "disabled"
    logs_stream: str = ""


@record(frozen=True)
class OCIRegistry(TransferValue):
    """An image in a registry, as the source or the destination of a transfer.

    Attributes:
        reference: The full name of the image.
        resolver: Settings for the requests to the registry.
    """

    _name = "OCIRegistry"

    reference: str
    resolver: TransferResolver | None = None

    def _fields(self) -> Fields:
        if self.resolver is None:
            return {"reference": self.reference}
        resolver = {
            **vars(self.resolver),
            "headers": dict(self.resolver.headers),
            "http_debug": _number_of(_HTTP_DEBUG_WORDS, self.resolver.http_debug),
        }
        return {"reference": self.reference, "resolver": resolver}

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        if not message.HasField("resolver"):
            return cls(message.reference)
        settings = message.resolver
        resolver = TransferResolver(
            settings.auth_stream,
            dict_of(settings.headers),
            settings.host_dir,
            default_scheme=settings.default_scheme,
            http_debug=_word_of(_HTTP_DEBUG_WORDS, settings.http_debug),
            logs_stream=settings.logs_stream,
        )
        return cls(message.reference, resolver)


@record(frozen=True)
class UnpackConfiguration:
    """A platform for which the daemon unpacks the layers of the image.

    Attributes:
        platform: The platform.
        snapshotter: The snapshotter for the layers. Default: the daemon's default snapshotter for
            this platform.
    """

    platform: Platform
    snapshotter: str = ""


@record(frozen=True)
class ImageReference:
    """The name for an imported image, or the name of an image to export.

    Attributes:
        name: The full name of the image, or a prefix of the name if ``is_prefix`` is true.
        is_prefix: Whether ``name`` is a prefix, to which the daemon adds a tag or a digest. The
            daemon uses the following fields only if ``is_prefix`` is true.
        allow_overwrite: Whether a full name in an annotation replaces ``name``.
        add_digest: Whether the daemon also stores a name that contains the image's digest.
        skip_named_digest: Whether the daemon stores the name with the digest only if the image has
            no other name.
    """

    name: str
    is_prefix: bool = False
    allow_overwrite: bool = False
    add_digest: bool = False
    skip_named_digest: bool = False


@record(frozen=True)
class ImageStore(TransferValue):
    """The daemon's image store, as the source or the destination of a transfer.

    Attributes:
        name: The name of the image, or ``""`` if ``extra_references`` contains the names.
        labels: The labels of the stored image.
        platforms: The platforms to transfer. Default: all platforms.
        all_metadata: Whether to transfer the manifests and configurations of all platforms, even
            if ``platforms`` limits the layers.
        manifest_limit: The maximum number of platforms. 0 means no limit.
        extra_references: Further names.
        unpacks: The platforms for which the daemon unpacks the layers.
    """

    _name = "ImageStore"

    name: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    platforms: tuple[Platform, ...] = ()
    all_metadata: bool = False
    manifest_limit: int = 0
    extra_references: tuple[ImageReference, ...] = ()
    unpacks: tuple[UnpackConfiguration, ...] = ()

    def _fields(self) -> Fields:
        return {
            **vars(self),
            "labels": dict(self.labels),
            "platforms": [platform_fields(platform) for platform in self.platforms],
            "extra_references": [vars(reference) for reference in self.extra_references],
            "unpacks": [
                {"platform": platform_fields(unpack.platform), "snapshotter": unpack.snapshotter}
                for unpack in self.unpacks
            ],
        }

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(
            message.name,
            dict_of(message.labels),
            _platforms(message),
            all_metadata=message.all_metadata,
            manifest_limit=message.manifest_limit,
            extra_references=tuple(
                ImageReference(
                    reference.name,
                    reference.is_prefix,
                    reference.allow_overwrite,
                    reference.add_digest,
                    reference.skip_named_digest,
                )
                for reference in message.extra_references
            ),
            unpacks=tuple(
                UnpackConfiguration(platform_of(unpack.platform), unpack.snapshotter)
                for unpack in message.unpacks
            ),
        )


@record(frozen=True)
class ImageImportStream(TransferValue):
    """An archive that the client sends with a ``ByteWriter``, as the source of a transfer.

    Attributes:
        stream: The id of an open stream.
        media_type: The media type of the archive. If ``media_type`` is ``""``, the archive may be
            compressed.
        force_compress: Whether the daemon compresses layers that are not compressed.
    """

    _name = "ImageImportStream"

    stream: str
    media_type: str = ""
    force_compress: bool = False


@record(frozen=True)
class ImageExportStream(TransferValue):
    """An archive that the client receives with a ``ByteReader``, as the destination of a transfer.

    Attributes:
        stream: The id of an open stream.
        media_type: The media type of the archive.
        platforms: The platforms to export. Default: the daemon's platform.
        all_platforms: Whether to export all platforms.
        skip_compatibility_manifest: Whether to omit Docker's manifest.json.
        skip_non_distributable: Whether to omit non-distributable layers.
    """

    _name = "ImageExportStream"

    stream: str
    media_type: str = ""
    platforms: tuple[Platform, ...] = ()
    all_platforms: bool = False
    skip_compatibility_manifest: bool = False
    skip_non_distributable: bool = False

    def _fields(self) -> Fields:
        return {**vars(self), "platforms": [platform_fields(item) for item in self.platforms]}

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(
            message.stream,
            message.media_type,
            _platforms(message),
            all_platforms=message.all_platforms,
            skip_compatibility_manifest=message.skip_compatibility_manifest,
            skip_non_distributable=message.skip_non_distributable,
        )


@record(frozen=True)
class ContainerPath(TransferValue):
    """Files in a running container, as the source or the destination of a transfer. Since 2.3.

    Attributes:
        container_id: The id of the container.
        path: The path in the container.
        no_walk: Whether to transfer a folder without its content.
        preserve_ownership: Whether the files get the owners that the archive names.
    """

    _name = "ContainerPath"

    container_id: str
    path: str
    no_walk: bool = False
    preserve_ownership: bool = False


@record(frozen=True)
class ReadStream(TransferValue):
    """Bytes from the client to the daemon. ``stream`` is the id of an open stream. Since 2.3."""

    _name = "ReadStream"

    stream: str
    media_type: str = ""


@record(frozen=True)
class WriteStream(TransferValue):
    """Bytes from the daemon to the client. ``stream`` is the id of an open stream. Since 2.3."""

    _name = "WriteStream"

    stream: str
    media_type: str = ""


@record(frozen=True)
class Progress(TransferValue):
    """A progress report of a transfer, which the daemon sends on the progress stream.

    Attributes:
        event: A word (``downloading``, ``complete``, ``saved``, …), or a sentence if ``name`` is
            empty.
        name: The name of the content or image that the report is about.
        parents: The names of the parents of the content or image.
        progress: How many of the ``total`` bytes have been transferred.
        total: The size in bytes.
        descriptor: The descriptor of the content. Since 2.0.
    """

    _name = "Progress"

    event: str
    name: str = ""
    parents: tuple[str, ...] = ()
    progress: int = 0
    total: int = 0
    descriptor: Descriptor | None = None

    def _fields(self) -> Fields:
        values = {**vars(self), "parents": list(self.parents)}
        descriptor = values.pop("descriptor")
        return values if descriptor is None else {**values, "desc": descriptor_fields(descriptor)}

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(
            message.event,
            message.name,
            tuple(message.parents),
            progress=message.progress,
            total=message.total,
            descriptor=descriptor_of(message.desc) if message.HasField("desc") else None,
        )


@record(frozen=True)
class AuthRequest(TransferValue):
    """The daemon's request for credentials, which it sends on the auth stream.

    Attributes:
        host: The host of the registry.
        reference: The name of the image.
        wwwauthenticate: The registry's WWW-Authenticate headers. Daemons up to at least 2.4 do not
            set this field.
    """

    _name = "AuthRequest"

    host: str
    reference: str = ""
    wwwauthenticate: tuple[str, ...] = ()

    def _fields(self) -> Fields:
        return {**vars(self), "wwwauthenticate": list(self.wwwauthenticate)}

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(message.host, message.reference, tuple(message.wwwauthenticate))


@record(frozen=True)
class AuthResponse(TransferValue):
    """The client's credentials for a registry, which the client sends on the auth stream.

    Attributes:
        auth_type: ``none``, ``credentials``, ``refresh`` or ``header``.
        secret: The password (for ``credentials``), a refresh token (for ``refresh``), or the value
            of the Authorization header (for ``header``).
        username: The name of the user, if ``auth_type`` is ``credentials``.
        expire_at: When the credentials expire.
    """

    _name = "AuthResponse"

    auth_type: str = "none"
    secret: str = field(default="", repr=False)
    username: str = ""
    expire_at: datetime | None = None

    def _fields(self) -> Fields:
        values: dict[str, object] = {
            "authType": _number_of(_AUTH_WORDS, self.auth_type),
            "secret": self.secret,
            "username": self.username,
        }
        if self.expire_at is not None:
            values["expire_at"] = timestamp(self.expire_at)
        return values

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(
            _word_of(_AUTH_WORDS, message.authType),
            message.secret,
            message.username,
            datetime_of(message.expire_at) if message.HasField("expire_at") else None,
        )


_READERS: dict[str, Callable[[DynamicMessage], TransferValue]] = {
    f"containerd.types.transfer.{kind._name}": kind._read
    for kind in (
        OCIRegistry,
        ImageStore,
        ImageImportStream,
        ImageExportStream,
        ContainerPath,
        ReadStream,
        WriteStream,
        Progress,
        AuthRequest,
        AuthResponse,
    )
}


def transfer_value(value: AnyValue) -> TransferValue | AnyValue:
    """Decode an ``Any`` to a record of this module.

    If the type of the ``Any`` is unknown, return the ``Any`` unchanged.

    Raises:
        ProtocolError: The bytes are not a value of the type.
    """
    read = _READERS.get(value.type_url)
    if read is None:
        return value
    return read(decode(CONTAINERD.message(value.type_url), value.value))


def _platforms(message: DynamicMessage) -> tuple[Platform, ...]:
    return tuple(platform_of(platform) for platform in message.platforms)


def _number_of(words: tuple[str, ...], word: str) -> int:
    if word not in words:
        raise InvalidArgument(f"{word!r} is not one of {', '.join(words)}")
    return words.index(word)


def _word_of(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else str(number)
