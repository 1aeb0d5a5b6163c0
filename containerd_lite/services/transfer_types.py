"""What a transfer moves from and to (containerd's types/transfer), and what it says meanwhile.

What lives here: frozen dataclasses that become an ``Any`` under their bare full names, and come
back from one.  What may not: RPCs.
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

_HTTP_DEBUG = ("disabled", "debug", "trace", "both")
_AUTH = ("none", "credentials", "refresh", "header")


@record(frozen=True)
class TransferValue:
    """What all of them have: ``to_any``."""

    _name: ClassVar[str]

    def to_any(self) -> AnyValue:
        """As an ``Any``.  Raises ``InvalidArgument`` for a value that its field cannot have."""
        name = f"containerd.types.transfer.{self._name}"
        return AnyValue(name, encode(CONTAINERD.message(name)(**self._fields())))

    def _fields(self) -> Fields:
        return vars(self)

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(**{one.name: getattr(message, one.name) for one in fields(cls)})


@record(frozen=True)
class TransferResolver:
    """How the daemon talks to a registry.

    ``auth_stream`` is the id of an open stream, on which each ``AuthRequest`` wants an
    ``AuthResponse``.  ``headers`` go with every request.  ``host_dir`` is a folder of the
    daemon's with hosts.toml files, ``default_scheme`` is ``http`` or ``https`` (both since 2.0).
    ``http_debug`` is ``disabled``, ``debug`` (requests and answers), ``trace`` (connections) or
    ``both``; ``logs_stream`` the id of an open stream of bytes for it, the daemon's log if it is
    ``""`` (both since 2.1).  Older daemons do not look at what they do not know.
    """

    auth_stream: str = ""
    headers: dict[str, str] = field(default_factory=dict, hash=False, repr=False)
    host_dir: str = ""
    default_scheme: str = ""
    http_debug: str = "disabled"
    logs_stream: str = ""


@record(frozen=True)
class OCIRegistry(TransferValue):
    """A registry's image, as either end of a transfer."""

    _name = "OCIRegistry"

    reference: str
    resolver: TransferResolver | None = None

    def _fields(self) -> Fields:
        if self.resolver is None:
            return {"reference": self.reference}
        resolver = {
            **vars(self.resolver),
            "headers": dict(self.resolver.headers),
            "http_debug": _number(_HTTP_DEBUG, self.resolver.http_debug),
        }
        return {"reference": self.reference, "resolver": resolver}

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        if not message.HasField("resolver"):
            return cls(message.reference)
        found = message.resolver
        resolver = TransferResolver(
            found.auth_stream,
            dict_of(found.headers),
            found.host_dir,
            default_scheme=found.default_scheme,
            http_debug=_word(_HTTP_DEBUG, found.http_debug),
            logs_stream=found.logs_stream,
        )
        return cls(message.reference, resolver)


@record(frozen=True)
class UnpackConfiguration:
    """Unpack what is for ``platform``, into the platform's usual snapshotter unless given."""

    platform: Platform
    snapshotter: str = ""


@record(frozen=True)
class ImageReference:
    """How to name an image that comes in, or which name to look for.

    With ``is_prefix`` the name lacks its tag or digest; then ``allow_overwrite`` lets a name that
    an annotation gives stand in for it, ``add_digest`` adds a name by digest, and
    ``skip_named_digest`` adds that only to what has no other.
    """

    name: str
    is_prefix: bool = False
    allow_overwrite: bool = False
    add_digest: bool = False
    skip_named_digest: bool = False


