"""Labels by which the daemon's restart monitor keeps a container running.

What lives here: policies as labels, and who can read them.  What may not: the monitor, which is
the daemon's (core/runtime/restart, plugins/restart).
"""

from __future__ import annotations

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
    """Labels for a policy: ``no``, ``always``, ``unless-stopped`` or ``on-failure[:most]``.

    ``log_uri`` (``file:///…``, ``binary:///…``) takes the output of tasks that the monitor starts;
    without one it is thrown away.  An empty value takes a label away.  Raises ``InvalidArgument``.
    """
    if not _POLICY.fullmatch(policy):
        raise InvalidArgument(
            f"restart={policy!r:.60} is no policy",
            remedy='Use "no", "always", "unless-stopped", "on-failure" or "on-failure:5"',
        )
    if policy == "no":
        return dict.fromkeys((STATUS, POLICY, LOG_URI, COUNT, STOPPED), "")
    return {STATUS: "running", POLICY: policy, LOG_URI: log_uri, COUNT: "", STOPPED: ""}


def stopped_labels(stopped: bool) -> dict[str, str]:
    """Labels that say whether somebody wants it stopped, whatever its policy.

    The monitor kills and deletes the task of one that is to be stopped.
    """
    if stopped:
        return {STATUS: "stopped", STOPPED: "true"}
    return {STATUS: "running", STOPPED: "false"}


def check_monitor(introspection: IntrospectionService, policy: str) -> None:
    """Raises ``Unimplemented`` where the daemon has no monitor that knows the policy.

    Monitors before 1.7 tell no policies: whatever the label says, they always restart.
    """
    name = policy.partition(":")[0]
    monitors = [one for one in introspection.plugins("id==restart") if not one.error]
    if any(name in (one.capabilities or ("no", "always")) for one in monitors):
        return
    raise Unimplemented(
        f"the daemon's restart monitor does not know {name!r}"
        if monitors
        else "the daemon has no restart monitor",
        remedy='Policies other than "always" take containerd 1.7 or later'
        if monitors
        else "Turn on its plugin restart",
    )
