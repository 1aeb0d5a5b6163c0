"""containerd.services.introspection.v1: what this daemon is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..oci.platform import Platform
from ..schema.pool import DynamicMessage
from ._base import Service


@dataclass(frozen=True)
class Plugin:
    """A plugin; ``error`` says why it is not usable, ``""`` if it is."""

    type: str
    id: str
    requires: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    exports: dict[str, str] = field(default_factory=dict, hash=False)
    capabilities: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Server:
    """The daemon's id, and its deprecation warnings as (id, message)."""

    uuid: str
    pid: int
    deprecations: tuple[tuple[str, str], ...] = ()


class IntrospectionService(Service):
    """The daemon's plugins and its identity."""

    _name = "containerd.services.introspection.v1.Introspection"

    def plugins(self, *filters: str) -> list[Plugin]:
        return [_plugin(found) for found in self._call("Plugins", {"filters": filters}).plugins]

    def server(self) -> Server:
        reply = self._call("Server")
        warnings = tuple((warning.id, warning.message) for warning in reply.deprecations)
        return Server(reply.uuid, reply.pid, warnings)


def _plugin(message: DynamicMessage) -> Plugin:
    failed = message.HasField("init_err")
    return Plugin(
        message.type,
        message.id,
        tuple(message.requires),
        tuple(Platform(p.os, p.architecture, p.variant) for p in message.platforms),
        dict(message.exports),
        tuple(message.capabilities),
        (message.init_err.message or f"code {message.init_err.code}") if failed else "",
    )