@record(frozen=True)
class ImageStore(TransferValue):
    """The daemon's images, as either end of a transfer.

    ``name`` may be ``""`` where ``extra_references`` name what comes.  ``platforms`` are those to
    take, all if there is none; ``all_metadata`` keeps the manifests and configurations of others
    too, ``manifest_limit`` takes so many platforms at most (0: no limit).
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
            "platforms": [platform_fields(one) for one in self.platforms],
            "extra_references": [vars(one) for one in self.extra_references],
            "unpacks": [
                {"platform": platform_fields(one.platform), "snapshotter": one.snapshotter}
                for one in self.unpacks
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
                    one.name,
                    one.is_prefix,
                    one.allow_overwrite,
                    one.add_digest,
                    one.skip_named_digest,
                )
                for one in message.extra_references
            ),
            unpacks=tuple(
                UnpackConfiguration(platform_of(one.platform), one.snapshotter)
                for one in message.unpacks
            ),
        )


@record(frozen=True)
class ImageImportStream(TransferValue):
    """An archive that is sent through an open stream (``ByteWriter``): a source.

    With ``media_type`` ``""`` it may be compressed.  ``force_compress`` compresses the layers
    that are not.
    """

    _name = "ImageImportStream"

    stream: str
    media_type: str = ""
    force_compress: bool = False


@record(frozen=True)
class ImageExportStream(TransferValue):
    """An archive that comes through an open stream (``ByteReader``): a destination.

    ``platforms`` are those to take, the daemon's own if there is none.
    ``skip_compatibility_manifest`` leaves out docker's manifest.json, ``skip_non_distributable``
    the layers that may not be passed on.
    """

    _name = "ImageExportStream"

    stream: str
    media_type: str = ""
    platforms: tuple[Platform, ...] = ()
    all_platforms: bool = False
    skip_compatibility_manifest: bool = False
    skip_non_distributable: bool = False

    def _fields(self) -> Fields:
        return {**vars(self), "platforms": [platform_fields(one) for one in self.platforms]}

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
    """Files in a running container, as either end of a transfer; since 2.3.

    ``no_walk`` takes a folder without what is in it, ``preserve_ownership`` keeps the owners
    that an archive names.
    """

    _name = "ContainerPath"

    container_id: str
    path: str
    no_walk: bool = False
    preserve_ownership: bool = False


@record(frozen=True)
class ReadStream(TransferValue):
    """Bytes from the client to the daemon, through an open stream; since 2.3."""

    _name = "ReadStream"

    stream: str
    media_type: str = ""


@record(frozen=True)
class WriteStream(TransferValue):
    """Bytes from the daemon to the client, through an open stream; since 2.3."""

    _name = "WriteStream"

    stream: str
    media_type: str = ""


@record(frozen=True)
class Progress(TransferValue):
    """What a transfer says on its progress stream.

    ``event`` is a word (``downloading``, ``complete``, ``saved``, …), or a sentence where there
    is no ``name``.  ``progress`` of ``total`` are bytes.  ``parents`` are the names that this one
    belongs to.  ``descriptor`` is told since 2.0.
    """

    _name = "Progress"

    event: str
    name: str = ""
    parents: tuple[str, ...] = ()
    progress: int = 0
    total: int = 0
    descriptor: Descriptor | None = None

    def _fields(self) -> Fields:
        plain = {**vars(self), "parents": list(self.parents)}
        found = plain.pop("descriptor")
        return plain if found is None else {**plain, "desc": descriptor_fields(found)}

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
    """The daemon asks on an auth stream who is at ``host``.

    ``wwwauthenticate`` are that host's headers; empty up to 2.4 at least.
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
    """What the daemon may say at a registry.

    ``auth_type`` is ``none``, ``credentials`` (``username``, and ``secret`` its password),
    ``refresh`` (``secret`` a refresh token) or ``header`` (``secret`` an Authorization header).
    """

    _name = "AuthResponse"

    auth_type: str = "none"
    secret: str = field(default="", repr=False)
    username: str = ""
    expire_at: datetime | None = None

    def _fields(self) -> Fields:
        plain: dict[str, object] = {
            "authType": _number(_AUTH, self.auth_type),
            "secret": self.secret,
            "username": self.username,
        }
        if self.expire_at is not None:
            plain["expire_at"] = timestamp(self.expire_at)
        return plain

    @classmethod
    def _read(cls, message: DynamicMessage) -> Self:
        return cls(
            _word(_AUTH, message.authType),
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
    """An ``Any`` as what it is; one that is none of these stays as it came.

    Raises ``ProtocolError`` for bytes that are no message of their type.
    """
    read = _READERS.get(value.type_url)
    if read is None:
        return value
    return read(decode(CONTAINERD.message(value.type_url), value.value))


def _platforms(message: DynamicMessage) -> tuple[Platform, ...]:
    return tuple(platform_of(one) for one in message.platforms)


def _number(words: tuple[str, ...], word: str) -> int:
    if word not in words:
        raise InvalidArgument(f"{word!r} is not one of {', '.join(words)}")
    return words.index(word)


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else str(number)
