"""What a daemon can do, by its own account.

What lives here: ``Capabilities``, read from the list of plugins.  What may not: guesses by version.
"""

from __future__ import annotations

from ..records import field, record
from .introspection import IntrospectionService

_GRPC, _SNAPSHOTTER = "io.containerd.grpc.v1", "io.containerd.snapshotter.v1"
_DIFFER = "io.containerd.differ.v1"
_SANDBOXER, _POD = "io.containerd.sandbox.controller.v1", "io.containerd.podsandbox.controller.v1"


@record(frozen=True)
class Capabilities:
    """What a daemon's plugins offer; what failed to start is in ``failed`` alone.

    ``services`` are the ids of gRPC services (``tasks``, ``transfer``, ``sandboxes``, ``cri``,
    ``mounts``); ``snapshotters`` maps each to what it can do (``rebase``, ``remap-ids``);
    ``differs`` and ``sandboxers`` are names; ``platforms`` those that the snapshotters name
    (``linux/amd64``); ``failed`` maps ``type.id`` of a plugin to why it did not start, which
    includes those that are not configured.
    """

    services: frozenset[str]
    snapshotters: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    differs: tuple[str, ...] = ()
    sandboxers: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def transfer(self) -> bool:
        """Whether the daemon moves images itself (1.7 and later)."""
        return {"transfer", "streaming"} <= self.services

    @property
    def sandboxes(self) -> bool:
        """Whether there is a sandbox store and a controller (1.7 and later)."""
        return {"sandboxes", "sandbox-controllers"} <= self.services

    @property
    def cri(self) -> bool:
        """Whether the kubelet's services are on the socket."""
        return "cri" in self.services

    @property
    def mounts(self) -> bool:
        """Whether the daemon activates mounts (2.2 and later)."""
        return "mounts" in self.services


def capabilities_of(introspection: IntrospectionService) -> Capabilities:
    """Ask a daemon, by one call."""
    plugins = introspection.plugins()
    usable = [one for one in plugins if not one.error]

    def ids(kind: str) -> tuple[str, ...]:
        return tuple(sorted(one.id for one in usable if one.type == kind))

    snapshotters = [one for one in usable if one.type == _SNAPSHOTTER]
    return Capabilities(
        frozenset(ids(_GRPC)),
        {one.id: one.capabilities for one in snapshotters},
        ids(_DIFFER),
        sandboxers=(*ids(_POD), *ids(_SANDBOXER)),
        platforms=tuple(
            sorted({str(platform) for one in snapshotters for platform in one.platforms})
        ),
        failed={f"{one.type}.{one.id}": one.error for one in plugins if one.error},
    )
