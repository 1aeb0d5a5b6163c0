"""The release of containerd that added each service and method: for error messages.

The tables list the services and methods that were added after 1.0. Only error messages use the
tables. To find out what a daemon supports, the client asks the daemon. ``release_of`` is for
what no daemon says, such as whether it maps several ranges of ids.
"""

from __future__ import annotations

import re

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
    "runtime.v1.RuntimeService/GetContainerEvents": "1.7",
    "runtime.v1.RuntimeService/CheckpointContainer": "2.0",
    "runtime.v1.RuntimeService/RuntimeConfig": "2.0",
    "runtime.v1.RuntimeService/ListMetricDescriptors": "2.2",
    "runtime.v1.RuntimeService/ListPodSandboxMetrics": "2.2",
    "runtime.v1.RuntimeService/UpdatePodSandboxResources": "2.2",
    "runtime.v1.RuntimeService/StreamPodSandboxes": "2.4",
    "runtime.v1.RuntimeService/StreamContainers": "2.4",
    "runtime.v1.RuntimeService/StreamContainerStats": "2.4",
    "runtime.v1.RuntimeService/StreamPodSandboxStats": "2.4",
    "runtime.v1.RuntimeService/StreamPodSandboxMetrics": "2.4",
    "runtime.v1.ImageService/StreamImages": "2.4",
}
#: Remedies for methods that answer "unimplemented" on daemons that have them.
_REASONS = {
    "containerd.services.mounts.v1.Mounts/Activate": "mount these mounts with the system's mount, "
    "unless a type contains a transform such as format/",
    "containerd.services.mounts.v1.Mounts/Update": "but no daemon up to 2.4 implements the method",
}
#: The beginning of grpc-go's message for a service that no plugin has registered.
_NOT_SERVED = "unknown service "
_ENABLE = "Remove the plugin from disabled_plugins in config.toml, or find its error in the log"


def unimplemented_remedy(method: str, daemon: str, message: str = "") -> str:
    """Return the remedy for a call of a method that the daemon does not implement.

    Args:
        method: The full name of the method, ``package.Service/Method``.
        daemon: The daemon's version, or ``""`` if it is unknown.
        message: The daemon's message.
    """
    since = _METHODS.get(method) or _SERVICES.get(method.partition("/")[0], "")
    text = f"This is containerd {daemon}" if daemon else "The daemon does not say its version"
    if not since:
        return text
    if release_of(daemon) < release_of(since):
        return f"{text}; the method came with {since}"
    if message.startswith(_NOT_SERVED):
        return f"{text}, which has the service, but did not start its plugin. {_ENABLE}"
    reason = _REASONS.get(method, "but its plugin or runtime does not implement the method")
    return f"{text}, which has the method; {reason}"


def release_of(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version, such as (1, 6) for ``1.6.20~ds1``.

    For a version without numbers, return (), which is less than any other tuple.
    """
    return tuple(map(int, re.findall(r"\d{1,9}", version.partition(",")[0])[:2]))
