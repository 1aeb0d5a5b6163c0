"""The features of a daemon, read from its list of plugins and not guessed from its version."""

from __future__ import annotations

from ..records import field, record
from .introspection import IntrospectionService

#: Types of plugins.
_GRPC, _SNAPSHOTTER = "io.containerd.grpc.v1", "io.containerd.snapshotter.v1"
_DIFFER = "io.containerd.differ.v1"
_SANDBOXER, _POD = "io.containerd.sandbox.controller.v1", "io.containerd.podsandbox.controller.v1"


@record(frozen=True)
class Capabilities:
    """The features that a daemon's plugins offer.

    Attributes:
        services: The ids of the gRPC services, such as ``tasks``, ``transfer``, ``sandboxes``,
            ``cri`` and ``mounts``.
        snapshotters: A mapping from the name of each snapshotter to its capabilities, such as
            ``rebase`` and ``remap-ids``.
        differs: The names of the differs.
        sandboxers: The names of the sandbox controllers.
        platforms: The platforms that the snapshotters support, such as ``linux/amd64``.
        failed: The errors of the plugins that did not start. The keys are ``type.id``. Plugins
            that are not configured are included. The other fields of this record do not contain
            the plugins that did not start.
    """

    services: frozenset[str]
    snapshotters: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    differs: tuple[str, ...] = ()
    sandboxers: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def transfer(self) -> bool:
        """Whether the daemon can transfer images itself (1.7 and later)."""
        return {"transfer", "streaming"} <= self.services

    @property
    def sandboxes(self) -> bool:
        """Whether the daemon has a sandbox store and a sandbox controller (1.7 and later)."""
        return {"sandboxes", "sandbox-controllers"} <= self.services

    @property
    def cri(self) -> bool:
        """Whether the daemon serves the kubelet's CRI services on its socket."""
        return "cri" in self.services

    @property
    def mounts(self) -> bool:
        """Whether the daemon has the mounts service (2.2 and later)."""
        return "mounts" in self.services


def capabilities_of(introspection: IntrospectionService) -> Capabilities:
    """Return the features of a daemon. This makes one call.

    Args:
        introspection: The daemon's introspection service.
    """
    plugins = introspection.plugins()
    usable = [plugin for plugin in plugins if not plugin.error]

    def ids(kind: str) -> tuple[str, ...]:
        return tuple(sorted(plugin.id for plugin in usable if plugin.type == kind))

    snapshotters = [plugin for plugin in usable if plugin.type == _SNAPSHOTTER]
    return Capabilities(
        frozenset(ids(_GRPC)),
        {plugin.id: plugin.capabilities for plugin in snapshotters},
        ids(_DIFFER),
        sandboxers=(*ids(_POD), *ids(_SANDBOXER)),
        platforms=tuple(
            sorted({str(platform) for plugin in snapshotters for platform in plugin.platforms})
        ),
        failed={f"{plugin.type}.{plugin.id}": plugin.error for plugin in plugins if plugin.error},
    )
