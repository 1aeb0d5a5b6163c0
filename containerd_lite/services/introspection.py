"""The introspection service, containerd.services.introspection.v1: the daemon and its plugins."""

from __future__ import annotations

from datetime import datetime

from ..errors import InvalidArgument
from ..oci.platform import Platform
from ..records import field, record
from ..schema.pool import CONTAINERD, DynamicMessage, decode, encode
from ..schema.values import datetime_of, dict_of
from ._base import Service
from ._types import AnyValue, any_fields, any_of, platform_of
from .deprecations import PREFIX, REMEDIES

_RUNTIME_REQUEST = "containerd.types.RuntimeRequest"
_RUNTIME_INFO = "containerd.types.RuntimeInfo"


@record(frozen=True)
class Plugin:
    """A plugin of the daemon.

    Attributes:
        type: The type of the plugin, such as ``io.containerd.snapshotter.v1``.
        id: The id of the plugin, which is unique within its type.
        requires: The types of plugins that the plugin requires.
        platforms: The platforms that the plugin supports.
        exports: Values that the plugin exports, by their names.
        capabilities: The names of the plugin's capabilities.
        error: Why the plugin is not usable, or ``""`` if it is usable.
        error_code: The gRPC status code of the error, or 0.
        error_details: The details of the error's status.
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

    @property
    def is_skipped(self) -> bool:
        """Whether the plugin did not start because it is not configured or not supported here."""
        return "skip plugin" in self.error or self.error.endswith("not configured")


@record(frozen=True)
class Deprecation:
    """A deprecated feature that the daemon, its configuration or its clients use.

    Attributes:
        id: The id, such as ``io.containerd.deprecation/cri-registry-mirrors``.
        message: The daemon's description.
        last_occurrence: The time of the last use.
    """

    id: str
    message: str
    last_occurrence: datetime | None = None

    @property
    def remedy(self) -> str:
        """The advice on the use; ``""`` if this package does not know the id."""
        return REMEDIES.get(self.id.removeprefix(PREFIX), "")


@record(frozen=True)
class Server:
    """The daemon's identity, and its deprecation warnings.

    Attributes:
        uuid: The id of the daemon.
        pid: The process id of the daemon. Since 1.6.25 and 1.7; 0 for older daemons.
        deprecations: The deprecation warnings. Since 1.6.25 and 1.7.9.
        pidns: The inode number of the daemon's PID namespace. Since 1.6.25 and 1.7; 0 for older
            daemons.
    """

    uuid: str
    pid: int
    deprecations: tuple[Deprecation, ...] = ()
    pidns: int = 0


@record(frozen=True)
class PluginInfo:
    """A plugin, and extra information that the plugin has returned.

    ``RuntimeInfo.from_any`` decodes the ``extra`` information of the runtime plugin.
    """

    plugin: Plugin
    extra: AnyValue | None = None


@record(frozen=True)
class RuntimeRequest:
    """A request to the runtime plugin for information about a runtime. Since 2.0.

    ``plugin_info`` sends the request. The runtime plugin has the type
    ``io.containerd.runtime.v2`` and the id ``task``.

    Attributes:
        runtime_path: The name or the path of a shim, such as ``io.containerd.runc.v2``.
        options: Runtime options, as for the creation of a task.
    """

    runtime_path: str
    options: AnyValue | None = None

    def to_any(self) -> AnyValue:
        """Encode this request for the argument ``options`` of ``plugin_info``."""
        fields: dict[str, object] = {"runtime_path": self.runtime_path}
        if self.options is not None:
            fields["options"] = any_fields(self.options)
        return AnyValue(_RUNTIME_REQUEST, encode(CONTAINERD.message(_RUNTIME_REQUEST)(**fields)))


@record(frozen=True)
class RuntimeInfo:
    """Information that a runtime returns about itself.

    Attributes:
        name: The name of the runtime.
        version: The version of the runtime.
        revision: The source revision of the runtime.
        options: The options of the runtime.
        features: The runtime's ``Features`` (OCI runtime spec), as JSON in an ``Any``.
        annotations: The annotations of the shim.
    """

    name: str
    version: str = ""
    revision: str = ""
    options: AnyValue | None = None
    features: AnyValue | None = None
    annotations: dict[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_any(cls, value: AnyValue) -> RuntimeInfo:
        """Decode the ``extra`` information of the runtime plugin.

        Raises:
            InvalidArgument: The value is not a ``RuntimeInfo``.
        """
        if value.type_url != _RUNTIME_INFO:
            raise InvalidArgument(f"the value's type is {value.type_url}, not {_RUNTIME_INFO}")
        message = decode(CONTAINERD.message(_RUNTIME_INFO), value.value)
        return cls(
            message.name,
            message.version.version,
            message.version.revision,
            options=_any_if_set(message, "options"),
            features=_any_if_set(message, "features"),
            annotations=dict_of(message.annotations),
        )


class IntrospectionService(Service):
    """The daemon's plugins and its identity."""

    _name = "containerd.services.introspection.v1.Introspection"

    def plugins(self, *filters: str) -> list[Plugin]:
        """Return the daemon's plugins, including those that failed to start.

        Args:
            filters: Only plugins that match one of these filters on ``type`` or ``id``. Default:
                all plugins.
        """
        return [_plugin(plugin) for plugin in self._call("Plugins", {"filters": filters}).plugins]

    def server(self) -> Server:
        """Return the daemon's identity and its deprecation warnings. Since 1.3.

        Raises:
            Unimplemented: The daemon is older than 1.3.
        """
        response = self._call("Server")
        warnings = tuple(_deprecation(warning) for warning in response.deprecations)
        return Server(response.uuid, response.pid, warnings, response.pidns)

    def plugin_info(self, type: str, id: str, options: AnyValue | None = None) -> PluginInfo:
        """Return one plugin. If ``options`` are given, also return extra information. Since 2.0.

        Args:
            type: The type of the plugin.
            id: The id of the plugin.
            options: A request to the plugin, such as ``RuntimeRequest.to_any()``.

        Raises:
            NotFound: The plugin does not exist.
            Unimplemented: The plugin has no extra information, or the daemon is older than 2.0.
            FailedPrecondition: The plugin did not start.
        """
        fields: dict[str, object] = {"type": type, "id": id}
        if options is not None:
            fields["options"] = any_fields(options)
        response = self._call("PluginInfo", fields)
        return PluginInfo(_plugin(response.plugin), _any_if_set(response, "extra"))


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
    is_set = message.HasField("last_occurrence")
    last = datetime_of(message.last_occurrence) if is_set else None
    return Deprecation(message.id, message.message, last)


def _any_if_set(message: DynamicMessage, name: str) -> AnyValue | None:
    return any_of(getattr(message, name)) if message.HasField(name) else None
