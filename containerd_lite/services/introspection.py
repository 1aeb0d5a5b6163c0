"""containerd.services.introspection.v1: what this daemon is made of."""

from __future__ import annotations

from datetime import datetime

from ..errors import InvalidArgument
from ..oci.platform import Platform
from ..records import field, record
from ..schema.pool import CONTAINERD, DynamicMessage, decode, encode
from ..schema.values import datetime_of, dict_of
from ._base import Service
from ._types import AnyValue, any_fields, any_of, platform_of

_RUNTIME_REQUEST = "containerd.types.RuntimeRequest"
_RUNTIME_INFO = "containerd.types.RuntimeInfo"


@record(frozen=True)
class Plugin:
    """A plugin; ``error`` says why it is not usable, ``""`` if it is.

    ``requires`` are types of plugins.  ``error_code`` is gRPC's number of the error, 0 without
    one, ``error_details`` what the daemon tells with it.
    """

    type: str
    id: str
    requires: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    exports: dict[str, str] = field(default_factory=dict, hash=False)
    capabilities: tuple[str, ...] = ()
    error: str = ""
    error_code: int = 0
    error_details: tuple[AnyValue, ...] = ()


@record(frozen=True)
class Deprecation:
    """A deprecated feature that the daemon saw in use, and when it did last."""

    id: str
    message: str
    last_occurrence: datetime | None = None


@record(frozen=True)
class Server:
    """The daemon's id, and its warnings of what is deprecated (since 1.7.9 and 1.6.25).

    ``pid`` and ``pidns``, the inode number of its PID namespace, are 0 before 1.7 and 1.6.25.
    """

    uuid: str
    pid: int
    deprecations: tuple[Deprecation, ...] = ()
    pidns: int = 0


@record(frozen=True)
class PluginInfo:
    """A plugin, and what it tells of itself: ``RuntimeInfo.from_any`` reads a runtime's."""

    plugin: Plugin
    extra: AnyValue | None = None


@record(frozen=True)
class RuntimeRequest:
    """What to ask the runtime plugin (``io.containerd.runtime.v2``, ``task``); since 2.0.

    ``runtime_path`` is a shim's name or path (``io.containerd.runc.v2``), ``options`` what a task
    would be created with.
    """

    runtime_path: str
    options: AnyValue | None = None

    def to_any(self) -> AnyValue:
        fields: dict[str, object] = {"runtime_path": self.runtime_path}
        if self.options is not None:
            fields["options"] = any_fields(self.options)
        return AnyValue(_RUNTIME_REQUEST, encode(CONTAINERD.message(_RUNTIME_REQUEST)(**fields)))


@record(frozen=True)
class RuntimeInfo:
    """What a runtime tells of itself.

    ``features`` is the runtime spec's Features, JSON in its ``value``; ``annotations`` are the
    shim's own.
    """

    name: str
    version: str = ""
    revision: str = ""
    options: AnyValue | None = None
    features: AnyValue | None = None
    annotations: dict[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_any(cls, value: AnyValue) -> RuntimeInfo:
        """Raises ``InvalidArgument`` for a value of another type."""
        if value.type_url != _RUNTIME_INFO:
            raise InvalidArgument(f"a {value.type_url} is no {_RUNTIME_INFO}")
        message = decode(CONTAINERD.message(_RUNTIME_INFO), value.value)
        return cls(
            message.name,
            message.version.version,
            message.version.revision,
            options=_optional(message, "options"),
            features=_optional(message, "features"),
            annotations=dict_of(message.annotations),
        )


class IntrospectionService(Service):
    """The daemon's plugins and its identity."""

    _name = "containerd.services.introspection.v1.Introspection"

    def plugins(self, *filters: str) -> list[Plugin]:
        """The plugins that match one of ``filters`` (``type``, ``id``), all without any."""
        return [_plugin(found) for found in self._call("Plugins", {"filters": filters}).plugins]

    def server(self) -> Server:
        """Which daemon this is; since 1.3."""
        reply = self._call("Server")
        warnings = tuple(_deprecation(warning) for warning in reply.deprecations)
        return Server(reply.uuid, reply.pid, warnings, reply.pidns)

    def plugin_info(self, type: str, id: str, options: AnyValue | None = None) -> PluginInfo:
        """One plugin and, if it is asked with ``options``, what it tells of itself; since 2.0.

        Raises ``NotFound``; ``Unimplemented`` for a plugin that tells nothing,
        ``FailedPrecondition`` for one that did not start.
        """
        fields: dict[str, object] = {"type": type, "id": id}
        if options is not None:
            fields["options"] = any_fields(options)
        reply = self._call("PluginInfo", fields)
        return PluginInfo(_plugin(reply.plugin), _optional(reply, "extra"))


def _plugin(message: DynamicMessage) -> Plugin:
    failed = message.HasField("init_err")
    return Plugin(
        message.type,
        message.id,
        tuple(message.requires),
        platforms=tuple(platform_of(platform) for platform in message.platforms),
        exports=dict_of(message.exports),
        capabilities=tuple(message.capabilities),
        error=(message.init_err.message or f"code {message.init_err.code}") if failed else "",
        error_code=message.init_err.code if failed else 0,
        error_details=tuple(any_of(detail) for detail in message.init_err.details)
        if failed
        else (),
    )


def _deprecation(message: DynamicMessage) -> Deprecation:
    is_told = message.HasField("last_occurrence")
    when = datetime_of(message.last_occurrence) if is_told else None
    return Deprecation(message.id, message.message, when)


def _optional(message: DynamicMessage, name: str) -> AnyValue | None:
    return any_of(getattr(message, name)) if message.HasField(name) else None
