"""Which release of containerd brought what, for errors that say so.

What lives here: the table, of methods and services that are younger than 1.0.  What may not: any
decision; what a daemon can do is asked of it.
"""

from __future__ import annotations

_SERVICES = {
    "containerd.services.sandbox.v1.Store": "1.7",
    "containerd.services.sandbox.v1.Controller": "1.7",
    "containerd.services.streaming.v1.Streaming": "1.7",
    "containerd.services.transfer.v1.Transfer": "1.7",
    "containerd.services.mounts.v1.Mounts": "2.2",
    "runtime.v1.RuntimeService": "1.6, with its CRI plugin",
    "runtime.v1.ImageService": "1.6, with its CRI plugin",
}
_METHODS = {
    "containerd.services.containers.v1.Containers/ListStream": "1.2",
    "containerd.services.introspection.v1.Introspection/Server": "1.3",
    "containerd.services.introspection.v1.Introspection/PluginInfo": "2.0",
    "containerd.services.leases.v1.Leases/AddResource": "1.3",
    "containerd.services.leases.v1.Leases/DeleteResource": "1.3",
    "containerd.services.leases.v1.Leases/ListResources": "1.3",
    "containerd.services.snapshots.v1.Snapshots/Cleanup": "1.4",
    "containerd.services.sandbox.v1.Controller/Metrics": "2.0",
    "containerd.services.sandbox.v1.Controller/Update": "2.0",
    "grpc.health.v1.Health/List": "2.1",
}


def since(method: str) -> str:
    """The release that brought ``package.Service/Method``, ``""`` if it is not in the table."""
    return _METHODS.get(method) or _SERVICES.get(method.partition("/")[0], "")
