"""Labels that tell the daemon's restart monitor to keep a container running.

The monitor is a plugin of the daemon (core/runtime/restart, plugins/restart). The monitor reads a
container's restart policy from the container's labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, Unimplemented
from ..lazy import lazy_pattern

if TYPE_CHECKING:
    from ..services.introspection import IntrospectionService

_PREFIX = "containerd.io/restart."
STATUS, POLICY, LOG_URI, COUNT, STOPPED = (
    _PREFIX + name for name in ("status", "policy", "loguri", "count", "explicitly-stopped")
)
_POLICY = lazy_pattern(r"no|always|unless-stopped|on-failure(:[1-9][0-9]{0,8})?")


def restart_labels(policy: str, log_uri: str = "") -> dict[str, str]:
    """Return the labels that set a restart policy. An empty value means: remove the label.

    Args:
        policy: ``no``, ``always``, ``unless-stopped`` or ``on-failure[:retries]``.
        log_uri: URI to which the output of restarted tasks goes (``file:///…``,
            ``binary:///…``). Default: the output is discarded.

    Raises:
        InvalidArgument: The policy is not valid.
    """
    if not _POLICY.fullmatch(policy):
        raise InvalidArgument(
            f"invalid restart policy {policy!r:.60}",
            remedy='Use "no", "always", "unless-stopped", "on-failure" or "on-failure:5"',
        )
    if policy == "no":
        return dict.fromkeys((STATUS, POLICY, LOG_URI, COUNT, STOPPED), "")
    return {STATUS: "running", POLICY: policy, LOG_URI: log_uri, COUNT: "", STOPPED: ""}


def stopped_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that keep the monitor from starting a stopped container again.

    They are empty if the container has no restart policy.
    """
    return {STATUS: "stopped", STOPPED: "true"} if labels.get(STATUS) else {}


def started_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that let the monitor restart the container again after a start."""
    return {STATUS: "running", STOPPED: ""} if labels.get(STATUS) else {}


def check_monitor(introspection: IntrospectionService, policy: str) -> None:
    """Raise ``Unimplemented`` if the daemon has no restart monitor that supports the policy.

    The monitors of containerd before 1.7 do not list the policies that they support. These monitors
    ignore the label of the policy, and always restart the container.
    """
    name = policy.partition(":")[0]
    monitors = [plugin for plugin in introspection.plugins("id==restart") if not plugin.error]
    if any(name in (plugin.capabilities or ("no", "always")) for plugin in monitors):
        return
    raise Unimplemented(
        f"the daemon's restart monitor does not support the policy {name!r}"
        if monitors
        else "the daemon has no restart monitor",
        remedy='Use the policy "always", or use containerd 1.7 or later'
        if monitors
        else "Enable the daemon's restart plugin",
    )
